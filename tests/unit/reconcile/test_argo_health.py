"""What Argo CD makes of a ModelDeployment, by the script that the chart ships, run by a real Lua."""

from pathlib import Path

import pytest
from lupa import lua51

from tests.unit.reconcile import recorded
from tests.unit.reconcile.statuses import STATES

SCRIPT = Path(__file__).parents[3] / "charts" / "leadline" / "argocd" / "health.lua"


def health(manifest):
    """Run the script as Argo CD does: Lua 5.1 without its libraries for files and processes, the object as `obj`."""
    lua = lua51.LuaRuntime()
    for name in ("io", "os", "require", "dofile", "loadfile", "package", "debug"):
        lua.globals()[name] = None
    lua.globals()["obj"] = lua.table_from(manifest, recursive=True)
    return dict(lua.execute(SCRIPT.read_text()))


@pytest.mark.parametrize("state", STATES)
def test_health_is_what_a_person_would_say(state):
    told = STATES[state]
    found = health(told.object())
    assert found["status"] == told.argo, found
    assert told.said in found["message"]


def test_a_decayed_model_holds_up_no_release_and_is_told():
    found = health(STATES["worse, with nowhere to go back to"].object())
    assert (found["status"], found["message"].partition(":")[0]) == ("Healthy", "NoRollbackTarget") or (
        found["message"].startswith(("BelowFloor", "Degraded"))
    )


@pytest.mark.parametrize("found", recorded.RECORDED, ids=recorded.title)
def test_health_of_what_a_real_cluster_showed_is_as_documented(found):
    assert health(found)["status"] == recorded.expected(found)[0]


def test_what_was_recorded_has_every_phase_and_failure_that_the_cluster_suite_brings_about():
    """So that a record that was made anew, and is smaller, is noticed."""
    seen = {kind: set() for kind in ("Stalled", "Reconciling", "Ready")}
    for found in recorded.RECORDED:
        for kind, reasons in seen.items():
            reasons.add(recorded.conditions(found).get(kind, ("", ""))[1])
    assert seen["Stalled"] >= {
        "BelowFloor", "DigestMismatch", "ImagePullFailed", "InvalidModel", "InvalidTestSet", "ModelNotFound", "ModelStoreUnreachable",
        "NameConflict", "ObjectivesMissed", "QuotaExceeded", "RolledBack", "TestDegraded",
    }  # fmt: skip
    assert seen["Reconciling"] >= {"Canary", "Fetching", "Paused", "Starting", "Switching", "Testing"}
    assert {"Serving", "NoRevisionServes", "Switching"} <= seen["Ready"]

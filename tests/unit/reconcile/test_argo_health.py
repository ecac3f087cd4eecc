"""What Argo CD makes of a ModelDeployment, by the script that the chart ships, run by a real Lua."""

from pathlib import Path

import pytest
from lupa import lua51

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

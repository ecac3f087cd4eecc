"""What Flux, Helm 4 and kpt make of a ModelDeployment, by kstatus, the library that all three wait with.

kstatus is named by LEADLINE_KSTATUS, or `hack/cluster/provide` builds it (seconds, once).
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.reconcile import recorded
from tests.unit.reconcile.statuses import STATES

BUILD_SECONDS = 600


@pytest.fixture(scope="module")
def kstatus() -> str:
    named = os.environ.get("LEADLINE_KSTATUS")
    if named and Path(named).exists():
        return named
    provide = Path(__file__).parents[3] / "hack" / "cluster" / "provide"
    command = [str(provide), "build", "kstatus"]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=BUILD_SECONDS)
    return built.stdout.strip()


@pytest.fixture(scope="module")
def found(kstatus: str) -> dict[str, tuple[str, str]]:
    lines = "\n".join(json.dumps(told.object()) for told in STATES.values())
    done = subprocess.run([kstatus], input=lines, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    told = [line.partition("\t") for line in done.stdout.splitlines()]
    return {state: (status, message) for state, (status, _, message) in zip(STATES, told, strict=True)}


@pytest.mark.parametrize("state", STATES)
def test_what_waits_for_a_modeldeployment_ends_when_a_person_would(found, state):
    status, message = found[state]
    assert (status, message) == (STATES[state].kstatus, message)
    if status == "Failed":
        assert STATES[state].said in message


def test_what_a_real_cluster_showed_ends_a_wait_as_documented(kstatus):
    lines = "\n".join(map(json.dumps, recorded.RECORDED))
    done = subprocess.run([kstatus], input=lines, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    told = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    titles = [recorded.title(found) for found in recorded.RECORDED]
    assert dict(zip(titles, told, strict=True)) == {
        name: recorded.expected(found)[1] for name, found in zip(titles, recorded.RECORDED, strict=True)
    }

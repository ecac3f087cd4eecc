"""What the spec says of captured inputs, as the pods are told it."""

import pytest
from leadline_wire.exchange import CaptureSettings

from tests.unit.reconcile.outcomes_world import an_outcomes_world

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("capture", "told"),
    [
        (None, None),
        ({}, CaptureSettings(100_000, [], 7 * DAY_MS, 1 << 30)),
        (
            {"percent": 100, "drop": ["ssn"], "retention": "90d", "maxSize": "500Mi", "every": "5s"},
            CaptureSettings(1_000_000, ["ssn"], 90 * DAY_MS, 500 << 20, 5_000),
        ),
    ],
)
def test_pods_are_told_whose_inputs_are_captured(capture, told):
    world = an_outcomes_world()
    world.spec["outcomes"] = {"maturity": "0s", "maxAge": "7d"} | ({"capture": capture} if capture is not None else {})
    world.settle()
    assert [sounding.outcomes.capture for _, sounding in world.pods.values()] == [told, told]


def test_changing_it_restarts_no_pod():
    world = an_outcomes_world()
    world.settle()
    before = set(world.pods)
    world.ask_for(outcomes={"maturity": "0s", "capture": {"drop": ["ssn"]}}).settle()
    assert set(world.pods) == before
    assert {tuple(told.outcomes.capture.drop) for _, told in world.pods.values()} == {("ssn",)}

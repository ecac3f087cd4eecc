"""A spec that this version cannot read: it is said, what is known stays, and nothing that exists is touched."""

import copy

import pytest
from leadline_operator.reconcile.reconciler import refuse

from tests.unit.reconcile.world import World, a_world

PROBLEM = "spec.rollout.strategy: input should be 'BlueGreen', 'Canary' or 'RollingUpdate'; got Bluegreen"


def refused(world: World) -> World:
    """Let the spec be refused once."""
    plan = refuse(world.observe(), PROBLEM, world.now)
    assert (plan.writes, plan.soundings, plan.events, plan.wake_after_seconds) == ((), (), (), None)
    world.status = plan.status or world.status
    world.events += plan.status_events
    return world


def test_invalid_spec_stalls_and_what_serves_stays():
    world = a_world()
    world.settle()
    before = copy.deepcopy(world.status)
    world.generation += 1
    refused(world)
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("UpToDate") == ("Unknown", "InvalidSpec")
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.status["observedGeneration"] == world.generation == before["observedGeneration"] + 1
    assert PROBLEM in world.status["summary"]["message"]
    for field in ("servingRevision", "lastGoodRevision", "traffic", "quality", "replicas", "phase", "selector", "url"):
        assert world.status[field] == before[field], field
    assert [event.reason for event in world.events].count("InvalidSpec") == 1


def test_invalid_spec_is_written_once():
    world = a_world()
    world.settle()
    refused(world)
    world.now += 60
    plan = refuse(world.observe(), PROBLEM, world.now)
    assert (plan.status, plan.status_events) == (None, ())


@pytest.mark.parametrize("seen", ["never", "once"])
def test_first_spec_that_is_invalid_is_not_ready_and_says_why(seen):
    world = refused(a_world())
    if seen == "once":
        refused(world)
    assert world.condition("Ready") == ("False", "NoRevisionServes")
    assert world.condition("Stalled") == ("True", "InvalidSpec")
    assert world.condition("QualityOK") == ("Unknown", "InvalidSpec")
    assert {each["type"] for each in world.status["conditions"]} >= {"Ready", "UpToDate", "Reconciling", "Stalled"}


def test_ready_is_what_it_is_when_pods_go_while_the_spec_is_invalid():
    world = a_world()
    world.settle()
    refused(world)
    world.pods.clear()
    refused(world)
    assert world.condition("Ready") == ("False", "NoReadyPods")
    assert world.status["traffic"] == []


def test_spec_that_can_be_read_again_ends_it():
    world = a_world()
    world.settle()
    refused(world).settle()
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("UpToDate")[0] == "True"

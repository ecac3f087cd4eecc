"""Before the traffic goes back for the floor, the last good revision is known not to be below it as well.

Not covered: rollbacks for a comparison, which need no such knowledge; they are in test_rollout and test_steps.
"""

import copy

import pytest
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.world import Model, World, a_world, reasons, served, uri

GOOD_IS_ABOVE, BOTH_ARE_BELOW = "0.983", "0.99"
THIRD = Model(range(3), "sha256:" + "9" * 64)


def after_a_new_floor(floor: str) -> World:
    """Return a world whose serving revision (0.980) is below a new floor; the last good one (0.985) has no pods."""
    world = a_world(third=copy.copy(THIRD))
    world.spec["rollout"] |= {"lastGood": {"replicas": 0, "for": "1h"}, "progressDeadline": "60s"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    quality = copy.deepcopy(world.spec["quality"])
    quality["testSet"]["uri"] = "s3://models/newer.parquet"
    quality["metrics"][0]["floor"] = floor
    return world.ask_for(quality=quality)


def replicas(world: World, model: str) -> int:
    return world.objects["Deployment", world.revision(uri(model))]["spec"]["replicas"]


def message(world: World, kind: str) -> str:
    return next(each["message"] for each in world.status["conditions"] if each["type"] == kind)


def test_last_good_revision_answers_the_test_set_before_the_traffic_goes_back_for_the_floor():
    world = after_a_new_floor(GOOD_IS_ABOVE)
    good, honest = world.revision(uri("good")), world.revision(uri("honest"))
    while len(world.served) < 3:
        known = world.record(good).test
        world.step()
        world.now += 0.1
    assert known.key == world.record(honest).test.key
    world.settle()
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")


def test_traffic_stays_when_the_last_good_revision_is_below_the_floor_as_well():
    world = after_a_new_floor(BOTH_ARE_BELOW)
    world.settle()
    world.pass_time(90)
    assert served(world) == ["good", "honest"]
    assert world.condition("QualityOK") == ("False", "BelowFloor")
    assert world.condition("Stalled")[0] == "False"
    assert reasons(world).count("NoRollbackTarget") == 1
    assert world.revision(uri("good")) in message(world, "QualityOK")
    assert replicas(world, "good") == 0


@pytest.mark.parametrize("lost", ["nothing", "status"])
def test_traffic_stays_while_the_last_good_revision_cannot_be_measured(lost):
    world = after_a_new_floor(GOOD_IS_ABOVE)
    world.starts_pods = False
    world.settle()
    assert replicas(world, "good") == 2
    assert world.condition("QualityOK") == ("False", "BelowFloor")
    assert "answers the test set first" in message(world, "QualityOK")
    assert "NoRollbackTarget" not in reasons(world)
    if lost == "status":
        world.now += 40
        world.status = {"observedGeneration": -1}
        world.settle()
        world.now += 21
        world.settle()
    else:
        world.pass_time(62)
    assert served(world) == ["good", "honest"]
    assert reasons(world).count("NoRollbackTarget") == 1
    assert "did not answer the test set within 60s" in message(world, "QualityOK")
    world.starts_pods = True
    world.settle()
    assert served(world) == ["good", "honest", "good"]


def test_good_candidate_does_not_wait_for_a_last_good_revision_that_cannot_be_measured():
    world = after_a_new_floor(GOOD_IS_ABOVE)
    world.models[uri("good")].trouble = Trouble("ModelStoreUnreachable", "no route to host", "surroundings")
    world.settle()
    assert "no route to host" in message(world, "QualityOK")
    world.ask_for(model=uri("third")).settle()
    assert served(world) == ["good", "honest", "third"]
    world.pass_time(90)
    assert served(world) == ["good", "honest", "third"]


def test_nothing_is_measured_when_the_spec_says_alert():
    world = after_a_new_floor(GOOD_IS_ABOVE)
    world.spec["quality"]["onDegraded"] = "Alert"
    world.settle()
    assert served(world) == ["good", "honest"]
    assert replicas(world, "good") == 0
    assert reasons(world).count("Alert") == 1

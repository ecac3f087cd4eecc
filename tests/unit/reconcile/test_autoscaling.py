"""Who scales what, when: one autoscaler works on what has the traffic, and all others follow its number.

The autoscaler itself is played by the tests: they set what it would.
"""

from typing import Any

import pytest
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import World, a_world, served, uri

RESOURCES = {"requests": {"cpu": "500m"}}
AT = ("HorizontalPodAutoscaler", "digits")


def a_scaled_world(*, least: int = 2, most: int = 10, **options: Any) -> World:
    world = a_world(**options)
    world.spec["runtime"] = {"autoscaling": {"minReplicas": least, "maxReplicas": most}, "resources": RESOURCES}
    world.settle()
    return world


def deployment(world: World, model: str) -> dict[str, Any]:
    return world.objects["Deployment", world.revision(uri(model))]["spec"]


def replicas(world: World, model: str) -> int:
    return deployment(world, model)["replicas"]


def scale(world: World, model: str, number: int) -> None:
    """Do what the autoscaler does."""
    assert target(world) == world.revision(uri(model))
    deployment(world, model)["replicas"] = number
    world._run_pods()


def target(world: World) -> str:
    return world.objects[AT]["spec"]["scaleTargetRef"]["name"]


def test_first_revision_starts_with_the_fewest_pods_and_is_scaled_once_it_serves():
    world = a_world()
    world.spec["runtime"] = {"autoscaling": {"minReplicas": 3, "maxReplicas": 9}, "resources": RESOURCES}
    while not world.selected:
        assert AT not in world.objects
        world.step()
        world.now += 0.1
    world.settle()
    assert replicas(world, "good") == 3
    assert world.objects[AT]["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": world.revision(uri("good"))},
        "minReplicas": 3,
        "maxReplicas": 9,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ],
    }


@pytest.mark.parametrize("number", [1, 2, 7, 15])
def test_what_the_autoscaler_made_of_the_serving_revision_stays(number):
    world = a_scaled_world()
    scale(world, "good", number)
    world.settle()
    assert replicas(world, "good") == number
    plan = reconcile(world.observe(), world.now)
    assert [each for each in plan.writes if not getattr(each, "quiet", False)] == []


def test_other_changes_of_the_scaled_deployment_are_put_back_with_its_number():
    world = a_scaled_world()
    scale(world, "good", 5)
    deployment(world, "good")["template"]["spec"]["containers"].append({"name": "extra"})
    world.settle()
    assert len(deployment(world, "good")["template"]["spec"]["containers"]) == 1
    assert replicas(world, "good") == 5


def test_zero_pods_are_not_left_to_an_autoscaler_that_would_not_touch_them():
    world = a_scaled_world()
    deployment(world, "good")["replicas"] = 0
    world.settle()
    assert replicas(world, "good") == 2


def test_candidate_starts_with_the_number_of_the_serving_one_and_follows_it():
    world = a_scaled_world()
    scale(world, "good", 5)
    world.ask_for(rollout={"strategy": "BlueGreen", "paused": True}, model=uri("honest")).settle()
    assert world.status["phase"] == "Paused"
    assert replicas(world, "honest") == 5
    scale(world, "good", 7)
    world.settle()
    assert (replicas(world, "good"), replicas(world, "honest")) == (7, 7)
    world.ask_for(rollout={"strategy": "BlueGreen"}).settle()
    assert served(world) == ["good", "honest"]
    assert (replicas(world, "good"), replicas(world, "honest")) == (7, 7)


def test_autoscaler_moves_with_the_service_and_never_before():
    world = a_scaled_world(strategy="RollingUpdate")
    world.ask_for(model=uri("worse"))
    seen = []
    for _ in range(80):
        plan = reconcile(world.observe(), world.now)
        kinds = [each.manifest["kind"] for each in plan.writes if hasattr(each, "manifest")]
        if AT[0] in kinds:
            assert kinds.index("Service", kinds.index("Deployment") if "Deployment" in kinds else 0) < kinds.index(
                AT[0]
            )
        world.step()
        assert target(world) == world.selected
        seen.append(target(world))
        world.now += 0.1
    assert list(dict.fromkeys(seen)) == [world.revision(uri("good")), world.revision(uri("worse"))]
    assert seen[-1] == world.revision(uri("good"))
    assert [kind for kind, _ in world.objects].count(AT[0]) == 1


def test_pass_that_is_cut_before_the_service_moves_leaves_the_autoscaler_where_the_traffic_is():
    world = a_scaled_world(strategy="RollingUpdate")
    scale(world, "good", 6)
    world.ask_for(model=uri("honest"))
    good = world.revision(uri("good"))
    for _ in range(80):
        plan = reconcile(world.observe(), world.now)
        for write in plan.writes:
            manifest = getattr(write, "manifest", {"kind": "", "metadata": {"name": ""}})
            if (manifest["kind"], manifest["metadata"]["name"]) == ("Service", "digits"):
                break  # refused
            world.write(write)
        for sounding in plan.soundings:
            world.pods[sounding.pod] = (sounding.revision, sounding)
        world._run_pods()
        world.now += 0.1
    assert world.record(world.revision(uri("honest"))).serving_since is not None
    assert (world.selected, target(world)) == (good, good)
    scale(world, "good", 8)
    world.settle()
    assert served(world) == ["good", "honest"]
    assert (replicas(world, "good"), replicas(world, "honest")) == (8, 8)


def test_last_good_revision_follows_the_serving_one():
    world = a_scaled_world()
    world.ask_for(model=uri("honest")).settle()
    scale(world, "honest", 6)
    world.settle()
    assert replicas(world, "good") == 6
    world.ask_for(rollout={"strategy": "BlueGreen", "lastGood": {"replicas": "50%"}}).settle()
    assert replicas(world, "good") == 3


def test_rollback_waits_until_as_many_pods_are_ready_as_answer_now():
    world = a_scaled_world(strategy="RollingUpdate")
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1h"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    scale(world, "honest", 6)
    world.settle()
    world.models[uri("honest")].wrong = range(300)
    world.starts_pods = False
    world.pass_time(15)
    assert world.condition("Reconciling") == ("True", "RollingBack")
    assert replicas(world, "good") == 6
    good = world.revision(uri("good"))
    world.pods |= {f"{good}-{number}": (good, None) for number in range(5)}  # room is found for five of them
    world.settle()
    assert len(world.observe().ready_pods(good)) == 5
    assert world.condition("Reconciling") == ("True", "RollingBack")
    world.starts_pods = True
    world.settle()
    assert served(world) == ["good", "honest", "good"]


def test_rollback_does_not_wait_for_pods_that_the_serving_revision_does_not_have_either():
    world = a_scaled_world(strategy="RollingUpdate")
    world.ask_for(model=uri("honest")).settle()
    scale(world, "honest", 4)
    world.settle()
    world.starts_pods = False  # the nodes are full
    deployment(world, "honest")["replicas"] = 9
    world.models[uri("honest")].wrong = range(300)
    world.pass_time(15)
    assert replicas(world, "good") == 9
    assert served(world) == ["good", "honest", "good"]


def test_pods_that_the_load_added_hold_up_no_comparison_and_are_waited_for_before_the_switch():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"for": "20m"})
    world.spec["runtime"] = {"autoscaling": {"minReplicas": 2, "maxReplicas": 10}, "resources": RESOURCES}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.starts_pods = False
    deployment(world, "good")["replicas"] = 4
    good = world.revision(uri("good"))
    world.pods |= {f"{good}-{number}": (good, None) for number in range(2)}  # its own two find room
    world.settle()
    assert len(world.observe().ready_pods(good)) == 4
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.now += 21 * 60  # longer than the progress deadline
    world.settle()
    assert world.condition("Reconciling") == ("True", "Starting")
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert served(world) == ["good"]
    world.starts_pods = True
    world.settle()
    assert served(world) == ["good", "honest"]


def test_deployment_that_was_deleted_comes_back_with_what_the_autoscaler_wanted():
    world = a_scaled_world()
    scale(world, "good", 6)
    world.objects[AT]["status"] = {"desiredReplicas": 6}
    del world.objects["Deployment", world.revision(uri("good"))]
    world.settle()
    assert replicas(world, "good") == 6


def test_fixed_number_of_pods_passes_over_to_the_autoscaler_and_back():
    world = a_world(replicas=5)
    world.settle()
    world.ask_for(runtime={"autoscaling": {"minReplicas": 2, "maxReplicas": 10}, "resources": RESOURCES}).settle()
    assert replicas(world, "good") == 5
    scale(world, "good", 8)
    world.settle()
    world.ask_for(runtime={"replicas": 3})
    world.step()
    assert (AT in world.objects, replicas(world, "good")) == (False, 8)
    world.settle()
    assert replicas(world, "good") == 3


def test_autoscaler_that_is_aimed_elsewhere_or_deleted_by_hand_comes_back():
    world = a_scaled_world()
    world.ask_for(model=uri("honest")).settle()
    scale(world, "honest", 4)
    world.objects[AT]["spec"]["scaleTargetRef"]["name"] = world.revision(uri("good"))
    world.settle()
    assert target(world) == world.revision(uri("honest"))
    assert replicas(world, "honest") == 4
    del world.objects[AT]
    world.settle()
    assert target(world) == world.revision(uri("honest"))
    assert replicas(world, "honest") == 4


def test_candidate_that_is_blocked_leaves_the_serving_one_to_the_autoscaler():
    world = a_scaled_world()
    world.models[uri("honest")].trouble = Trouble("ModelStoreUnreachable", "no route", "surroundings")
    world.ask_for(model=uri("honest")).settle()
    scale(world, "good", 9)
    world.settle()
    assert (replicas(world, "good"), replicas(world, "honest")) == (9, 1)


def test_autoscaler_that_does_not_scale_is_heard():
    world = a_scaled_world()
    said = "unable to get metrics for resource cpu"
    blind = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": said}
    world.objects[AT]["status"] = {"conditions": [{"type": "AbleToScale", "status": "True"}, blind]}
    world.settle()
    message = next(each["message"] for each in world.status["conditions"] if each["type"] == "Ready")
    assert message.endswith(f"; the autoscaler does not scale: FailedGetResourceMetric: {said}")
    assert world.condition("Ready") == ("True", "Serving")

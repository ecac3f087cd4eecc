"""Rollouts from the first look to the end, decided step by step in a world that follows Plans.

Not covered: what a real API server, kubelet and runtime add; `tests/cluster` has that.
"""

import copy

import pytest
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.world import Model, a_world, reasons, served, uri


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_first_revision_serves_when_its_pods_are_ready(strategy):
    world = a_world(strategy=strategy)
    world.settle()
    assert served(world) == ["good"]
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    assert world.condition("Stalled")[0] == world.condition("Reconciling")[0] == "False"
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.status["summary"]["quality"] == "accuracy 0.985"
    assert world.status["observedGeneration"] == 1


def test_first_revision_never_serves_when_it_is_below_the_floor():
    world = a_world(floor="0.99")
    world.settle()
    assert served(world) == []
    assert world.condition("Ready") == ("False", "NoRevisionServes")
    assert world.condition("Stalled") == ("True", "BelowFloor")
    assert ("Deployment", world.revision(uri("good"))) not in world.objects


def test_nothing_is_tested_when_no_test_set_is_asked_for():
    world = a_world(tested=False)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good", "worse"]
    assert world.condition("QualityOK") == ("Unknown", "NotMeasured")


def test_worse_candidate_is_rejected_before_it_gets_traffic_under_blue_green():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "TestDegraded")
    assert world.condition("UpToDate") == ("False", "ServingOther")
    assert world.condition("Ready")[0] == world.condition("QualityOK")[0] == "True"
    (rejected,) = world.status["rejected"]
    assert (rejected["revision"], rejected["reason"]) == (world.revision(uri("worse")), "TestDegraded")
    assert "retry" in next(each["message"] for each in world.status["conditions"] if each["type"] == "Stalled")


def test_worse_revision_is_rolled_back_after_it_served_under_rolling_update():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good", "worse", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert world.condition("UpToDate")[0] == "False"
    assert reasons(world).count("RolledBack") == 1
    world.pass_time(30)
    assert served(world) == ["good", "worse", "good"]
    assert ("Deployment", world.revision(uri("worse"))) not in world.objects


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_honest_successor_stays_after_a_rejection(strategy):
    world = a_world(strategy=strategy)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("honest")).settle()
    world.pass_time(60)
    assert served(world)[-1] == "honest"
    assert world.status["lastGoodRevision"] == world.revision(uri("good"))
    assert world.condition("UpToDate")[0] == "True"


def test_going_back_to_a_revision_that_served_is_immediate():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("good")].test_trouble = Trouble("TestSetUnreachable", "no route", "surroundings")
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["good", "honest", "good"]


def test_rejected_revision_stays_rejected_when_it_is_asked_for_again():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("good")).settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good"]
    assert reasons(world).count("TestDegraded") == 1


def test_rejected_revision_gets_another_chance_when_the_gate_changes():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    quality = copy.deepcopy(world.spec["quality"])
    quality["metrics"][0]["margin"] = "0.2"
    world.ask_for(quality=quality).settle()
    assert served(world) == ["good", "worse"]


def test_serving_revision_whose_own_answers_get_worse_is_rolled_back():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 90)
    world.pass_time(15)
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")


def test_serving_revision_is_kept_when_one_replay_differs_within_the_margin():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 59)
    world.pass_time(60)
    assert served(world) == ["good", "honest"]


def test_decayed_revision_keeps_serving_when_there_is_nowhere_to_go_back_to():
    world = a_world()
    world.settle()
    world.models[uri("good")].wrong = range(300)
    world.pass_time(30)
    assert served(world) == ["good"]
    assert world.condition("QualityOK") == ("False", "Degraded")
    assert world.condition("Stalled")[0] == "False"
    assert reasons(world).count("NoRollbackTarget") == 1


def test_degraded_revision_keeps_serving_when_the_spec_says_alert():
    world = a_world(strategy="RollingUpdate")
    world.spec["quality"]["onDegraded"] = "Alert"
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.pass_time(30)
    assert served(world) == ["good", "worse"]
    assert world.condition("QualityOK") == ("False", "TestDegraded")
    assert world.condition("UpToDate")[0] == "True"
    assert reasons(world).count("Alert") == 1


def test_two_bad_revisions_never_take_turns():
    bad = Model(range(200, 330), "sha256:" + "e" * 64)
    world = a_world(strategy="RollingUpdate", floor=None, bad=bad)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("bad")).settle()
    world.pass_time(120)
    assert served(world) == ["good", "worse", "good", "bad", "good"]


def test_rollback_waits_for_capacity_when_the_last_good_one_was_scaled_down():
    world = a_world(strategy="RollingUpdate")
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1h"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    assert world.objects["Deployment", world.revision(uri("good"))]["spec"]["replicas"] == 0
    world.models[uri("honest")].wrong = range(200)
    world.now += 11
    world.starts_pods = False
    for _ in range(5):
        world.step()
    assert served(world)[-1] == "honest"
    assert world.objects["Deployment", world.revision(uri("good"))]["spec"]["replicas"] == 2
    world.starts_pods = True
    world.settle()
    assert served(world)[-1] == "good"


def test_last_good_revision_is_scaled_down_when_its_time_is_over():
    world = a_world()
    world.spec["rollout"]["lastGood"] = {"replicas": "50%", "for": "60s"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    deployment = ("Deployment", world.revision(uri("good")))
    assert world.objects[deployment]["spec"]["replicas"] == 1
    world.pass_time(62)
    assert world.objects[deployment]["spec"]["replicas"] == 0


def test_blocked_candidate_is_stalled_after_its_deadline_and_goes_on_when_the_trouble_ends():
    world = a_world()
    world.settle()
    world.spec["rollout"]["progressDeadline"] = "60s"
    world.models[uri("honest")].trouble = Trouble("ModelStoreUnreachable", "s3: connection refused", "surroundings")
    world.ask_for(model=uri("honest")).settle()
    assert world.condition("Reconciling") == ("True", "Fetching")
    world.now += 61
    world.settle()
    assert world.condition("Stalled") == ("True", "ModelStoreUnreachable")
    assert world.condition("Reconciling")[0] == "False"
    assert world.status["rejected"] == []
    world.models[uri("honest")].trouble = None
    world.settle()
    assert served(world) == ["good", "honest"]


def test_candidate_with_other_bytes_than_its_digest_is_rejected():
    world = a_world()
    world.settle()
    world.ask_for(model={"uri": uri("honest"), "digest": "sha256:" + "0" * 64}).settle()
    assert world.condition("Stalled") == ("True", "DigestMismatch")
    assert served(world) == ["good"]


def test_serving_revision_is_not_rejected_when_new_pods_meet_other_bytes():
    world = a_world()
    world.settle()
    world.models[uri("good")].trouble = Trouble("DigestMismatch", "other bytes", "model")
    world.settle()
    assert world.status["rejected"] == []
    assert "DigestMismatch" in next(each["message"] for each in world.status["conditions"] if each["type"] == "Ready")


def test_bad_serving_revision_does_not_block_a_good_candidate():
    world = a_world(floor="0.80")
    world.spec["model"] = {"uri": uri("worse")}
    world.settle()
    world.models[uri("worse")].wrong = range(300)
    world.pass_time(15)
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["worse", "good"]


def test_candidate_is_compared_by_the_floor_alone_when_the_serving_one_has_no_pods():
    world = a_world()
    world.spec["model"] = {"uri": uri("worse")}
    world.settle()
    world.models[uri("worse")].trouble = Trouble("ModelStoreUnreachable", "gone", "surroundings")
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["worse", "good"]


def test_revision_that_was_rolled_back_is_tested_again_before_it_gets_traffic_under_another_gate():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 90)
    world.pass_time(15)
    quality = copy.deepcopy(world.spec["quality"])
    quality["metrics"][0]["margin"] = "0.021"
    world.ask_for(quality=quality).settle()
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "TestDegraded")


def test_candidate_that_may_be_as_good_as_the_margin_allows_is_admitted():
    doubtful = Model(range(5, 50), "sha256:" + "f" * 64)
    world = a_world(doubtful=doubtful)
    world.settle()
    world.ask_for(model=uri("doubtful")).settle()
    assert served(world) == ["good", "doubtful"]
    assert 0.002 < world.record(world.revision(uri("doubtful"))).p_value < 0.5


def test_clock_of_a_candidate_starts_anew_when_it_is_asked_for_again():
    world = a_world()
    world.spec["rollout"]["progressDeadline"] = "60s"
    world.settle()
    world.models[uri("honest")].trouble = Trouble("ModelStoreUnreachable", "refused", "surroundings")
    world.ask_for(model=uri("honest")).settle()
    world.now += 61
    world.ask_for(model=uri("good")).settle()
    world.now += 1
    world.ask_for(model=uri("honest")).settle()
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("Reconciling") == ("True", "Fetching")


def test_rollback_waits_for_pods_even_while_the_bad_revision_is_not_ready_for_a_moment():
    """Else the selector would be on nobody, and the pods that may be ready again in a moment would be deleted."""
    world = a_world()
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1h"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.starts_pods = False
    world.models[uri("honest")].wrong = range(300)
    world.models[uri("honest")].trouble = Trouble("Overloaded", "all workers hang", "surroundings")
    world.pass_time(60)
    assert served(world) == ["good", "honest"]
    world.models[uri("honest")].trouble = None
    world.pass_time(60)
    assert world.condition("QualityOK") == ("False", "Degraded")
    assert any(revision == world.selected for revision, _ in world.pods.values())
    world.models[uri("honest")].trouble = Trouble("Overloaded", "all workers hang", "surroundings")
    world.pass_time(60)
    assert served(world) == ["good", "honest"]
    assert any(revision == world.selected for revision, _ in world.pods.values())
    world.starts_pods = True
    world.settle()
    assert served(world) == ["good", "honest", "good"]

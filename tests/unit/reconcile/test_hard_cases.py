"""Decisions in the corners: what is known is old, partial, or about another gate.

Not covered: what a real API server, kubelet and runtime add; `tests/cluster` has that.
"""

import copy
from dataclasses import replace

import pytest
from leadline_api import names
from leadline_operator.reconcile.plan import Replace
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.world import a_world, reasons, served, uri


def test_rollback_that_cannot_be_done_does_not_block_a_good_candidate():
    world = a_world(strategy="RollingUpdate", third=copy.copy(a_world().models[uri("honest")]))
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1h"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("good")].trouble = Trouble("ModelStoreUnreachable", "gone", "surroundings")
    world.models[uri("honest")].wrong = range(200)
    world.pass_time(15)
    assert served(world) == ["good", "honest"]
    world.ask_for(model=uri("third")).settle()
    assert served(world) == ["good", "honest", "third"]
    assert "RolledBack" not in reasons(world)


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_bytes_whose_signature_no_pod_has_checked_are_neither_believed_nor_served(strategy):
    world = a_world(strategy=strategy)
    key = {"publicKey": {"configMapName": "model-key", "key": "key.pub"}}
    world.ask_for(model={"uri": uri("good"), "signature": key}).settle()
    asked = world.observe().desired
    assert world.selected == ""
    assert "SignatureNotChecked" in str(world.status["conditions"])
    assert names.DIGEST_ANNOTATION not in world.objects["ControllerRevision", asked]["metadata"]["annotations"]
    world.models[uri("good")].signature = "Verified"
    world.settle()
    assert world.selected == asked


def test_revision_found_bad_is_no_rollback_target_when_the_gate_changes():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good", "worse", "good"]
    quality = copy.deepcopy(world.spec["quality"])
    quality["metrics"][0]["margin"] = "0.03"
    world.ask_for(model=uri("good"), quality=quality).settle()
    assert world.status["lastGoodRevision"] == ""
    world.models[uri("good")].wrong = range(60)
    world.pass_time(15)
    assert served(world) == ["good", "worse", "good"]
    assert reasons(world).count("NoRollbackTarget") == 1


def test_decayed_revision_stays_so_while_the_next_replay_runs():
    world = a_world()
    world.settle()
    world.models[uri("good")].wrong = range(300)
    world.pass_time(30)
    before = copy.deepcopy(world.status)
    world.pods = {name: (revision, None) for name, (revision, _) in world.pods.items()}  # an operator that just started
    status = reconcile(world.observe(), world.now).status or before
    kind = next(each for each in status["conditions"] if each["type"] == "QualityOK")
    assert (kind["status"], kind["reason"]) == ("False", "Degraded")
    assert status["quality"][0]["verdict"] == "Degraded"
    world.models[uri("good")].wrong = range(15)
    world.pass_time(15)
    assert world.condition("QualityOK") == ("True", "QualityWatched")


def test_quality_is_not_known_while_the_test_set_cannot_be_answered_again():
    world = a_world()
    world.settle()
    world.models[uri("good")].test_trouble = Trouble("TestSetUnreachable", "no route to host", "surroundings")
    world.pass_time(15)
    assert world.condition("QualityOK")[0] == "Unknown"
    assert "no route to host" in next(
        each["message"] for each in world.status["conditions"] if each["type"] == "QualityOK"
    )
    world.models[uri("good")].test_trouble = None
    world.pass_time(15)
    assert world.condition("QualityOK") == ("True", "QualityWatched")


def test_command_that_was_ignored_stays_so_when_the_status_is_lost():
    world = a_world()
    world.settle()
    world.action = "rollback@2027-01-15T08:00:00Z"
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.status = {"observedGeneration": -1}
    world.settle()
    assert served(world) == ["good", "honest"]
    assert reasons(world).count("CommandIgnored") == 1


def test_annotation_that_is_too_long_for_the_status_is_said_once():
    world = a_world()
    world.settle()
    world.action = "rollback, please, " + "as soon as you can " * 20
    world.settle()
    assert len(world.status["handledAction"]) <= 64
    assert reasons(world).count("CommandIgnored") == 1


def test_one_odd_pod_says_nothing_while_the_other_was_not_heard():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.pass_time(11)
    world.models[uri("honest")].wrong = range(20, 90)
    world.now += 10
    told = {each.pod: (each.revision, each) for each in reconcile(world.observe(), world.now).soundings}
    alone = next(pod for pod, (revision, _) in told.items() if revision == world.revision(uri("honest")))
    world.pods = {pod: (revision, told[pod][1] if pod == alone else None) for pod, (revision, _) in world.pods.items()}
    observed = world.observe()
    unheard = tuple(replace(pod, ready=True) for pod in observed.pods)
    plan = reconcile(replace(observed, pods=unheard), world.now)
    assert [each for each in plan.writes if isinstance(each, Replace)] == []
    world.settle()
    assert served(world) == ["good", "honest", "good"]


def with_one_unheard(world, model):
    """Return what is observed when all pods of a revision are ready, and the last of them does not answer us."""
    observed = world.observe()
    last = observed.ready_pods(world.revision(uri(model)))[-1]
    return replace(observed, pods=tuple(replace(pod, report=None) if pod == last else pod for pod in observed.pods))


def until_the_test_set_is_answered(world, model):
    asked = (world.revision(uri(model)), world.spec["quality"]["testSet"]["uri"])
    while not any(
        told and told.test_set and (told.revision, told.test_set.uri) == asked for _, told in world.pods.values()
    ):
        world.step()
        world.now += 0.1


def test_candidate_is_not_rejected_on_the_word_of_one_pod_while_another_was_not_heard():
    world = a_world()
    world.settle()
    world.models[uri("honest")].wrong = range(200)
    world.ask_for(model=uri("honest"))
    until_the_test_set_is_answered(world, "honest")
    plan = reconcile(with_one_unheard(world, "honest"), world.now)
    assert plan.events == ()
    assert [each for each in plan.writes if isinstance(each, Replace)] == []
    said = next(each["message"] for each in plan.status["conditions"] if each["type"] == "Reconciling")
    assert "PodsNotReached: 1 of 2 ready pods" in said
    world.models[uri("honest")].wrong = range(20, 40)
    world.settle()
    assert served(world) == ["good", "honest"]


def test_two_pods_of_three_are_enough_to_judge_by():
    world = a_world(replicas=3)
    world.settle()
    quality = copy.deepcopy(world.spec["quality"])
    quality["testSet"]["uri"] = "s3://models/newer.parquet"
    world.ask_for(quality=quality)
    until_the_test_set_is_answered(world, "good")
    plan = reconcile(with_one_unheard(world, "good"), world.now)
    assert [each.why for each in plan.writes if isinstance(each, Replace)] == ["record"], "two of three are enough"


def test_only_pod_of_a_candidate_is_enough_to_reject_it():
    world = a_world(replicas=1)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert world.condition("Stalled") == ("True", "TestDegraded")

"""Commands of the user: done once, in the order of their times, and harmless where they do not apply."""

import copy

import pytest
from leadline_api.reasons import Reason

from tests.unit.reconcile.world import a_world, reasons, served, uri


def test_retry_gives_a_rejected_revision_another_try_once():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.models[uri("worse")].wrong = range(10, 20)
    world.action = "retry@2027-01-15T08:00:00Z"
    world.settle()
    assert world.record(world.revision(uri("worse"))).retries == 1
    assert reasons(world).count("CommandDone") == 1
    # The answers of the first try are the revision's answers: the same rows are never new data.
    assert world.condition("Stalled") == ("True", "TestDegraded")
    world.status["handledAction"] = ""
    world.settle()
    assert reasons(world).count("CommandDone") == 1


def test_rollback_command_sends_the_traffic_back():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-15T08:00:00Z"
    world.settle()
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    world.action = "retry@2027-01-15T08:00:01Z"
    world.settle()
    assert served(world)[-1] == "honest"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("retry@2027-01-15T08:00:00Z", "Retry: nothing was found"),
        ("promote@2027-01-15T08:00:00Z", "Promote: the desired revision"),
        ("rollback@2027-01-15T08:00:00Z", "no last good revision"),
        ("retrain@2027-01-15T08:00:00Z", "Retrain: spec.retrain is not set"),
        ("restart@2027-01-15T08:00:00Z", "expected promote@<time>, retrain@<time>, retry@<time> or rollback@<time>"),
        ("rollback@yesterday", "expected promote@<time>, retrain@<time>, retry@<time> or rollback@<time>"),
    ],
)
def test_command_that_does_not_apply_is_an_event_and_nothing_else(action, said):
    world = a_world()
    world.settle()
    before = copy.deepcopy({at: each for at, each in world.objects.items() if at[0] != "ControllerRevision"})
    record = world.record(world.revision(uri("good")))
    world.action = action
    world.settle()
    assert {at: each for at, each in world.objects.items() if at[0] != "ControllerRevision"} == before
    assert world.record(world.revision(uri("good"))).with_(handled_action="", refused_action="") == record
    assert [event.reason for event in world.events if said in event.note] == [Reason.COMMAND_IGNORED]


def test_command_older_than_the_object_is_ignored():
    world = a_world()
    world.settle()
    events = list(world.events)
    world.action = "rollback@2020-01-01T00:00:00Z"
    world.settle()
    assert world.events == events


def test_older_command_that_is_applied_again_is_ignored():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-15T08:00:00Z"
    world.settle()
    world.action = "retry@2027-01-15T08:00:01Z"
    world.settle()
    events = list(world.events)
    world.action = "rollback@2027-01-15T08:00:00Z"
    world.settle()
    world.action = "rollback@2027-01-15T08:00:00.5Z"
    world.settle()
    assert served(world) == ["good", "honest", "good", "honest"]
    assert world.events == events


@pytest.mark.parametrize("ahead", ["2027-01-15T08:06:00Z", "2127-01-15T08:00:00Z", "restart"])
def test_command_from_the_future_is_refused_once_and_blocks_no_later_one(ahead):
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "restart@2127-01-15T08:00:00Z" if ahead == "restart" else f"rollback@{ahead}"
    world.settle()
    world.status["handledAction"] = ""
    world.settle()
    world.pass_time(20)
    assert served(world) == ["good", "honest"]
    assert reasons(world).count("CommandIgnored") == 1
    world.action = "rollback@2027-01-15T08:00:01Z"
    world.settle()
    assert served(world) == ["good", "honest", "good"]


def test_command_from_the_future_says_by_how_much_and_what_to_do():
    world = a_world()
    world.settle()
    world.action = "rollback@2027-01-15T08:10:00Z"
    world.settle()
    (note,) = [event.note for event in world.events if event.reason == Reason.COMMAND_IGNORED]
    assert "rollback@2027-01-15T08:10:00Z is 10 minutes ahead of the operator's clock (limit 5 minutes)" in note
    assert "annotate it again with the time of now" in note
    assert world.status["handledAction"] == ""


def test_command_from_the_future_is_not_carried_out_when_its_time_comes():
    world = a_world()
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1s"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-15T08:10:00Z"
    world.settle()
    world.now += 700
    world.status = {"observedGeneration": -1}
    world.settle()
    assert served(world) == ["good", "honest"]


def test_command_slightly_ahead_of_our_clock_is_carried_out():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-15T08:04:00Z"
    world.settle()
    assert served(world) == ["good", "honest", "good"]


def test_stamp_from_the_future_that_was_remembered_before_blocks_nothing():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.status["handledAction"] = "rollback@2127-01-15T08:00:00Z"
    world.action = "rollback@2027-01-15T08:00:01Z"
    world.settle()
    assert served(world) == ["good", "honest", "good"]

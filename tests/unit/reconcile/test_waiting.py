"""Candidates that wait: for a pause to end, for a verdict, or for the user's word."""

from datetime import UTC, datetime

import pytest

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import a_world, reasons, served, uri


def say(world, verb):
    world.now += 1
    world.action = f"{verb}@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    world.settle()


def pause(world, *, paused):
    world.ask_for(rollout={**world.spec["rollout"], "paused": paused}).settle()


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_candidate_waits_tested_and_ready_while_the_rollout_is_paused(strategy):
    world = a_world(strategy=strategy)
    world.spec["rollout"]["progressDeadline"] = "10s"
    world.settle()
    pause(world, paused=True)
    world.ask_for(model=uri("honest"))
    world.pass_time(30)
    assert served(world) == ["good"]
    assert world.condition("Reconciling") == ("True", "Paused")
    assert world.condition("Stalled") == ("False", "NotStalled"), "no deadline runs while it is paused"
    assert world.condition("Ready")[0] == "True"
    pause(world, paused=False)
    assert served(world) == ["good", "honest"]


def test_first_revision_waits_for_the_end_of_a_pause_as_well():
    world = a_world()
    world.spec["rollout"]["paused"] = True
    world.settle()
    assert served(world) == []
    pause(world, paused=False)
    assert served(world) == ["good"]


def test_pause_holds_no_rollback_up_and_saves_no_bad_candidate():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    pause(world, paused=True)
    world.models[uri("honest")].wrong = range(200)
    world.pass_time(15)
    assert served(world) == ["good", "honest", "good"]
    dark = a_world()
    dark.settle()
    pause(dark, paused=True)
    dark.ask_for(model=uri("worse")).settle()
    assert dark.condition("Stalled") == ("True", "TestDegraded")


def test_promote_ends_the_wait_of_one_attempt():
    world = a_world()
    world.settle()
    pause(world, paused=True)
    world.ask_for(model=uri("honest")).settle()
    say(world, "promote")
    assert served(world) == ["good", "honest"]
    assert "CommandDone" in reasons(world)
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["good", "honest"], "the next one waits again"
    world.ask_for(model=uri("honest")).settle()
    world.ask_for(model=uri("good")).settle()
    say(world, "promote")
    world.ask_for(model=uri("honest")).settle()
    assert served(world) == ["good", "honest", "good"], "and so does the same one in another attempt"


def test_promote_passes_over_no_finding_and_no_test():
    world = a_world()
    world.settle()
    pause(world, paused=True)
    world.ask_for(model=uri("worse"))
    say(world, "promote")
    assert world.condition("Stalled") == ("True", "TestDegraded")
    say(world, "promote")
    assert served(world) == ["good"]
    assert any("is rejected; to try it again, retry" in event.note for event in world.events)


def held(**rollout):
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "2m"}, onUndecided="Hold", **rollout)
    world.settle()
    return world


@pytest.mark.parametrize("flows", [True, False])
def test_candidate_without_a_verdict_is_held_and_said_to_be(flows):
    world = held()
    world.ask_for(model=uri("honest")).settle()
    if flows:
        world.ask(100, each_seconds=1.5)
    else:
        world.pass_time(130)
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "Undecided")
    say(world, "promote")
    assert served(world) == ["good", "honest"]


@pytest.mark.parametrize(("model", "end"), [("honest", ["good", "honest"]), ("worse", ["good"])])
def test_held_candidate_is_judged_by_the_outcomes_that_come_later(model, end):
    world = held()
    world.ask_for(model=uri(model))
    world.pass_time(130)
    assert world.condition("Stalled") == ("True", "Undecided")
    world.ask(3_000, step_every=50)
    assert served(world) == end
    assert (world.condition("Stalled") == ("True", "Degraded")) == (model == "worse")


def test_held_candidate_can_be_refused_by_command():
    world = held()
    world.ask_for(model=uri("honest"))
    world.pass_time(130)
    say(world, "rollback")
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "RolledBackByCommand")

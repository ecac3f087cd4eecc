"""A candidate that answers a growing share of the requests before it gets the traffic."""

from datetime import UTC, datetime

import pytest
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import a_world, served, uri

TIMED = [{"weight": 5, "until": {"duration": "60s"}}, {"weight": 50, "until": {"duration": "5m"}}]


def canaries(steps=TIMED, **rollout):
    """A world with a good model that serves, and one that is asked for as a canary, at its first step."""
    world = a_world(strategy="Canary")
    world.spec["rollout"] |= {"steps": steps, **rollout}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    return world


def shares(world):
    """Return who answers how many percent, by model."""
    names = {world.revision(each): each.removeprefix("s3://models/").removesuffix(".onnx") for each in world.models}
    return {names[each["revision"]]: each["percent"] for each in world.status["traffic"]}


def message(world, kind):
    return next(each["message"] for each in world.status["conditions"] if each["type"] == kind)


def test_shares_grow_step_by_step_and_then_the_candidate_serves():
    world = canaries()
    assert (served(world), shares(world)) == (["good"], {"good": 95, "honest": 5})
    assert world.status["phase"] == "Canary"
    assert "step 1 of 2: 5 % for 60s" in message(world, "Reconciling")
    world.pass_time(55)
    assert shares(world) == {"good": 95, "honest": 5}
    world.pass_time(10)
    assert shares(world) == {"good": 50, "honest": 50}
    world.pass_time(290)
    assert served(world) == ["good"]
    world.pass_time(20)
    assert (served(world), shares(world)) == (["good", "honest"], {"honest": 100})
    assert world.condition("UpToDate")[0] == "True"


def test_a_long_canary_is_not_stalled_and_a_worse_model_never_answers():
    world = canaries([{"weight": 5, "until": {"duration": "2h"}}], progressDeadline="60s")
    world.pass_time(600)
    assert world.condition("Stalled") == ("False", "NotStalled")
    world.ask_for(model=uri("worse")).settle()
    world.pass_time(60)
    assert (served(world), shares(world)) == (["good"], {"good": 100})
    assert world.condition("Stalled") == ("True", "TestDegraded")


def test_where_it_is_survives_the_loss_of_status_and_operator():
    world = canaries()
    world.pass_time(70)
    world.status = {"observedGeneration": -1}
    world.pods = {name: (revision, None) for name, (revision, _) in world.pods.items()}
    world.settle()
    assert shares(world) == {"good": 50, "honest": 50}
    assert served(world) == ["good"]


def test_first_step_waits_for_capacity_and_pods_that_go_end_the_share():
    world = a_world(strategy="Canary")
    world.spec["rollout"]["steps"] = TIMED
    world.settle()
    world.starts_pods = False
    world.ask_for(model=uri("honest")).settle()
    assert shares(world) == {"good": 100}
    world.starts_pods = True
    world.settle()
    assert shares(world) == {"good": 95, "honest": 5}
    world.models[uri("honest")].trouble = Trouble("LoadFailed", "gone", "surroundings")
    world.pass_time(20)
    assert shares(world) == {"good": 100}


def test_pause_holds_the_step_and_promote_skips_the_rest():
    world = canaries()
    world.ask_for(rollout={**world.spec["rollout"], "paused": True}).settle()
    world.pass_time(600)
    assert (world.status["phase"], shares(world)) == ("Paused", {"good": 95, "honest": 5})
    world.action = f"promote@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    world.settle()
    assert (served(world), shares(world)) == (["good", "honest"], {"honest": 100})


def test_rollback_command_ends_it_at_once():
    world = canaries()
    world.action = f"rollback@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    world.settle()
    assert (served(world), shares(world)) == (["good"], {"good": 100})
    assert world.condition("Stalled") == ("True", "RolledBackByCommand")
    world.pass_time(900)
    assert served(world) == ["good"]


def test_going_back_to_what_served_well_needs_no_canary():
    world = canaries([{"weight": 5, "until": {"duration": "60s"}}])
    world.pass_time(70)
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["good", "honest", "good"]


def test_first_revision_and_one_that_follows_a_bad_one_take_no_steps():
    world = canaries([{"weight": 5, "until": {"duration": "60s"}}])
    assert served(world)[0] == "good", "nobody was there to split with"


@pytest.mark.parametrize(
    "steps", [[{"weight": 20, "until": {"outcomes": 30}}, {"weight": 60, "until": {"outcomes": 50}}]]
)
def test_steps_last_until_so_many_outcomes_of_the_candidate_have_come(steps):
    world = an_outcomes_world(strategy="Canary", steps=steps)
    world.settle()
    world.ask(100)
    world.ask_for(model=uri("honest")).settle()
    assert "step 1 of 2: 20 % until 30 of its outcomes have come" in message(world, "Reconciling")
    world.ask(100)
    assert shares(world) == {"good": 80, "honest": 20}
    world.ask(60)
    assert shares(world) == {"good": 40, "honest": 60}
    world.ask(60)
    assert served(world) == ["good"]
    world.ask(60)
    assert served(world) == ["good", "honest"]


def test_worse_candidate_is_condemned_on_copies_while_it_answers_a_share_and_answers_no_more():
    world = an_outcomes_world(strategy="Canary", steps=[{"weight": 30, "until": {"duration": "1h"}}])
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert shares(world) == {"good": 70, "worse": 30}
    world.ask(2_000)
    assert (served(world), shares(world)) == (["good"], {"good": 100})
    (rejected,) = world.status["rejected"]
    assert rejected["reason"] == "Degraded"
    assert "outcomes vs" in rejected["message"]

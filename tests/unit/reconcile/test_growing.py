"""A test set out of outcomes: asked for when a revision is to be tested, waited for, compared on the same rows, and done without."""

import pytest
from leadline_operator.reconcile.gate import Grown, gate_of
from leadline_operator.reconcile.plan import Grow
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire.captures import GROWN_TRUTH
from leadline_wire.exchange import LEDGER_SCHEME, Trouble

from tests.unit.reconcile.outcomes_world import OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import Model, reasons, served, uri

FIRST, SECOND = ("sha256:" + letter * 64 for letter in "12")


def a_growing_world(**rollout) -> OutcomesWorld:
    world = an_outcomes_world(strategy="BlueGreen", **rollout)
    world.spec["outcomes"] = {"maturity": "0s", "capture": {}}
    world.spec["quality"]["metrics"][0]["floor"] = "0.80"
    world.spec["quality"]["testSet"] = {"from": "outcomes", "interval": "10s"}
    return world


def grown(world, name, rows=1_000, digest=FIRST):
    return Grown(world.revision(uri(name)), rows, digest)


def wanted(world):
    return reconcile(world.observe(), world.now).grow


def requests(world):
    return {told.test_set for _, told in world.pods.values() if told is not None and told.test_set is not None}


def a_serving_world(**rollout) -> OutcomesWorld:
    """Return a world in which the good model was tested by the first set, and serves."""
    world = a_growing_world(**rollout)
    world.grown = grown(world, "good")
    world.settle()
    assert served(world) == ["good"]
    return world


def test_it_is_asked_for_when_a_revision_is_to_be_tested_and_waited_for():
    world = a_growing_world()
    world.settle()
    assert served(world) == []
    assert wanted(world) == Grow(world.revision(uri("good")), 2_000, 50)
    world.grown = grown(world, "good")
    world.settle()
    assert served(world) == ["good"]
    assert world.record(world.selected).test.digest == FIRST, "what it was decided by is remembered"
    assert wanted(world) is None
    (request,) = requests(world)
    assert (request.uri, request.digest, request.truth) == (f"{LEDGER_SCHEME}{FIRST}", FIRST, GROWN_TRUTH)


def test_a_candidate_and_the_serving_revision_answer_the_set_of_today():
    world = a_serving_world()
    world.ask_for(model=uri("worse")).settle()
    assert wanted(world) == Grow(world.revision(uri("worse")), 2_000, 50)
    assert served(world) == ["good"], "the set of another revision is not taken"
    world.grown = grown(world, "worse", digest=SECOND)
    world.settle()
    assert world.condition("Stalled") == ("True", "TestDegraded")
    assert {world.record(world.revision(uri(name))).test.digest for name in ("good", "worse")} == {SECOND}
    assert wanted(world) is None, "a rejected one needs none"
    # The set goes on growing: the finding stays, for it is not known by what is in the set.
    world.grown = grown(world, "worse", rows=2_000, digest=FIRST)
    world.settle()
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "TestDegraded")


def test_a_good_candidate_passes():
    world = a_serving_world()
    world.ask_for(model=uri("honest")).settle()
    world.grown = grown(world, "honest", digest=SECOND)
    world.settle()
    assert served(world) == ["good", "honest"]


def test_after_a_restart_replays_are_of_the_rows_that_it_was_admitted_by():
    world = a_serving_world()
    world.grown = None
    world.restart()
    world.settle()
    assert wanted(world) is None
    assert {request.digest for request in requests(world)} == {FIRST}
    assert world.condition("QualityOK") == ("True", "QualityWatched")


def test_too_few_rows_are_as_no_test_set_until_there_are_enough():
    world = a_growing_world()
    world.grown = grown(world, "good", rows=49)
    world.settle()
    assert served(world) == ["good"]
    assert requests(world) == set()
    assert wanted(world) == Grow(world.revision(uri("good")), 2_000, 50), "later there may be enough"
    world.ask(300)
    status = next(each for each in world.status["conditions"] if each["type"] == "QualityOK")
    assert (status["status"], status["reason"]) == ("Unknown", "NotMeasured"), "outcomes alone judge it"
    assert "49 rows yet, 50 are needed" in status["message"]
    world.grown = grown(world, "good", rows=50)
    world.settle()
    assert world.record(world.selected).test.digest == FIRST
    assert served(world) == ["good"]


def test_a_ledger_that_cannot_make_one_is_trouble_and_no_finding():
    world = a_serving_world()
    world.ask_for(model=uri("honest")).settle()
    world.grown = Grown(world.revision(uri("honest")), trouble="ledger http://ledger answers 503: busy")
    world.pass_time(700)
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "TestSetUnreachable")
    assert world.record(world.revision(uri("honest"))).rejections == []
    world.grown = grown(world, "honest")
    world.settle()
    assert served(world) == ["good", "honest"]


def test_a_revision_with_other_inputs_than_were_captured_is_judged_without():
    world = a_serving_world()
    world.models[uri("wider")] = Model(
        digest="sha256:" + "e" * 64, test_trouble=Trouble("InvalidTestSet", 'column "new" not found', "surroundings")
    )
    world.ask_for(model=uri("wider")).settle()
    world.grown = grown(world, "wider", digest=SECOND)
    world.settle()
    assert served(world) == ["good", "wider"]
    assert "TestDegraded" not in reasons(world)


def test_without_a_ledger_there_is_no_such_test_set():
    world = a_growing_world()
    plain = super(OutcomesWorld, world).observe()
    assert reconcile(plain, world.now).grow is None
    assert plain.settings.ledger_url == ""


@pytest.mark.parametrize("change", [{"size": 5_000}, {"interval": "1h"}])
def test_the_gate_is_known_by_where_the_rows_are_from_alone(change):
    world = a_growing_world()
    before = gate_of(world.observe().spec)
    world.spec["quality"]["testSet"] |= change
    after = gate_of(world.observe().spec)
    assert (before.key, before.set_key) == (after.key, after.set_key)
    world.spec["quality"]["testSet"] = {"uri": "s3://models/t.csv", "truth": "y"}
    assert gate_of(world.observe().spec).set_key != before.set_key

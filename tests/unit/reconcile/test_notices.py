"""What is told of decisions: each with the numbers that it rests on."""

import math

from leadline_operator.reconcile import announcing
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import a_world, uri


def noticed(world):
    """Return what is told at a look, by kind."""
    return [(each.kind, each.revision, each.data) for each in reconcile(world.observe(), world.now).notices]


def test_rejection_by_the_test_set_says_what_was_counted_without_any_ledger():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    (promoted, rejected) = noticed(world)
    assert promoted[:2] == ("Promoted", world.revision(uri("good")))
    assert promoted[2]["digest"].startswith("sha256:")
    assert rejected[:2] == ("Rejected", world.revision(uri("worse")))
    measured = announcing.measured_of(rejected[2])
    assert (measured["by"], measured["rows"], measured["margin"]) == ("testSet", "1000", "0.02")
    assert float(measured["right"]) / 1000 == float(measured["estimate"])
    assert float(measured["pValue"]) <= float(measured["alpha"]) == 0.002
    assert rejected[2]["falseRollbackProbability"] == "0.01"
    assert "template" not in promoted[2]


def test_rollback_by_outcomes_names_the_entry_that_decided_and_can_be_recomputed():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(600, serving="good")
    found = {kind: data for kind, _, data in noticed(world)}
    assert {"Promoted", "Rejected", "RolledBack"} <= found.keys()
    measured = announcing.measured_of(found["Rejected"])
    worse, good = world.revision(uri("worse")), world.revision(uri("good"))
    compared = world.evidence.first.pairs[worse, good]
    assert measured["by"] == "pairs"
    assert int(measured["ledgerEntry"]) == compared.decided_seq
    assert math.isclose(float(measured["evidence"]), compared.comparison.worse.evidence)
    assert float(measured["evidence"]) >= float(measured["needed"]) == 1 / float(measured["alpha"])
    kept = world.record(worse).rejections[0].measured
    assert kept == measured, "the record on the ControllerRevision has the same"
    told = next(each for each in world.log if getattr(each, "kind", "") == "Rejected")
    assert announcing.measured_of(told.data) == measured, "and so has the ledger"


def test_what_is_older_than_an_hour_is_no_news():
    world = a_world()
    world.settle()
    assert len(noticed(world)) == 1
    world.now += announcing.NOTICE_SECONDS + 1
    world.settle()
    assert noticed(world) == []

"""Ten successors, each within the margin: what is said of the series, once, and that nothing else happens.

Levels, measures and simulated lives are in tests/unit/stats/test_creep.py.
"""

import copy
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from leadline_wire import predictions
from leadline_wire.ledger import OutcomeEntry

from tests.unit.reconcile.outcomes_world import MODEL, OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import ROWS, Model, World, a_world, copied, reasons, served, uri

STEP = 18
"""Rows of 1,000 that each successor loses; the margin is 20."""


def model(number: int, wrong: range) -> Model:
    return Model(wrong, f"sha256:{number:064x}")


SERIES = {f"m{number}": model(number, range(15 + STEP * number)) for number in range(11)}
BETTER = {"better": model(99, range(10))}


def promote(world: World, name: str) -> World:
    world.ask_for(model=uri(name)).settle()
    assert world.selected == world.revision(uri(name)), world.status
    return world


def crept(**spec: Any) -> World:
    """Return a world in which the fifth successor serves, of which creep is said by the test set."""
    world = a_world(floor=None, **{name: copy.copy(each) for name, each in {**SERIES, **BETTER}.items()})
    world.spec |= spec
    for number in range(6):
        promote(world, f"m{number}")
    return world


def message(world: World, kind: str = "QualityOK") -> str:
    return next(each["message"] for each in world.status["conditions"] if each["type"] == kind)


def record_changed(world: World, name: str, **changes: Any) -> None:
    """Write a record as another hand would."""
    annotations = world.objects["ControllerRevision", name]["metadata"]["annotations"]
    annotations[names.RECORD_ANNOTATION] = records.write(world.record(name).with_(**changes))


def test_creep_is_said_once_the_sum_of_small_losses_is_beyond_twice_the_margin():
    world = a_world(floor=None, **{name: copy.copy(each) for name, each in SERIES.items()})
    said = []
    for number in range(11):
        promote(world, f"m{number}")
        said.append(world.condition("QualityOK"))
    assert said[:3] == [("True", "QualityWatched")] * 3, "two steps lose less than two margins"
    assert said[5:] == [("False", "QualityCreep")] * 6
    assert served(world) == [f"m{number}" for number in range(11)]
    assert set(reasons(world)) == {"Promoted", "QualityCreep"}
    assert reasons(world).count("QualityCreep") == said.count(("False", "QualityCreep")), "one for each that has crept"


def test_creep_moves_no_traffic_stalls_nothing_and_says_its_numbers():
    world = crept()
    world.pass_time(60)
    assert served(world)[-1] == "m5"
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert world.condition("UpToDate")[0] == "True"
    assert world.condition("Ready")[0] == "True"
    best = world.revision(uri("m0"))
    assert "accuracy 0.895 [" in message(world)
    assert f"vs 0.985 of {best}, the best accepted revision: more than twice the margin 0.02 is lost" in message(world)
    assert "(p " in message(world)
    assert "no traffic moves" in message(world)
    assert world.status["summary"]["message"] == message(world)[:512]
    assert [each["verdict"] for each in world.status["quality"]] == ["Watching"]
    note = next(each for each in world.events if each.reason == "QualityCreep")
    assert (note.type, note.note) == ("Warning", f"Revision {world.selected} keeps serving: {message(world)}")


def test_creep_is_said_again_and_announced_no_second_time_when_the_status_is_lost():
    world = crept()
    before = message(world)
    world.status = {"observedGeneration": -1}
    world.settle()
    assert (world.condition("QualityOK"), message(world)) == (("False", "QualityCreep"), before)
    assert reasons(world).count("QualityCreep") == 1


def test_creep_ends_with_a_revision_that_has_not_crept_and_begins_anew_with_one_that_has():
    world = crept()
    name = world.selected
    promote(world, "better")
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.record(name).crept == ""
    promote(world, "m5")
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert "of " + world.revision(uri("better")) in message(world), "the best is whoever is best by now"
    assert reasons(world).count("QualityCreep") == 2


@pytest.mark.parametrize("how", ["rejected", "pardoned", "never served"])
def test_only_accepted_revisions_are_held_against_others(how):
    world = crept()
    best, gate = world.revision(uri("m0")), world.record(world.selected).admitted_gate
    finding = records.Rejection(gate, "Degraded", "", world.now)
    changes: dict[str, Any] = {
        "rejected": {"rejections": [finding]},
        "pardoned": {"pardoned": [finding]},
        "never served": {"serving_since": None, "served_until": None},
    }[how]
    record_changed(world, best, **changes)
    world.settle()
    assert world.condition("QualityOK") == ("True", "QualityWatched"), "of the second one too little is lost"


def test_answers_to_another_test_set_are_no_reference():
    world = crept()
    world.spec["quality"]["testSet"]["uri"] = "s3://models/newer.parquet"
    world.generation += 1
    world.settle()
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.record(world.selected).crept == ""


def test_creep_is_announced_no_second_time_after_the_test_set_was_answered_anew():
    world = crept()
    record_changed(world, world.selected, test=None, admitted_gate="")
    world.step()
    assert world.record(world.selected).test is None
    assert world.record(world.selected).crept
    world.settle()
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert reasons(world).count("QualityCreep") == 1


def test_finding_against_the_serving_revision_comes_before_creep():
    world = crept(quality={**a_world(floor=None).spec["quality"], "onDegraded": "Alert"})
    world.models[uri("m5")].wrong = range(400)
    world.pass_time(15)
    assert world.condition("QualityOK") == ("False", "Degraded")
    world.models[uri("m5")].wrong = SERIES["m5"].wrong
    world.pass_time(15)
    assert world.condition("QualityOK") == ("False", "QualityCreep"), "the finding is over, the series is not"
    assert [each["verdict"] for each in world.status["quality"]] == ["Watching"]
    assert reasons(world).count("QualityCreep") == 1


def test_creep_is_not_taken_for_a_finding_against_the_revision_before_the_pods_have_reported_again():
    world = crept()
    record = world.record(world.selected)
    record_changed(world, world.selected, alerted=record.admitted_gate)
    world.pods = {name: (revision, None) for name, (revision, _) in world.pods.items()}
    world.step()
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert [each["verdict"] for each in world.status["quality"]] == ["Watching"]


def test_record_of_the_best_is_kept_when_the_history_is_longer_than_what_is_kept():
    equal = {f"e{number}": model(200 + number, range(20)) for number in range(14)}
    world = a_world(floor=None, **{"m0": copy.copy(SERIES["m0"]), **equal})
    world.spec["rollout"] |= {"lastGood": {"replicas": 0, "for": "1h"}}
    promote(world, "m0")
    for name in equal:
        promote(world, name)
    kept = {name for kind, name in world.objects if kind == "ControllerRevision"}
    assert world.revision(uri("m0")) in kept
    assert world.revision(uri("e0")) not in kept


def answered(world: OutcomesWorld, count: int) -> None:
    """Let so many answers come to the serving revision, evenly spread over the rows, with none beside it."""
    entries = []
    first = world.log[-1].seq + 1 if world.log else 1
    for place in range(count):
        said = "i0" if place * 7919 % ROWS in world._model(world.selected).wrong else "i1"
        seq = first + place
        came = round(world.now * 1000)
        entries.append(OutcomeEntry(seq, MODEL, f"{seq:032x}", 0, world.selected, said, came, truth="i1"))
    world.append(*entries)
    world.settle()


def crept_by_outcomes(last: int = 7, count: int = 2_000) -> OutcomesWorld:
    world = an_outcomes_world(quality={"onDecay": "Alert"})
    world.models |= {uri(name): copy.copy(each) for name, each in {**SERIES, **BETTER}.items()}
    for number in range(last + 1):
        promote(world, f"m{number}")
        answered(world, count)
    return world


def test_creep_is_said_by_outcomes_where_no_limit_is_crossed():
    world = crept_by_outcomes(last=3)
    assert "QualityCreep" not in reasons(world)
    for number in range(4, 8):
        promote(world, f"m{number}")
        answered(world, 2_000)
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert served(world)[-1] == "m7"
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert f"over 2000 of {world.revision(uri('m0'))}, the best accepted revision" in message(world)
    assert message(world).startswith("accuracy 0.859 [0.8")
    assert "twice the margin 0.02 is lost, or the world has moved since" in message(world)
    assert set(reasons(world)) == {"Promoted", "QualityCreep"}


def test_creep_by_outcomes_survives_a_restart_without_a_second_event():
    world = crept_by_outcomes()
    before = message(world)
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    told = reasons(world).count("QualityCreep")
    world.restart()
    world.is_read = False
    world.settle()
    assert world.record(world.selected).crept
    world.is_read = True
    world.settle()
    assert (world.condition("QualityOK"), message(world)) == (("False", "QualityCreep"), before)
    assert reasons(world).count("QualityCreep") == told


def test_a_few_more_outcomes_write_nothing_while_creep_is_said():
    world = crept_by_outcomes()
    before = copied(world.status)
    answered(world, 20)
    assert world.status == before
    answered(world, 400)
    assert world.status != before


def test_what_was_said_by_outcomes_holds_until_the_estimates_are_back_within_twice_the_margin():
    world = crept_by_outcomes()
    told = reasons(world).count("QualityCreep")
    world.models[uri("m7")].wrong = range(30)
    seen, estimates = [], []
    for _ in range(12):
        answered(world, 1_000)
        seen.append(world.condition("QualityOK")[1] == "QualityCreep")
        estimates.append(world.evidence.first.own[world.selected].watch.all.mean - 0.015 > 0.04)
    assert seen == estimates
    assert sum(seen) > 3, "long after the intervals have met"
    assert not seen[-1]
    assert world.record(world.selected).crept == ""
    assert reasons(world).count("QualityCreep") == told


def test_revision_that_was_rolled_back_by_command_is_not_the_best_by_outcomes():
    world = an_outcomes_world(quality={"onDecay": "Alert"})
    top = model(98, range(0, 1000, 500))
    world.models |= {uri("m4"): copy.copy(SERIES["m4"]), uri("m2"): copy.copy(SERIES["m2"]), uri("top"): top}
    promote(world, "m2")
    answered(world, 2_000)
    promote(world, "top")
    answered(world, 2_000)
    world.now += 1
    world.action = f"rollback@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    world.settle()
    assert world.selected == world.revision(uri("m2"))
    assert world.condition("QualityOK")[1] != "QualityCreep"
    promote(world, "m4")
    answered(world, 4_000)
    assert "QualityCreep" not in reasons(world)


def test_best_is_known_by_outcomes_after_its_record_is_gone():
    world = crept_by_outcomes()
    del world.objects["ControllerRevision", world.revision(uri("m0"))]
    world.status = {"observedGeneration": -1}
    world.settle()
    assert f"over 2000 of {world.revision(uri('m0'))}, the best accepted revision" in message(world)


def valued(world: OutcomesWorld, count: int, deviation: float, chance: random.Random) -> None:
    """Let so many true values come back, from which the serving revision's were as far as is said."""
    entries, first = [], world.log[-1].seq + 1
    for seq in range(first, first + count):
        truth = chance.gauss(100, 20)
        said = predictions.of_value(truth + chance.gauss(0, deviation))
        told, came = predictions.of_value(truth), round(world.now * 1000)
        entries.append(OutcomeEntry(seq, MODEL, f"{seq:032x}", 0, world.selected, said, came, truth=told))
    world.append(*entries)
    world.settle()


def test_larger_errors_add_up_by_their_share_and_the_metric_that_shows_it_is_named():
    metrics = [
        {"name": "fit", "metric": "r2", "margin": "0.3"},
        {"name": "price", "metric": "mae", "relativeMargin": "10%"},
    ]
    world = an_outcomes_world(quality={"metrics": metrics, "onDecay": "Alert"})
    world.models |= {uri(name): copy.copy(each) for name, each in SERIES.items()}
    chance, said = random.Random(5), []
    for number in range(7):
        promote(world, f"m{number}")
        valued(world, 3_000, 5 * 1.09**number, chance)
        said.append(world.condition("QualityOK")[1] == "QualityCreep")
    assert said[:3] == [False] * 3, "two steps of 9 % are less than a fifth"
    assert said[-1]
    assert message(world).startswith("price 6.")
    assert "more than twice the margin 10% is lost" in message(world)
    assert set(reasons(world)) == {"Promoted", "QualityCreep"}

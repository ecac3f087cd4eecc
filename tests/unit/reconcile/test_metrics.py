"""Metrics beside accuracy, and several at once: one false rollback probability for all."""

import json
import random
from dataclasses import replace

import pytest
from leadline_operator.reconcile import evidence_state, terms
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms
from leadline_stats import verdicts
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import served, uri

ACCURACY = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)


def of_errors(measure, margin=0.1):
    return replace(ACCURACY, metric="error", measure=measure, graded=True, margin=margin)


def begun(*several):
    told = DecisionEntry(1, "ml/m", "terms/key", "Terms", "", 0, "", terms.data_of(several))
    promoted = [
        DecisionEntry(seq, "ml/m", f"promoted/{name}", "Promoted", name, 0, "", {})
        for seq, name in ((2, "old"), (3, "new"))
    ]
    return fold(Evidence(), [told, *promoted])


def prices(first, count, *, new, old=1.0, seed=1, failing=0.0):
    """Outcomes of the new revision and pairs with the old one; what either has got wrong grows by a factor."""
    chance, entries = random.Random(seed), []
    for place in range(count):
        truth, common = chance.gauss(100, 20), chance.gauss(0, 5)
        said = [truth + new * (common + chance.gauss(0, 5)), truth + old * (common + chance.gauss(0, 5))]
        words = [predictions.of_value(each) for each in said]
        if chance.random() < failing:
            words[0] = predictions.failure("5xx")
        seq, told = first + 2 * place, predictions.of_value(truth)
        entries.append(OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", words[0], seq, truth=told))
        entries.append(PairEntry(seq + 1, "ml/m", f"{seq:032x}", 0, "new", words[0], "old", words[1], seq, truth=told))
    return entries


@pytest.mark.parametrize(("measure", "margin"), [("mae", 0.1), ("rmse", 0.1), ("r2", 0.05)])
def test_larger_errors_are_found_on_the_same_inputs_and_equal_ones_are_not(measure, margin):
    stream = fold(begun(of_errors(measure, margin)), prices(4, 2_000, new=1.5)).first
    compared = stream.pairs["new", "old"]
    assert compared.is_worse
    assert compared.since_seq > 1_000, "the first 500 make the scale"
    assert compared.comparison.worse.crossed_at < 800
    equal = fold(begun(of_errors(measure, margin)), prices(4, 6_000, new=1.0)).first.pairs["new", "old"]
    assert not equal.is_worse
    within = fold(begun(of_errors(measure, 0.25)), prices(4, 6_000, new=1.0)).first.pairs["new", "old"]
    assert within.is_within


def test_failures_are_the_largest_errors():
    stream = fold(begun(of_errors("mae")), prices(4, 3_000, new=1.0, failing=0.1)).first
    assert stream.pairs["new", "old"].is_worse


def test_errors_that_grow_later_fall_below_the_own_limit_and_are_said_in_units_of_the_target():
    evidence = fold(begun(of_errors("mae")), prices(4, 1_500, new=1.0))
    assert not evidence.first.own["new"].has_decayed
    evidence = fold(evidence, prices(3_004, 1_000, new=2.0))
    stream = evidence.first
    assert stream.own["new"].has_decayed
    case = verdicts.Case("error", stream.reading, None, stream.own["new"].watch)
    verdict = verdicts.decide(case)
    assert verdict.name is verdicts.Name.DECAYED
    assert 5 < verdict.reference < verdict.limit < 7.5, "of a normal error with a deviation of 7.07, without its tail"
    assert verdict.interval[0] < verdict.estimate < verdict.interval[1]
    assert verdict.message.startswith(f"error {verdict.estimate:#.4g} [")
    assert "margin 10%" in verdict.message


def test_before_there_is_a_scale_it_is_said_how_many_outcomes_it_needs():
    stream = fold(begun(of_errors("mae")), prices(4, 100, new=1.0)).first
    verdict = verdicts.decide(verdicts.Case("error", stream.reading, None, None, missing=stream.missing))
    assert (verdict.name, verdict.why) == (verdicts.Name.COLLECTING, "400 more outcomes make a scale for errors")


def test_errors_that_make_no_scale_are_passed_over_for_those_that_do():
    nothing = [
        OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", predictions.of_value(7), seq, truth=predictions.of_value(7))
        for seq in range(4, 504)
    ]
    evidence = fold(begun(of_errors("mae")), nothing)
    assert evidence.first.missing == 500
    assert fold(evidence, prices(504, 600, new=1.0)).first.scale is not None


def test_class_answers_say_nothing_of_errors_and_numbers_nothing_of_a_class():
    outcomes = [OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", "i1", seq, correct=True) for seq in range(4, 700)]
    named = replace(ACCURACY, metric="f1", measure="f1", positive="1")
    evidence = fold(begun(of_errors("mae"), named), outcomes)
    assert all(stream.own == {} for stream in evidence.streams.values())


def frauds(count, *, alarms, seed=2):
    """One in ten is a fraud, nine of ten are found; the new revision calls fine ones a fraud as often as is said."""
    chance, entries = random.Random(seed), []
    for seq in range(4, count + 4):
        is_fraud, found, noise = seq % 10 == 0, chance.random() < 0.9, chance.random()
        old = "i1" if (is_fraud and found) or (not is_fraud and noise < 0.01) else "i0"
        new = "i1" if (is_fraud and found) or (not is_fraud and noise < alarms) else "i0"
        entries.append(PairEntry(seq, "ml/m", f"{seq:032x}", 0, "new", new, "old", old, seq, truth=f"i{int(is_fraud)}"))
    return entries


@pytest.mark.parametrize("measure", ["precision", "f1"])
def test_false_alarms_are_found_though_accuracy_hardly_moves(measure):
    named = replace(ACCURACY, metric=measure, measure=measure, positive="1")
    evidence = fold(begun(named, ACCURACY), frauds(4_000, alarms=0.03))
    assert evidence.streams[measure].pairs["new", "old"].is_worse
    assert not evidence.streams["accuracy"].pairs["new", "old"].is_worse
    equal = fold(begun(named), frauds(4_000, alarms=0.01)).first.pairs["new", "old"]
    assert not equal.is_worse


def test_precision_takes_what_was_only_called_right_or_wrong():
    named = replace(ACCURACY, metric="precision", measure="precision", positive="1")
    said = [("i1", True), ("i1", False), ("i0", False)]
    outcomes = [
        OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", word, seq, correct=correct)
        for seq, (word, correct) in enumerate(said, 4)
    ]
    assert fold(begun(named), outcomes).first.own["new"].watch.all.mean == 0.5


def test_terms_of_several_metrics_come_back_and_one_old_one_is_written_as_it_ever_was():
    several = (ACCURACY, of_errors("r2"), replace(ACCURACY, metric="f1", measure="f1", positive="1"))
    evidence = begun(*several)
    assert tuple(stream.terms for stream in evidence.streams.values()) == several
    evidence = fold(evidence, [*frauds(333, alarms=0.02), *prices(1_000, 300, new=1.0)])
    state = evidence_state.write(evidence)
    assert evidence_state.read(state, evidence.decisions.values()) == evidence
    assert json.loads(state)["version"] == 2
    old = json.loads(evidence_state.write(begun(ACCURACY)))
    assert (old["version"], old["own"], "measure" in old["terms"]) == (1, {}, False)
    assert "more" not in terms.data_of((ACCURACY,))
    with pytest.raises(ValueError, match="not a valid Measure"):
        terms.read(DecisionEntry(1, "m", "t", "Terms", "", 0, "", terms.data_of((ACCURACY,)) | {"measure": "later"}))


def test_outcomes_about_the_same_entity_again_are_no_evidence():
    """Twenty wrong answers about each of a few customers are a few wrong answers."""
    first = [
        OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", "i0", seq, truth="i1", repeats=seq % 20 != 0)
        for seq in range(20, 420)
    ]
    pairs = [
        PairEntry(seq, "ml/m", f"{seq:032x}", 0, "new", "i0", "old", "i1", seq, truth="i1", repeats=seq % 20 != 0)
        for seq in range(420, 620)
    ]
    stream = fold(begun(ACCURACY, of_errors("mae")), [*first, *pairs]).first
    assert stream.own["new"].outcomes == 20
    assert stream.pairs["new", "old"].comparison.pairs == 10


METRICS = [
    {"name": "accuracy", "metric": "accuracy", "margin": "0.5"},
    {"name": "ones-found", "metric": "recall", "positive": "1", "margin": "0.02"},
]


def test_the_worst_of_several_metrics_decides_and_each_has_its_share_of_the_probability():
    world = an_outcomes_world(quality={"metrics": METRICS})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(60)
    first, second = world.status["quality"]
    assert (first["name"], second["name"]) == ("accuracy", "ones-found")
    assert (first["verdict"], second["verdict"]) == ("Healthy", "Watching")
    assert second["needed"] == "500", "1 / (.01 / 2 x .4)"
    world.ask(400, serving="good")
    assert served(world) == ["good", "worse", "good"]
    assert world.status["rejected"][0]["message"].startswith("ones-found 0.")
    world.ask(600)
    shown = world.status["summary"]
    assert [part.split()[0] for part in shown["quality"].split(", ")] == ["accuracy", "ones-found"]
    assert (shown["verdict"], shown["outcomes"]) == ("Healthy, Watching", str(world.status["quality"][0]["outcomes"]))


def test_decay_of_one_metric_is_verified_by_that_metric_alone():
    world = an_outcomes_world(quality={"metrics": METRICS})
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.ask(1_200)
    for name in ("good", "honest"):
        world.models[uri(name)] = replace(world.models[uri(name)], wrong=range(0, 1_000, 5))
    world.ask(1_500)
    assert served(world) == ["good", "honest"], "the world has moved for both"
    verdict = {each["name"]: each["verdict"] for each in world.status["quality"]}
    assert verdict["ones-found"] == "Decayed"
    assert verdict["accuracy"] != "Decayed"
    quality = next(each for each in world.status["conditions"] if each["type"] == "QualityOK")
    assert quality["reason"] in ("Decayed", "RollbackWouldNotHelp")
    assert quality["message"].startswith("ones-found 0.")


def test_restart_in_between_changes_nothing_with_several_metrics():
    worlds = [an_outcomes_world(quality={"metrics": METRICS}) for _ in range(2)]
    for world in worlds:
        world.settle()
        world.ask_for(model=uri("worse")).settle()
        world.ask(55)
        if world is worlds[1]:
            world.restart()
        world.ask(400, serving="good")
    assert worlds[0].evidence.streams == worlds[1].evidence.streams

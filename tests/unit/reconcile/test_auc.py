"""AUC: scores of one class, each positive ranked against negatives that no other was ranked against."""

import random
from dataclasses import replace

import pytest
from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import fold
from leadline_stats import verdicts
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.test_metrics import ACCURACY, begun
from tests.unit.reconcile.world import uri

AUC = replace(ACCURACY, metric="ranking", measure="auc", graded=True, positive="1")


def word(score):
    return predictions.with_score("i1" if score > 0.5 else "i0", score)


def scored(first, count, *, new, old, seed=1, failing=0.0, **more):
    """Outcomes and pairs of which every third is a positive; scores of positives are shifted by so much."""
    chance, entries = random.Random(seed), []
    for place in range(count):
        is_positive = place % 3 == 0
        words = [word(chance.gauss(shift * is_positive, 1)) for shift in (new, old)]
        if chance.random() < failing:
            words[0] = predictions.failure("5xx")
        seq, truth = first + 2 * place, f"i{is_positive:d}"
        entries.append(OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", words[0], seq, truth=truth, **more))
        entries.append(
            PairEntry(seq + 1, "ml/m", f"{seq:032x}", 0, "new", words[0], "old", words[1], seq, truth=truth, **more)
        )
    return entries


def test_one_that_ranks_worse_is_found_and_an_equal_one_is_shown_to_be_within_the_margin():
    compared = fold(begun(AUC), scored(4, 3_000, new=1.2, old=1.9)).first.pairs["new", "old"]
    assert compared.is_worse
    assert 0.75 < 1 - compared.comparison.new.mean < 0.85
    equal = fold(begun(replace(AUC, margin=0.05)), scored(4, 12_000, new=1.9, old=1.9)).first.pairs["new", "old"]
    assert (equal.is_worse, equal.is_within) == (False, True)


def test_the_number_that_is_said_is_the_area():
    own = fold(begun(AUC), scored(4, 3_000, new=1.8, old=1.8)).first.own["new"]
    assert own.outcomes == 1_000, "each positive is one"
    assert 0.88 < 1 - own.watch.all.mean < 0.92, "Phi(1.8 / sqrt 2) = .898"


def test_scores_that_rank_worse_later_fall_below_the_own_limit():
    evidence = fold(begun(AUC), scored(4, 1_800, new=1.9, old=1.9))
    assert not evidence.first.own["new"].has_decayed
    later = fold(evidence, scored(4_000, 1_800, new=0.8, old=0.8, seed=2))
    assert later.first.own["new"].has_decayed
    assert not later.first.pairs["new", "old"].is_worse, "both rank worse"


def test_a_revision_that_fails_outranks_nothing():
    assert fold(begun(AUC), scored(4, 3_000, new=1.9, old=1.9, failing=0.15)).first.pairs["new", "old"].is_worse


def test_what_has_no_score_or_no_truth_says_nothing():
    about = {"seq": 4, "model": "ml/m", "id": "0" * 32, "row": 0, "revision": "new", "came_at_ms": 1}
    for said in ({"prediction": "i1", "truth": "i1"}, {"prediction": word(0.3), "correct": True}):
        assert fold(begun(AUC), [OutcomeEntry(**about, **said)]).first.ranks == {}
    pair = PairEntry(**about, prediction=word(0.3), other="old", other_prediction="i1", truth="i1")
    assert fold(begun(AUC), [pair]).first.ranks == {}


def test_accuracy_beside_it_is_by_the_class_and_not_by_the_score():
    evidence = fold(begun(ACCURACY, AUC), scored(4, 600, new=1.9, old=1.9))
    plain = [
        type(entry)(**{name: _class_alone(getattr(entry, name)) for name in entry.__struct_fields__})
        for entry in scored(4, 600, new=1.9, old=1.9)
    ]
    assert evidence.streams["accuracy"] == fold(begun(ACCURACY), plain).first


def _class_alone(value):
    return predictions.answer_of(value) if isinstance(value, str) else value


def test_of_the_rows_of_a_request_one_is_ranked():
    rows = [
        OutcomeEntry(seq, "ml/m", "0" * 32, seq - 4, "new", word(0.1 * seq), 1, truth="i1", more=6 - seq)
        for seq in (4, 5, 6)
    ]
    assert fold(begun(AUC), rows).first.ranks["new", ""].positives == ((0.4,),)


@pytest.mark.parametrize("cut", [5, 77, 1_000])
def test_waiting_scores_are_in_the_checkpoint_bit_for_bit(cut):
    entries = scored(4, 700, new=1.9, old=1.5)
    whole = fold(begun(AUC), entries)
    first = fold(begun(AUC), entries[:cut])
    again = evidence_state.read(evidence_state.write(first), first.decisions.values())
    assert again == first
    assert fold(again, entries[cut:]) == whole


def test_scores_of_before_a_retry_are_not_ranked_after_it():
    first = fold(begun(AUC), scored(4, 8, new=1.9, old=1.9))
    assert first.first.ranks
    retried = fold(first, [DecisionEntry(100, "ml/m", "retried/new/1", "Retried", "new", 0, "", {})])
    assert retried.first.ranks == {}


def test_pods_are_told_whose_score_goes_along_and_the_verdict_is_said():
    world = an_outcomes_world()
    world.spec["quality"] = {"metrics": [{"name": "ranking", "metric": "auc", "positive": "1", "margin": "0.02"}]}
    world.spec["model"] = {"uri": uri("good"), "predictions": [{"output": "label", "scores": "probabilities"}]}
    world.settle()
    (told, *_) = world.step().soundings
    assert (told.outcomes.output, told.outcomes.positive, told.outcomes.scores) == ("label", "1", "probabilities")
    stream = fold(begun(AUC), scored(4, 3_000, new=1.2, old=1.9)).first
    case = verdicts.Case("ranking", stream.reading, stream.pairs["new", "old"].comparison, None, other="old")
    assert verdicts.decide(case).message.startswith("ranking 0.")

"""A request of several rows is one outcome: the mean of those that count."""

import random
from dataclasses import replace

import pytest
from leadline_operator.reconcile.evidence import fold
from leadline_wire import predictions
from leadline_wire.ledger import OutcomeEntry, PairEntry

from tests.unit.reconcile.test_metrics import ACCURACY, begun, of_errors

RIGHT, WRONG = "i1", "i0"


def request(first, words, *, other=(), truths=(), **more):
    """Entries of one request: its outcomes, or its pairs where the other revision's answers are given."""
    found = []
    for row, word in enumerate(words):
        place = {"id": f"{first:032x}", "row": row, "more": len(words) - 1 - row}
        about = {"seq": first + row, "model": "ml/m", "revision": "new", "came_at_ms": first} | place | more
        truth = truths[row] if truths else RIGHT
        if other:
            found.append(PairEntry(**about, prediction=word, other="old", other_prediction=other[row], truth=truth))
        else:
            found.append(OutcomeEntry(**about, prediction=word, truth=truth))
    return found


def of(first, size, count, chance, **more):
    """Requests of several rows, all right or all wrong, one of twenty wrong."""
    entries = []
    for place in range(count):
        word = WRONG if chance.random() < 0.05 else RIGHT
        entries += request(first + place * size, [word] * size, **more)
    return entries


def test_rows_that_are_right_or_wrong_together_weigh_as_one():
    tens = fold(begun(ACCURACY), of(4, 10, 600, random.Random(1))).first.own["new"]
    single = fold(begun(ACCURACY), of(4, 1, 600, random.Random(1))).first.own["new"]
    assert tens.outcomes == 600
    assert tens.watch.worse.evidence == single.watch.worse.evidence


def test_request_counts_as_the_mean_of_its_rows():
    entries = [each for place in range(600) for each in request(4 + 4 * place, [RIGHT, RIGHT, RIGHT, WRONG])]
    own = fold(begun(ACCURACY), entries).first.own["new"]
    assert (own.outcomes, own.watch.all.mean) == (600, 0.25)
    assert own.watch.reference.value == 0.75


def test_pairs_of_one_request_are_one_pair():
    rows = request(4, [RIGHT, WRONG, WRONG, RIGHT], other=[RIGHT] * 4)
    comparison = fold(begun(ACCURACY), rows).first.pairs["new", "old"].comparison
    assert (comparison.pairs, comparison.new.mean, comparison.old.mean) == (1, 0.5, 0.0)


def test_rows_that_say_nothing_are_left_out_of_the_mean():
    recall = replace(ACCURACY, metric="recall", measure="recall", positive="1")
    rows = request(4, [RIGHT, WRONG, WRONG], truths=[RIGHT, RIGHT, WRONG])
    assert fold(begun(recall), rows).first.own["new"].watch.all.mean == 0.5
    assert "new" not in fold(begun(recall), request(4, [WRONG, WRONG], truths=[WRONG, WRONG])).first.own


def test_precision_of_a_pair_is_the_mean_over_the_rows_that_each_revision_predicted():
    precision = replace(ACCURACY, metric="precision", measure="precision", positive="1")
    rows = request(4, [RIGHT, RIGHT, WRONG], other=[RIGHT, WRONG, WRONG], truths=[RIGHT, WRONG, WRONG])
    assert fold(begun(precision), rows).first.pairs["new", "old"].comparison.waiting == ((0.5, 0.0),)


@pytest.mark.parametrize("measure", ["mae", "rmse", "r2"])
def test_errors_of_one_request_are_one_outcome_before_and_after_there_is_a_scale(measure):
    chance, entries, seq = random.Random(2), [], 4
    for _ in range(700):
        values = [chance.gauss(100, 20) for _ in range(2)]
        words = [predictions.of_value(value + chance.gauss(0, 5)) for value in values]
        others = [predictions.of_value(value + chance.gauss(0, 5)) for value in values]
        truths = [predictions.of_value(value) for value in values]
        entries += request(seq, words, truths=truths) + request(seq + 2, words, other=others, truths=truths)
        seq += 4
    stream = fold(begun(of_errors(measure)), entries).first
    assert stream.own["new"].outcomes == 700
    assert 400 < stream.pairs["new", "old"].comparison.pairs < 500, "pairs count from the outcome that made the scale"


def test_cursor_stays_before_a_request_whose_rows_are_not_all_there():
    rows = request(4, [WRONG, RIGHT, RIGHT])
    cut = fold(begun(ACCURACY), rows[:2])
    assert (cut.cursor, cut.first.own) == (3, {})
    assert fold(cut, rows) == fold(begun(ACCURACY), rows)


def test_later_rows_of_the_same_request_are_no_evidence():
    rows = request(4, [WRONG]) + request(5, [WRONG, WRONG], repeats=True)
    assert fold(begun(ACCURACY), rows).first.own["new"].outcomes == 1

"""A warning where outcomes come for some predicted classes far more often than for others, and none where they come at random."""

import numpy as np
import pytest
from leadline_operator.reconcile import representing
from leadline_wire import predictions
from leadline_wire.exchange import OutcomesReport

OK, FRAUD = predictions.of_class("ok"), predictions.of_class("fraud")


def report(predicted, reported):
    return OutcomesReport(predicted=predicted, reported=reported)


def test_answers_that_come_where_one_class_was_predicted_are_warned_about_whatever_pod_counted_them():
    several = [
        report({OK: 900, FRAUD: 100}, {OK: 30, FRAUD: 60}),
        report({OK: 8_000, FRAUD: 900}, {OK: 300, FRAUD: 500}),
    ]
    told = representing.bias(several)
    assert told == "Answers come more than 8 times as often where 'fraud' was predicted as elsewhere"


def test_class_whose_answers_stay_away_is_warned_about():
    told = representing.bias([report({"i0": 5_000, "i1": 3_000, "i2": 2_000}, {"i0": 2_500, "i1": 1_500, "i2": 20})])
    assert "as rarely where 2 was predicted" in told


@pytest.mark.parametrize(
    ("predicted", "reported"),
    [
        ({}, {}),
        ({OK: 90, FRAUD: 9}, {FRAUD: 90}),
        ({OK: 10_000}, {OK: 500}),
        ({OK: 10_000, FRAUD: 1_000}, {OK: 40, FRAUD: 40}),
        ({OK: 10_000, FRAUD: 1_000}, {OK: 1_000, FRAUD: 150}),
    ],
    ids=["nothing", "few", "one class", "few answers", "not twice as often"],
)
def test_nothing_is_said_where_it_is_not_sure(predicted, reported):
    assert representing.bias([report(predicted, reported)]) == ""


def test_answers_at_random_are_never_warned_about_however_often_one_looks():
    rng = np.random.default_rng(7)
    shares = np.array([0.6, 0.3, 0.08, 0.02])
    for _ in range(300):
        predicted, reported = np.zeros(4, int), np.zeros(4, int)
        told = rng.uniform(0.02, 1.0)
        for _ in range(40):
            fresh = rng.multinomial(500, shares)
            predicted += rng.binomial(fresh, 0.2)
            reported += rng.binomial(fresh, told)
            counts = [{f"i{place}": int(each) for place, each in enumerate(kind)} for kind in (predicted, reported)]
            assert representing.bias([report(*counts)]) == ""


def test_words_stay_the_same_while_counts_grow():
    said = {
        representing.bias([report({OK: 900 * many, FRAUD: 100 * many}, {OK: 90 * many, FRAUD: 70 * many})])
        for many in range(3, 200)
    }
    assert said <= {
        "Answers come more than 2 times as often where 'fraud' was predicted as elsewhere",
        "Answers come more than 4 times as often where 'fraud' was predicted as elsewhere",
    }

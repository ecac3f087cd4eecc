"""Precision, recall and F1 as shares of rows that are counted."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_stats import classes
from leadline_stats.classes import Measure
from sklearn import metrics

columns = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
SCORES = {
    Measure.ACCURACY: metrics.accuracy_score,
    Measure.PRECISION: functools.partial(metrics.precision_score, zero_division=0),
    Measure.RECALL: functools.partial(metrics.recall_score, zero_division=0),
    Measure.F1: functools.partial(metrics.f1_score, zero_division=0),
}


@pytest.mark.parametrize("measure", Measure)
@given(rows=columns)
def test_mean_loss_says_what_scikit_learn_says(measure, rows):
    predicted, true = (np.array(column) for column in zip(*rows, strict=True))
    found = classes.losses(measure, predicted, true)
    if found.size:
        score = classes.score_of(measure, 1 - found.mean())
        assert score == pytest.approx(SCORES[measure](true, predicted))


@pytest.mark.parametrize("measure", Measure)
def test_a_failure_counts_against_each_measure_whatever_was_true(measure):
    assert classes.losses(measure, [True, False], [True, False], [True, True]).tolist() == [1, 1]


@pytest.mark.parametrize("measure", Measure)
@given(score=st.floats(0, 1))
def test_shares_and_scores_are_each_others_inverse(measure, score):
    share = classes.share_of(measure, score)
    assert classes.score_of(measure, share) == pytest.approx(score)


def test_the_margin_of_f1_is_one_of_the_score():
    share = classes.share_of(Measure.F1, 0.80)
    lost = classes.margin_of_share(Measure.F1, share, 0.05)
    assert classes.score_of(Measure.F1, share - lost) == pytest.approx(0.75)
    assert classes.margin_of_share(Measure.RECALL, 0.9, 0.05) == pytest.approx(0.05)
    assert classes.margin_of_share(Measure.F1, 0.01, 0.5) == pytest.approx(0.01), "no more than there is"


def test_columns_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"true: expected shape \[2\] like predicted, got \[1\]"):
        classes.losses(Measure.F1, [True, False], [True])

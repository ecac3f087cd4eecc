"""Limits: how they are made of a floor or of outcomes, and what is refused. The level is in tests/property/stats."""

import numpy as np
import pytest
from leadline_stats import intervals, references
from scipy import stats


def test_floor_leaves_the_whole_level_for_the_monitor():
    floor = references.floor(0.9, alpha=0.004)
    assert (floor.limit, floor.alpha, floor.outcomes) == (0.9, 0.004, 0)
    assert floor.tolerated_loss == pytest.approx(0.1)


def test_limit_of_few_answers_is_the_exact_bound():
    reference = references.of_answers(475, 500, margin=0.02, alpha=0.004)
    assert stats.binom.sf(474, 500, reference.limit) == pytest.approx(0.002)
    assert reference.limit < 0.95 - 0.02
    assert (reference.value, reference.alpha) == (0.95, 0.002)


def test_limit_of_many_answers_is_the_estimate_less_the_margin():
    assert references.of_answers(9_500, 10_000, margin=0.02, alpha=0.004).limit == pytest.approx(0.93)


def test_reference_tolerates_some_errors_when_none_was_seen():
    reference = references.of_answers(500, 500, margin=0, alpha=0.004)
    assert reference.limit == pytest.approx(0.002 ** (1 / 500))


def test_limit_of_scores_is_the_betting_bound():
    scores = intervals.fold(intervals.EMPTY, np.random.default_rng(0).beta(9, 1, 500))
    reference = references.of_scores(scores, margin=0.01, alpha=0.004)
    assert reference.limit == intervals.lower_bound(scores, 0.002)
    assert 0.85 < reference.limit < scores.mean - 0.01


@pytest.mark.parametrize("value", [0, 1, -0.1, float("nan")])
def test_floor_is_refused_when_it_tolerates_all_or_nothing(value):
    with pytest.raises(ValueError, match=r"floor: expected 0.0001 to 0.9999, got"):
        references.floor(value, alpha=0.004)


@pytest.mark.parametrize(
    ("right", "outcomes", "margin", "message"),
    [
        (475, 499, 0.02, "outcomes: expected 500 or more for a reference, got 499"),
        (501, 500, 0.02, "right: expected at most 500 of 500 outcomes, got 501"),
        (0, 500, 0.02, "reference: expected a limit of 0.0001 to 0.9999, got 0 of the estimate 0 and the margin 0.02"),
        (100, 500, 0.3, "got 0 of the estimate 0.2 and the margin 0.3; choose another margin"),
        (100_000, 100_000, 0, "got 0.999938 of the estimate 1 and the margin 0"),
        (475, 500, 1.5, "margin: expected 0 to 1, got 1.5"),
    ],
)
def test_reference_is_refused_when_its_outcomes_make_none(right, outcomes, margin, message):
    with pytest.raises(ValueError, match=message):
        references.of_answers(right, outcomes, margin=margin, alpha=0.004)

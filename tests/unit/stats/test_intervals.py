"""Anytime-valid intervals: known values, borders, what is refused. How often they miss is in tests/property/stats."""

import json

import numpy as np
import pytest
from leadline_stats import intervals
from scipy import stats


def of_bits(right: int, outcomes: int) -> intervals.Summary:
    return intervals.fold(intervals.EMPTY, np.arange(outcomes) < right)


def test_interval_is_the_one_that_the_docs_show():
    low, high = intervals.interval(of_bits(707, 812))
    assert (low, high) == pytest.approx((0.824, 0.909), abs=0.003)


@pytest.mark.parametrize(("right", "outcomes"), [(19, 20), (95, 100), (950, 1_000), (9_500, 10_000)])
def test_interval_is_wider_than_the_textbooks_but_not_twice_as_wide(right, outcomes):
    low, high = intervals.interval(of_bits(right, outcomes))
    textbook_low = stats.beta.ppf(0.01, right, outcomes - right + 1)
    textbook_high = stats.beta.ppf(0.99, right + 1, outcomes - right)
    assert low < textbook_low < right / outcomes < textbook_high < high
    assert high - low < 2 * (textbook_high - textbook_low)


def test_bound_is_where_the_bets_made_what_is_needed():
    bound = intervals.lower_bound(of_bits(95, 100), 0.01)
    bets = np.geomspace(0.001, 0.95, 16)
    made = np.mean((1 - bets + bets / bound) ** 95 * (1 - bets) ** 5)
    assert made == pytest.approx(100, rel=1e-6)


def test_interval_narrows_still_after_a_hundred_thousand_outcomes():
    low, high = intervals.interval(of_bits(950_000, 1_000_000))
    assert high - low < 0.002


def test_interval_of_scores_that_hardly_differ_is_narrower_than_of_bits_with_their_mean():
    scores = np.random.default_rng(0).uniform(0.85, 0.95, 1_000)
    low, high = intervals.interval(intervals.fold(intervals.EMPTY, scores))
    assert high - low < 0.03
    assert low < scores.mean() < high


def test_nothing_is_known_before_the_first_value():
    assert intervals.interval(intervals.EMPTY) == (0.0, 1.0)
    assert intervals.EMPTY.mean is None


@pytest.mark.parametrize(("right", "border"), [(0, 0), (50, 1)])
def test_interval_reaches_the_border_when_none_or_all_are_right(right, border):
    bounds = intervals.interval(of_bits(right, 50))
    assert bounds[border] == border
    assert 0 <= bounds[0] < bounds[1] <= 1


def test_flipping_mirrors_the_interval():
    low, high = intervals.interval(of_bits(707, 812))
    flipped_low, flipped_high = intervals.interval(intervals.flipped(of_bits(707, 812)))
    assert (1 - flipped_high, 1 - flipped_low) == pytest.approx((low, high), abs=1e-9)


def test_summary_survives_json_in_every_bit():
    summary = intervals.fold(intervals.EMPTY, np.random.default_rng(0).random(321))
    assert intervals.from_plain(json.loads(json.dumps(intervals.to_plain(summary)))) == summary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, "version: expected 1, got None"),
        ({"outcomes": 4}, "weights: expected 0 or more, 4 in sum, got 3"),
        ({"weights": ["0x0p+0"]}, "weights: expected a list of 17 to 17 hexadecimal floats"),
    ],
)
def test_stored_summary_is_refused_when_a_field_is_impossible(change, message):
    with pytest.raises(ValueError, match=message):
        intervals.from_plain(intervals.to_plain(of_bits(2, 3)) | change)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"values\[1\]: expected 0 to 1, got 1.5"):
        intervals.fold(intervals.EMPTY, [1, 1.5])


@pytest.mark.parametrize("alpha", [0, 1, 2.5, float("nan")])
def test_interval_refuses_a_level_that_is_none(alpha):
    with pytest.raises(ValueError, match="alpha: expected"):
        intervals.interval(of_bits(2, 3), alpha)


def test_interval_gives_half_of_the_level_to_each_bound():
    summary = of_bits(707, 812)
    low, high = intervals.interval(summary, 0.02)
    assert low == intervals.lower_bound(summary, 0.01)
    assert high == 1 - intervals.lower_bound(intervals.flipped(summary), 0.01)

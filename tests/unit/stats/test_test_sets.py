"""The judgement of a test set's answers: exact values, borders, refusals, and the power that the docs promise.

Level and invariants over random inputs are in tests/property/stats.
"""

from functools import cache

import numpy as np
import pytest
from leadline_stats import budgets, test_sets
from scipy import stats


def by_every_cell(breaks: int, fixes: int, rows: int, margin: float) -> float:
    """The definition, cell by cell, with none of the shortcuts."""
    differing = breaks + fixes
    low = stats.beta.ppf(2.5e-4, differing, rows - differing + 1) if differing else 0.0
    high = stats.beta.ppf(1 - 2.5e-4, differing + 1, rows - differing) if differing < rows else 1.0

    def z(lost: int, won: int) -> float:
        return (lost - won - rows * margin) / np.sqrt(max(lost + won + 1 - (lost - won) ** 2 / rows, 1e-9))

    cells = [
        (lost, won)
        for lost in range(rows + 1)
        for won in range(rows + 1 - lost)
        if z(lost, won) >= z(breaks, fixes) - 1e-9
    ]
    counts = np.array([(lost, won, rows - lost - won) for lost, won in cells])
    worst = 0.0
    for churn in np.linspace(max(low, margin), max(high, margin), 25):
        shares = np.array([(churn + margin) / 2, (churn - margin) / 2, 1 - churn])
        worst = max(worst, float(stats.multinomial.pmf(counts, rows, shares / shares.sum()).sum()))
    return min(1.0, worst + 5e-4)


@pytest.mark.parametrize(
    ("breaks", "fixes", "rows", "margin"),
    [
        (0, 0, 12, 0.02),
        (3, 0, 12, 0.02),
        (12, 0, 12, 0.3),
        (0, 12, 12, 0.3),
        (5, 2, 20, 0.1),
        (7, 1, 25, 0.02),
        (9, 9, 25, 0.5),
        (10, 0, 40, 0.05),
        (1, 0, 1, 0.5),
    ],
)
def test_pvalue_equals_the_sum_over_every_cell(breaks, fixes, rows, margin):
    fast = test_sets.test_set_pvalue(breaks, fixes, rows, margin)
    assert fast == pytest.approx(by_every_cell(breaks, fixes, rows, margin), rel=1e-9)


def test_pvalue_is_mcnemars_when_the_margin_is_zero():
    expected = stats.binomtest(14, 19, 0.5, alternative="greater").pvalue
    assert test_sets.test_set_pvalue(14, 5, 500, 0) == expected


@pytest.mark.parametrize("margin", [0, 0.02, 1])
def test_pvalue_is_one_when_no_answer_differs(margin):
    assert test_sets.test_set_pvalue(0, 0, 500, margin) == 1.0


def test_pvalue_is_one_when_the_whole_accuracy_may_be_lost():
    assert test_sets.test_set_pvalue(500, 0, 500, 1) == 1.0


def test_pvalue_never_falls_below_the_churn_risk_when_a_margin_is_given():
    assert test_sets.test_set_pvalue(400, 0, 1197, 0.02) == test_sets.CHURN_RISK


def test_pvalue_reaches_a_small_level_when_the_churn_risk_is_chosen_for_it():
    alpha = budgets.shares(1e-4).test_set
    risk = test_sets.churn_risk_for(alpha)
    assert test_sets.test_set_pvalue(400, 0, 1197, 0.02, churn_risk=risk) <= alpha


def test_churn_risk_is_the_published_one_at_the_default_level():
    assert test_sets.churn_risk_for(budgets.shares(0.01).test_set) == test_sets.CHURN_RISK


@pytest.mark.parametrize(("breaks", "fixes"), [(20_000, 15_000), (2_000, 600), (65_536, 0), (0, 65_536)])
def test_pvalue_is_a_probability_when_the_test_set_is_the_largest(breaks, fixes):
    assert 0 < test_sets.test_set_pvalue(breaks, fixes, 65_536, 0.02) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0, 10, 0.02), "breaks: expected 0 or more, got -1"),
        ((0, 2.5, 10, 0.02), "fixes: expected a whole number, got 2.5"),
        ((0, 0, 0, 0.02), "rows: expected 1 or more, got 0"),
        ((6, 5, 10, 0.02), r"breaks \+ fixes: expected at most rows \(10\), got 6 \+ 5"),
        ((1, 0, 10, -0.02), "margin: expected 0 to 1, got -0.02"),
        ((1, 0, 10, float("nan")), "margin: expected 0 to 1, got nan"),
    ],
)
def test_pvalue_refuses_when_the_counts_or_margin_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        test_sets.test_set_pvalue(*arguments)


@pytest.mark.parametrize(
    ("rows", "drop", "promised"),
    [
        (100, 0.05, 3),
        (100, 0.10, 40),
        (100, 0.20, 96),
        (200, 0.05, 18),
        (200, 0.10, 81),
        (500, 0.05, 48),
        (500, 0.10, 100),
        (1000, 0.05, 85),
    ],
)
def test_power_is_what_the_docs_promise_at_margin_two_points(rows, drop, promised):
    """Fixes 2 %, breaks 2 % + drop, level .01; 600 draws leave a standard error of 2 points at most."""
    pvalue = cache(lambda lost, won: test_sets.test_set_pvalue(lost, won, rows, 0.02))
    draws = np.random.default_rng(20_260_101).multinomial(rows, [0.02 + drop, 0.02, 0.96 - drop], size=600)
    power = 100 * np.mean([pvalue(int(lost), int(won)) <= 0.01 for lost, won, _ in draws])
    assert power == pytest.approx(promised, abs=6)


def test_accuracy_interval_is_clopper_and_pearsons():
    low, high = test_sets.accuracy_interval(953, 1000)
    assert stats.binom.sf(952, 1000, low) == pytest.approx(0.01)
    assert stats.binom.cdf(953, 1000, high) == pytest.approx(0.01)


@pytest.mark.parametrize(("right", "expected"), [(0, (0.0, 1 - 0.01**0.1)), (10, (0.01**0.1, 1.0))])
def test_accuracy_interval_reaches_the_border_when_none_or_all_are_right(right, expected):
    assert test_sets.accuracy_interval(right, 10) == pytest.approx(expected)


def test_accuracy_interval_refuses_more_right_rows_than_rows():
    with pytest.raises(ValueError, match=r"right: expected at most rows \(10\), got 11"):
        test_sets.accuracy_interval(11, 10)


@pytest.mark.parametrize(("right_now", "worse"), [(500, False), (490, False), (480, False), (479, True), (0, True)])
def test_replay_is_worse_only_when_it_lost_more_than_the_margin(right_now, worse):
    assert test_sets.replay_is_worse(490, right_now, 500, 0.02) is worse


def test_replay_is_not_worse_when_rounding_puts_the_margin_just_below_the_loss():
    assert 0.29 * 100 < 29
    assert not test_sets.replay_is_worse(100, 71, 100, 0.29)


def test_bitmaps_are_compared_row_by_row_when_the_last_byte_is_not_full():
    reference = np.array([1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1], dtype=bool)
    now = np.array([1, 0, 1, 1, 0, 1, 0, 1, 0, 1, 1], dtype=bool)
    flips = test_sets.breaks_and_fixes(np.packbits(reference).tobytes(), np.packbits(now).tobytes(), 11)
    assert flips == (3, 3)
    assert test_sets.count_right(np.packbits(now).tobytes(), 11) == 7


def test_bitmaps_ignore_the_bits_after_the_last_row():
    assert test_sets.breaks_and_fixes(b"\xff\xe0", b"\xff\xff", 11) == (0, 0)
    assert test_sets.count_right(b"\xff\xff", 11) == 11


def test_bitmap_of_another_length_is_refused():
    with pytest.raises(ValueError, match="bitmap: expected 2 bytes for 11 rows, got 1"):
        test_sets.breaks_and_fixes(b"\xff\xff", b"\xff", 11)

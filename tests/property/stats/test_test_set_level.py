"""What holds for the one-look test whatever is counted: its level, and that worse answers never look better."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_stats import test_sets
from scipy import stats


@pytest.mark.parametrize(("rows", "margin"), [(30, 0.02), (30, 0.1), (45, 0.05)])
@pytest.mark.parametrize("alpha", [0.002, 0.01, 0.05])
def test_false_alarms_stay_under_the_level_at_every_churn_when_summed_exactly(rows, margin, alpha):
    alarms = np.array([cell for cell in every_cell(rows) if pvalue(*cell, rows, margin) <= alpha]).reshape(-1, 2)
    counts = np.column_stack([alarms, rows - alarms.sum(axis=1)])
    for churn in np.linspace(margin, 1, 40):
        shares = np.array([(churn + margin) / 2, (churn - margin) / 2, 1 - churn])
        assert stats.multinomial.pmf(counts, rows, shares / shares.sum()).sum() <= alpha + 1e-12


@pytest.mark.parametrize("churn", [0.02, 0.04, 0.1])
def test_false_alarms_stay_under_the_level_at_the_boundary_when_simulated(churn):
    """Exactly the margin worse, 500 rows, 2,000 candidates; 1 % plus three standard errors of the run."""
    draws = np.random.default_rng(7).multinomial(500, [(churn + 0.02) / 2, (churn - 0.02) / 2, 1 - churn], size=2_000)
    alarms = sum(pvalue(int(lost), int(won), 500, 0.02) <= 0.01 for lost, won, _ in draws)
    assert alarms <= 20 + 3 * (2_000 * 0.01 * 0.99) ** 0.5


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=st.integers(1, 3_000), margin=st.sampled_from([0.0, 0.001, 0.02, 0.1, 0.5, 1.0]))
def test_a_fix_that_turns_into_a_break_never_raises_the_pvalue(data, rows, margin):
    differing = data.draw(st.integers(1, rows))
    breaks = data.draw(st.integers(0, differing - 1))
    better = pvalue(breaks, differing - breaks, rows, margin)
    worse = pvalue(breaks + 1, differing - breaks - 1, rows, margin)
    assert worse <= better + 1e-9


@settings(max_examples=60, deadline=None)
@given(right=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_flips_explain_the_difference_in_right_rows(right):
    reference, now = (np.packbits(np.array(column)).tobytes() for column in zip(*right, strict=True))
    flips = test_sets.breaks_and_fixes(reference, now, len(right))
    lost = test_sets.count_right(reference, len(right)) - test_sets.count_right(now, len(right))
    assert flips.breaks - flips.fixes == lost
    assert flips.breaks + flips.fixes == sum(before != after for before, after in right)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 5_000), data=st.data())
def test_interval_holds_the_estimate(rows, data):
    right = data.draw(st.integers(0, rows))
    low, high = test_sets.accuracy_interval(right, rows)
    assert 0 <= low <= right / rows <= high <= 1


def every_cell(rows: int) -> list[tuple[int, int]]:
    return [(lost, won) for lost in range(rows + 1) for won in range(rows + 1 - lost)]


@cache
def pvalue(breaks: int, fixes: int, rows: int, margin: float) -> float:
    return test_sets.test_set_pvalue(breaks, fixes, rows, margin)

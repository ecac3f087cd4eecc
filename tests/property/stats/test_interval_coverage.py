"""What holds for intervals whatever arrives: order inside them, parts, and how often they miss."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_stats import intervals

VALUES = st.one_of(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=300), st.lists(st.floats(0, 1), max_size=300))


@settings(max_examples=150, deadline=None)
@given(values=VALUES, cuts=st.lists(st.integers(0, 300), max_size=8))
def test_any_partition_gives_the_same_summary_in_every_bit(values, cuts):
    parts = intervals.EMPTY
    for begin, end in itertools.pairwise([0, *sorted(cut % (len(values) + 1) for cut in cuts), len(values)]):
        parts = intervals.fold(parts, values[begin:end])
    assert parts == intervals.fold(intervals.EMPTY, values)


@settings(max_examples=60, deadline=None)
@given(values=VALUES.filter(bool), alpha=st.floats(1e-6, 0.5))
def test_interval_holds_the_mean(values, alpha):
    summary = intervals.fold(intervals.EMPTY, values)
    low, high = intervals.interval(summary, alpha)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert 0 <= low <= summary.mean + 1e-12
    assert summary.mean - 1e-12 <= high <= 1


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=200), candidate=st.floats(0.01, 0.99))
def test_summary_never_holds_more_evidence_than_the_values(values, candidate):
    """The 17 numbers only ever lose evidence, so that what is guaranteed of the values is guaranteed of them."""
    bets = np.geomspace(0.001, 0.95, 16)[:, np.newaxis]
    summary = intervals.fold(intervals.EMPTY, values)
    kept = np.log1p(bets * (np.arange(17) / 16 / candidate - 1)) @ summary.weights
    full = np.log1p(bets * (np.array(values) / candidate - 1)).sum(axis=1)
    assert (kept <= full + 1e-9).all()


@pytest.mark.parametrize("kind", ["bits", "scores", "pairs"])
def test_interval_misses_at_any_of_many_looks_in_at_most_the_nominal_share_of_lives(kind):
    """120 lives of up to 3,000 values, 9 looks each, nominal 2 %; three standard errors of the run on top."""
    generator = np.random.default_rng(21)
    uniform = generator.random((120, 3_000))
    values, mean = {
        "bits": (uniform < 0.9, 0.9),
        "scores": (uniform**3, 0.25),
        "pairs": (0.5 + 0.5 * (uniform < 0.02) - 0.5 * (uniform > 0.96), 0.49),
    }[kind]
    looks = np.geomspace(5, 3_000, 9).astype(int)
    missed = 0
    for life in values:
        summary = intervals.EMPTY
        for begin, end in itertools.pairwise([0, *looks]):
            summary = intervals.fold(summary, life[begin:end])
            low, high = intervals.interval(summary)
            if not low <= mean <= high:
                missed += 1
                break
    assert missed <= 120 * 0.02 + 3 * (120 * 0.02 * 0.98) ** 0.5

"""The comparison on the same inputs: what a pair counts, failures, storage, and what is refused."""

import json

import numpy as np
import pytest
from leadline_stats import betting, pairs


def differing(breaks: float, fixes: float, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses of a new and an old revision; the old one is wrong where the new one fixes, and on 3 % besides."""
    uniform = np.random.default_rng(seed).random(length)
    broken, fixed = uniform < breaks, (uniform >= breaks) & (uniform < breaks + fixes)
    both = uniform > 0.97
    return (broken | both).astype(float), (fixed | both).astype(float)


def test_pair_counts_one_when_only_the_new_revision_errs_and_half_when_nothing_differs():
    assert pairs.losses([1, 0, 0, 1], [0, 1, 0, 1]).tolist() == [1, 0, 0.5, 0.5]


def test_pair_of_scores_counts_their_difference():
    assert pairs.losses([0.75], [0.25]).tolist() == [0.75]


def test_failure_is_the_loss_of_the_one_that_failed():
    new = pairs.errors([np.nan, 1, 1, np.nan], failed=[True, False, False, True])
    old = pairs.errors([1, 1, np.nan, np.nan], failed=[False, False, True, True])
    assert pairs.losses(new, old).tolist() == [1, 0.5, 0, 0.5]


def test_worse_revision_is_found_and_an_equal_one_is_shown_within_the_margin():
    begun = pairs.begin(margin=0.02, alpha=0.004)
    worse = pairs.fold(begun, *differing(0.12, 0.02, 2_000))
    equal = pairs.fold(begun, *differing(0.02, 0.02, 4_000, seed=1))
    assert worse.worse.crossed
    assert not worse.within.crossed
    assert equal.within.crossed
    assert not equal.worse.crossed


def test_revision_that_breaks_everything_is_found_in_a_dozen_pairs():
    comparison = pairs.fold(pairs.begin(margin=0.02, alpha=0.01), np.ones(20), np.zeros(20))
    assert comparison.worse.crossed_at <= 12


def test_shift_of_the_world_condemns_nobody():
    new, old = differing(0.02, 0.02, 4_000)
    shifted = np.random.default_rng(1).random(2_000) < 0.3
    new[2_000:], old[2_000:] = np.maximum(new[2_000:], shifted), np.maximum(old[2_000:], shifted)
    comparison = pairs.fold(pairs.begin(margin=0.02, alpha=0.004), new, old)
    assert not comparison.worse.crossed
    assert comparison.new.mean > 0.15
    assert betting.fold(betting.begin(limit=0.07, alpha=0.004), new).crossed


def test_comparison_in_parts_and_through_json_is_the_same_in_every_bit():
    new, old = differing(0.05, 0.02, 777)
    begun = pairs.begin(margin=0.02, alpha=0.004)
    parts = begun
    for start in range(0, 777, 130):
        parts = pairs.fold(parts, new[start : start + 130], old[start : start + 130])
        parts = pairs.from_plain(json.loads(json.dumps(pairs.to_plain(parts))))
    assert parts == pairs.fold(begun, new, old)
    assert parts.pairs == 777


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 0}, "version: expected 1, got 0"),
        ({"margin": (0.5).hex()}, "margin: 0.5 does not fit the limit 0.51"),
        ({"worse": None}, "worse: expected an object, got None"),
        ({"worse": betting.to_plain(betting.begin(limit=0.51, alpha=0.004))}, "pairs: expected 0 in every part"),
    ],
)
def test_stored_comparison_is_refused_when_its_parts_do_not_fit(change, message):
    record = pairs.to_plain(pairs.fold(pairs.begin(margin=0.02, alpha=0.004), [0, 1], [0, 0]))
    with pytest.raises(ValueError, match=message):
        pairs.from_plain(record | change)


@pytest.mark.parametrize("margin", [-0.01, 0.9999, float("nan")])
def test_comparison_refuses_a_margin_out_of_range(margin):
    with pytest.raises(ValueError, match=r"margin: expected 0 to 0.9998, got"):
        pairs.begin(margin=margin, alpha=0.004)


def test_pairs_are_refused_when_one_side_is_longer():
    with pytest.raises(ValueError, match="old: expected 2 losses like new, got 1"):
        pairs.fold(pairs.begin(margin=0.02, alpha=0.004), [0, 1], [0])


def test_errors_are_refused_when_failures_do_not_fit_or_a_score_that_counts_is_none():
    with pytest.raises(ValueError, match=r"failed: expected shape \[2\] like scores, got \[1\]"):
        pairs.errors([0, 1], failed=[True])
    with pytest.raises(ValueError, match=r"scores\[1\]: expected 0 to 1, got nan"):
        pairs.errors([np.nan, np.nan], failed=[True, False])

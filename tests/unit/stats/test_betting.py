"""The sequential engine: known values, restarts, what is frozen, what is refused, and its time.

Invariants over random streams and the level are in tests/property/stats; medians of the docs in benchmarks/decisions.py.
"""

import json
import math
import time

import numpy as np
import pytest
from leadline_stats import betting


def one_by_one(losses, limit: float, alpha: float):
    """The definition, as the docs write it: evidence and number of the deciding outcome."""
    sizes = np.geomspace(0.01, 0.95, 12)
    wealth, reserve, restarts, since = np.full(12, 0.5 / 12), 0.5, 0, 0
    evidence = 1.0
    for number, loss in enumerate(losses, start=1):
        if since >= 100:
            restarts += 1
            left = 0.5 / (1 + math.log(1 + restarts))
            wealth = wealth + (reserve - left) / 12
            reserve, since = left, 0
        wealth = wealth * ((1 - sizes) + sizes * loss / limit)
        since += 1
        evidence = reserve + wealth.sum()
        if evidence >= 1 / alpha:
            return evidence, number
    return evidence, None


def bits(rate: float, length: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(length) < rate).astype(float)


@pytest.mark.parametrize("rate", [0.05, 0.07, 0.12, 0.3])
def test_evidence_is_that_of_the_definition(rate):
    losses = bits(rate, 1_234)
    monitor = betting.fold(betting.begin(limit=0.07, alpha=0.004), losses)
    evidence, decided = one_by_one(losses, 0.07, 0.004)
    assert monitor.crossed_at == decided
    assert monitor.evidence == pytest.approx(evidence, rel=1e-4)  # bets are rounded to six decimals


def test_evidence_is_one_before_the_first_outcome():
    fresh = betting.begin(limit=0.07, alpha=0.004)
    assert fresh.evidence == pytest.approx(1, abs=1e-15)
    assert (fresh.needed, fresh.crossed, fresh.mean) == (250, False, None)


def test_model_that_breaks_everything_is_found_in_three_outcomes():
    assert betting.fold(betting.begin(limit=0.07, alpha=0.01), np.ones(10)).crossed_at == 3


def test_backlog_that_turns_bad_at_its_end_decides_where_it_would_one_by_one():
    losses = np.concatenate([bits(0.05, 10_000), bits(0.15, 1_000, seed=1)])
    at_once = betting.fold(betting.begin(limit=0.07, alpha=0.01), losses)
    assert at_once.crossed_at == one_by_one(losses, 0.07, 0.01)[1]
    assert 10_000 < at_once.crossed_at < 11_000


def test_late_decay_is_found_only_because_of_the_restarts():
    good, bad = bits(0.05, 10_000, seed=3), bits(0.15, 3_000, seed=4)
    monitor = betting.fold(betting.begin(limit=0.07, alpha=0.01), np.concatenate([good, bad]))
    assert 10_000 < monitor.crossed_at < 11_000
    sizes = np.array(betting.BETS)[:, np.newaxis]
    factors = np.log1p(sizes * (np.concatenate([good, bad]) / 0.07 - 1))
    assert np.exp(np.cumsum(factors, axis=1)).mean(axis=0).max() < 100


def test_evidence_stands_still_and_counts_go_on_after_the_decision():
    decided = betting.fold(betting.begin(limit=0.07, alpha=0.01), bits(0.3, 500))
    later = betting.fold(decided, np.zeros(1_000))
    assert (later.crossed_at, later.evidence, later.outcomes) == (decided.crossed_at, decided.evidence, 1_500)
    assert later.mean == decided.total / 1_500


def test_evidence_reaches_what_is_needed_exactly_at_the_deciding_outcome():
    losses = bits(0.15, 1_000)
    decided = betting.fold(betting.begin(limit=0.07, alpha=0.01), losses)
    before = betting.fold(betting.begin(limit=0.07, alpha=0.01), losses[: decided.crossed_at - 1])
    assert before.evidence < before.needed <= decided.evidence
    assert not before.crossed


def test_mirrored_monitor_finds_a_mean_below_the_limit():
    mirrored = betting.mirrored(limit=0.07, alpha=0.05)
    assert betting.fold(mirrored, 1 - bits(0.03, 3_000)).crossed
    assert not betting.fold(mirrored, 1 - bits(0.09, 3_000)).crossed


def test_crossings_are_those_of_each_life_folded_alone():
    lives = (np.random.default_rng(5).random((150, 730)) < np.linspace(0.05, 0.25, 150)[:, np.newaxis]).astype(float)
    alone = [betting.fold(betting.begin(limit=0.07, alpha=0.01), life).crossed_at or 0 for life in lives]
    assert betting.crossings(lives, limit=0.07, alpha=0.01).tolist() == alone
    assert 0 in alone


def test_monitor_survives_json_in_every_bit():
    monitor = betting.fold(betting.begin(limit=0.07, alpha=0.004), np.random.default_rng(0).random(250) / 8)
    stored = json.dumps(betting.to_plain(monitor))
    assert betting.from_plain(json.loads(stored)) == monitor
    assert len(stored) < 4_096


def test_decided_monitor_survives_json_when_its_block_is_full():
    losses = np.concatenate([np.zeros(98), np.ones(2), np.zeros(50)])
    for alpha in (0.01, 0.3, 0.6):
        monitor = betting.fold(betting.begin(limit=0.02, alpha=alpha), losses)
        assert betting.from_plain(betting.to_plain(monitor)) == monitor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: expected 1, got 2"),
        ({"limit": "0x0.0p+0"}, "limit: expected 0.0001 to 1, got 0"),
        ({"limit": 0.07}, "limit: expected a hexadecimal float, got 0.07"),
        ({"wealth": []}, "wealth: expected a list of 12 to 12 hexadecimal floats"),
        ({"total": "inf"}, "total: expected a finite number, got 'inf'"),
        ({"restarts": None}, "restarts: expected a whole number, got None"),
        ({"block": ["0x1.8p+0"]}, r"block\[0\]: expected 0 to 1, got 1.5"),
        ({"outcomes": 7}, "outcomes: 7 do not fit 2 restarts and the losses since"),
    ],
)
def test_stored_monitor_is_refused_when_a_field_is_impossible(change, message):
    record = betting.to_plain(betting.fold(betting.begin(limit=0.07, alpha=0.004), np.zeros(210)))
    with pytest.raises(ValueError, match=message):
        betting.from_plain(record | change)


@pytest.mark.parametrize(
    ("limit", "alpha", "message"),
    [
        (0, 0.01, "limit: expected 0.0001 to 1, got 0"),
        (1.01, 0.01, "limit: expected 0.0001 to 1, got 1.01"),
        (float("nan"), 0.01, "limit: expected 0.0001 to 1, got nan"),
        (0.07, 0, "alpha: expected a number between 0 and 1, got 0"),
        (0.07, 1, "alpha: expected a number between 0 and 1, got 1"),
    ],
)
def test_monitor_refuses_to_begin_when_limit_or_alpha_make_no_sense(limit, alpha, message):
    with pytest.raises(ValueError, match=message):
        betting.begin(limit=limit, alpha=alpha)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([0, 1, float("nan")], r"losses\[2\]: expected 0 to 1, got nan"),
        ([0, -0.5], r"losses\[1\]: expected 0 to 1, got -0.5"),
        ([2], r"losses\[0\]: expected 0 to 1, got 2"),
        ([[0.0]], r"losses: expected shape \[-1\], got \[1, 1\]"),
    ],
)
def test_fold_refuses_losses_out_of_range(losses, message):
    with pytest.raises(ValueError, match=message):
        betting.fold(betting.begin(limit=0.07, alpha=0.01), losses)


@pytest.mark.parametrize("limit", [betting.LEAST_LIMIT, 1.0])
def test_evidence_stays_finite_at_the_borders_of_the_limit(limit):
    monitor = betting.fold(betting.begin(limit=limit, alpha=1e-12), np.ones(1_000))
    assert math.isfinite(monitor.evidence)
    assert monitor.crossed == (limit < 1)


def test_million_outcomes_fold_in_under_a_second():
    losses = bits(0.05, 1_000_000)
    began = time.process_time()
    betting.fold(betting.begin(limit=0.07, alpha=0.004), losses)
    assert time.process_time() - began < 1

"""What holds for the sequential engine whatever arrives, in whatever parts: bits, order, level."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_stats import betting, references

LIMITS = st.floats(betting.LEAST_LIMIT, 1)
LEVELS = st.sampled_from([0.5, 0.05, 0.01, 0.002, 1e-6])
LOSSES = st.one_of(
    st.lists(st.sampled_from([0.0, 1.0]), max_size=450),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=450),
    st.lists(st.floats(0, 1), max_size=450),
    # Long streams, of which hypothesis only draws the seed.
    st.builds(
        lambda seed, length, rate: (np.random.default_rng(seed).random(length) ** (1 / rate)).tolist(),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2_000),
        st.floats(0.01, 3),
    ),
)


@settings(max_examples=200, deadline=None)
@given(losses=LOSSES, cuts=st.lists(st.integers(0, 2_000), max_size=12), limit=LIMITS, alpha=LEVELS)
def test_any_partition_gives_the_same_monitor_in_every_bit(losses, cuts, limit, alpha):
    fresh = betting.begin(limit=limit, alpha=alpha)
    at_once = betting.fold(fresh, losses)
    in_parts = fresh
    borders = [0, *sorted(cut % (len(losses) + 1) for cut in cuts), len(losses)]
    for begin, end in itertools.pairwise(borders):
        in_parts = betting.from_plain(
            json.loads(json.dumps(betting.to_plain(betting.fold(in_parts, losses[begin:end]))))
        )
    assert in_parts == at_once
    assert in_parts.evidence.hex() == at_once.evidence.hex()


@settings(max_examples=40, deadline=None)
@given(losses=LOSSES, limit=LIMITS, alpha=LEVELS)
def test_one_by_one_gives_the_same_monitor_in_every_bit(losses, limit, alpha):
    fresh = betting.begin(limit=limit, alpha=alpha)
    single = fresh
    for loss in losses[:450]:
        single = betting.fold(single, [loss])
    assert single == betting.fold(fresh, losses[:450])


@settings(max_examples=150, deadline=None)
@given(data=st.data(), losses=LOSSES.filter(bool), limit=LIMITS, alpha=LEVELS)
def test_a_worse_loss_never_lowers_the_evidence(data, losses, limit, alpha):
    index = data.draw(st.integers(0, len(losses) - 1))
    worse = [*losses[:index], data.draw(st.floats(losses[index], 1)), *losses[index + 1 :]]
    fresh = betting.begin(limit=limit, alpha=alpha)
    before, after = betting.fold(fresh, losses), betting.fold(fresh, worse)
    if before.crossed_at is not None:
        assert after.crossed_at is not None
        assert after.crossed_at <= before.crossed_at
    elif after.crossed_at is None:
        assert after.evidence >= before.evidence


@settings(max_examples=100, deadline=None)
@given(losses=LOSSES, limit=LIMITS, alpha=LEVELS)
def test_decision_is_where_the_evidence_first_reaches_what_is_needed(losses, limit, alpha):
    monitor = betting.fold(betting.begin(limit=limit, alpha=alpha), losses)
    assert monitor.crossed == (monitor.evidence >= monitor.needed)
    assert monitor.outcomes == len(losses)
    assert monitor.total == pytest.approx(sum(losses))


@pytest.mark.parametrize("kind", ["bits", "scores", "drifting"])
def test_false_findings_stay_under_alpha_at_the_limit(kind):
    """Exactly at the limit for 3,000 outcomes, 600 lives, alpha .05; three standard errors of the run on top."""
    generator = np.random.default_rng(11)
    uniform = generator.random((600, 3_000))
    match kind:
        case "bits":
            losses = uniform < 0.1
        case "scores":
            losses = np.clip(generator.beta(0.5, 4.5, (600, 3_000)), 0, 1)  # mean .1
        case _:
            # The mean is at most the limit at every step, but moves with the past: no two outcomes are alike.
            losses = uniform < 0.1 * (0.5 + 0.5 * (np.arange(3_000) % 700 > 200))
    found = (betting.crossings(losses, limit=0.1, alpha=0.05) > 0).mean()
    assert found <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


@pytest.mark.parametrize("accuracy", [0.95, 0.8])
def test_estimated_reference_condemns_hardly_any_revision_that_stays_as_good(accuracy):
    """500 outcomes for the reference, 4,000 held against it, 300 lives, margin 0: at most .4 % and three errors of it."""
    uniform = np.random.default_rng(17).random((300, 4_500))
    right = uniform < accuracy
    found = 0
    for life in right:
        reference = references.of_answers(int(life[:500].sum()), 500, margin=0.0, alpha=0.004)
        monitor = betting.begin(limit=reference.tolerated_loss, alpha=reference.alpha)
        found += betting.fold(monitor, ~life[500:]).crossed
    assert found <= 300 * 0.004 + 3 * (300 * 0.004 * 0.996) ** 0.5

"""The formula against the engine itself: medians of simulated lives, where the docs have no figure."""

import numpy as np
import pytest
from leadline_stats import betting, detectability

NEVER = 10**9


@pytest.mark.parametrize(
    ("reference", "drop", "margin", "alpha"),
    [(0.97, 0.06, 0.01, 0.004), (0.85, 0.1, 0.02, 0.004), (0.6, 0.15, 0.02, 0.002), (0.99, 0.03, 0.005, 0.004)],
)
def test_median_of_simulated_lives_is_met_within_15_percent(reference, drop, margin, alpha):
    said = detectability.detectable(drop, reference=reference, margin=margin, alpha=alpha, per_day=1).outcomes
    losses = np.random.default_rng(5).random((500, 3 * said)) < 1 - reference + drop
    found = betting.crossings(losses, limit=1 - reference + margin, alpha=alpha)
    assert said == pytest.approx(np.median(np.where(found, found, NEVER)), rel=0.15)


@pytest.mark.parametrize(("churn", "drop"), [(0.01, 0.06), (0.05, 0.1)])
def test_median_of_simulated_pairs_is_met_within_15_percent(churn, drop):
    said = detectability.detectable_in_pairs(
        drop, reference=0.9, margin=0.02, alpha=0.004, per_day=1, churn=churn
    ).outcomes
    uniform = np.random.default_rng(6).random((500, 3 * said))
    losses = np.where(uniform < churn + drop, 1.0, np.where(uniform > 1 - churn, 0.0, 0.5))
    found = betting.crossings(losses, limit=0.51, alpha=0.004)
    assert said == pytest.approx(np.median(np.where(found, found, NEVER)), rel=0.15)

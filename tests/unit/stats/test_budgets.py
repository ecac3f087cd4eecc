"""How the probability of a false rollback is divided: what the parts are, that they add up, and what is refused."""

import pytest
from leadline_stats import budgets


def test_shares_split_the_default_probability_as_documented():
    assert budgets.shares(0.01) == pytest.approx((0.002, 0.004, 0.004))


@pytest.mark.parametrize("probability", [0, -0.1, 0.6, float("nan")])
def test_shares_refuse_a_probability_that_is_none_to_divide(probability):
    with pytest.raises(ValueError, match="false rollback probability: expected above 0"):
        budgets.shares(probability)


def test_retests_spend_alpha_together_when_they_never_end():
    spent = sum(budgets.retest_alpha(0.002, retry) for retry in range(1, 2_000))
    assert spent < 0.002
    assert spent == pytest.approx(0.002, rel=1e-3)


def test_retest_refuses_to_count_from_zero():
    with pytest.raises(ValueError, match="retry: expected 1 or more, got 0"):
        budgets.retest_alpha(0.002, 0)


def test_estimated_reference_takes_half_of_the_fixed_limits_share():
    assert budgets.shares(0.01).reference == pytest.approx(0.002)


def test_parts_of_all_metrics_add_up_to_the_whole():
    assert sum(sum(budgets.shares(0.01, metrics=3)) for _ in range(3)) == pytest.approx(0.01)


def test_shares_refuse_to_divide_between_no_metrics():
    with pytest.raises(ValueError, match="metrics: expected 1 or more, got 0"):
        budgets.shares(0.01, metrics=0)

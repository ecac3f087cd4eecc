"""The rules of others, so that the comparison is fair: when each fires, and how often where nothing is wrong."""

import numpy as np
import pytest
from leadline_stats import window_rules


def life(*blocks: int) -> np.ndarray:
    """One life of 100 outcomes a block, the first so many of each wrong."""
    return np.concatenate([np.arange(100) < wrong for wrong in blocks])[np.newaxis].astype(int)


def test_window_fires_at_the_look_at_which_so_many_looks_have_failed():
    rule = {"outcomes": 100, "margin": 0.02, "failures": 2}
    assert window_rules.window(life(8, 5, 5, 8, 5), 0.95, **rule).tolist() == [400]


def test_window_that_is_exactly_at_its_limit_has_not_failed():
    rule = {"outcomes": 100, "margin": 0.02, "failures": 1}
    assert window_rules.window(life(7, 7), 0.95, **rule).tolist() == [0]
    assert window_rules.window(life(7, 8), 0.95, **rule).tolist() == [200]


def test_window_slides_and_looks_only_when_full():
    rule = {"outcomes": 300, "margin": 0.02, "failures": 1}
    assert window_rules.window(life(20, 0), 0.95, **rule).tolist() == [0]
    assert window_rules.window(life(20, 0, 2), 0.95, **rule).tolist() == [300]
    assert window_rules.window(life(20, 0, 0, 22), 0.95, **rule).tolist() == [400]


def test_z_test_fires_on_all_outcomes_so_far():
    assert window_rules.repeated_z(life(5, 5, 16), 0.95, level=0.01).tolist() == [300]
    assert window_rules.repeated_z(life(5, 5, 12), 0.95, level=0.01).tolist() == [0]


@pytest.mark.parametrize(
    ("rule", "documented"),
    [
        (window_rules.argo_short, 1.00),
        (window_rules.one_strike, 0.63),
        (window_rules.argo, 0.19),
        (window_rules.flagger, 0.12),
        (window_rules.z_test, 0.103),
    ],
)
def test_good_model_is_rolled_back_as_often_as_the_docs_say(rule, documented):
    """400 lives of 10,000 outcomes at .95; three standard errors of the run and of the documented 2,000."""
    losses = np.random.default_rng(3).random((400, 10_000)) < 0.05
    seen = (rule(losses, 0.95) > 0).mean()
    assert seen == pytest.approx(
        documented, abs=0.005 + 3 * (documented * (1 - documented) * (1 / 400 + 1 / 2_000)) ** 0.5
    )


def test_rules_never_fire_on_a_life_that_is_too_short_for_a_look():
    for rule in window_rules.RULES.values():
        assert rule(np.ones((2, 99)), 0.95).tolist() == [0, 0]


def test_rules_refuse_losses_that_are_neither_right_nor_wrong():
    with pytest.raises(ValueError, match="losses: expected 0 or 1 only"):
        window_rules.argo([[0.5]], 0.95)
    with pytest.raises(ValueError, match=r"losses: expected shape \[-1, -1\], got \[2\]"):
        window_rules.argo([0, 1], 0.95)

"""Errors of a regression as losses with a bound."""

import json

import numpy as np
import pytest
from leadline_stats import betting, deviations
from leadline_stats.deviations import Measure

GENERATOR = np.random.default_rng(3)
ERRORS = GENERATOR.normal(0, 2, 5_000)
TRUTHS = GENERATOR.normal(3, 4, 5_000)


def measured(measure, errors=ERRORS, truths=TRUTHS):
    if measure is Measure.MAE:
        return np.abs(errors).mean()
    return np.sqrt((errors**2).mean()) if measure is Measure.RMSE else 1 - (errors**2).mean() / truths.var()


@pytest.mark.parametrize("measure", Measure)
def test_a_mean_loss_is_said_in_the_units_of_the_measure(measure):
    scale = deviations.of_first(measure, ERRORS, TRUTHS)
    for factor in (1.0, 0.8):
        losses = deviations.losses(scale, factor * ERRORS, TRUTHS)
        assert (losses >= 0).all()
        assert (losses <= 1).all()
        said = deviations.value_of(scale, losses.mean())
        assert said == pytest.approx(measured(measure, factor * ERRORS), rel=0.02), "but for what is clipped"


@pytest.mark.parametrize(("measure", "margin"), [(Measure.MAE, 0.1), (Measure.RMSE, 0.1), (Measure.R2, 0.05)])
def test_what_is_tolerated_is_what_the_margin_says(measure, margin):
    scale = deviations.of_first(measure, ERRORS, TRUTHS)
    mean = deviations.losses(scale, ERRORS, TRUTHS).mean()
    allowed = deviations.value_of(scale, mean + deviations.tolerated(scale, mean, margin))
    before = deviations.value_of(scale, mean)
    assert allowed == pytest.approx(before - margin if measure is Measure.R2 else before * (1 + margin))
    assert scale.is_share is (measure is not Measure.R2)


@pytest.mark.parametrize("measure", Measure)
def test_one_outlier_decides_nothing_and_growing_errors_do(measure):
    scale = deviations.of_first(measure, ERRORS, TRUTHS)
    mean = deviations.losses(scale, ERRORS, TRUTHS).mean()
    monitor = betting.begin(limit=mean + deviations.tolerated(scale, mean, 0.1), alpha=0.004)
    some = deviations.losses(scale, [*ERRORS[:50], 1e200, np.inf], [*TRUTHS[:50], 3.0, 3.0])
    assert some[-2:].tolist() == [1.0, 1.0], "the largest error, and a failure"
    assert betting.fold(monitor, some).evidence < 20
    assert betting.fold(monitor, deviations.losses(scale, ERRORS * 2, TRUTHS)).crossed_at < 200
    assert not betting.fold(monitor, deviations.losses(scale, ERRORS, TRUTHS)).crossed


def test_a_population_that_spreads_wider_is_no_worse_model_by_r2():
    scale = deviations.of_first(Measure.R2, ERRORS, TRUTHS)
    # Twice the spread of truths and errors: as much is explained.
    wide = deviations.losses(scale, 2 * ERRORS, 2 * (TRUTHS - 3) + 3).mean()
    assert wide == pytest.approx(0.5, abs=0.03)
    assert deviations.losses(scale, 2 * ERRORS, TRUTHS).mean() > 0.6


@pytest.mark.parametrize("measure", Measure)
def test_a_scale_comes_back_bit_for_bit(measure):
    scale = deviations.of_first(measure, ERRORS, TRUTHS)
    assert deviations.from_plain(json.loads(json.dumps(deviations.to_plain(scale)))) == scale


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: deviations.of_first(Measure.MAE, ERRORS[:499], TRUTHS[:499]), "expected 500 or more"),
        (lambda: deviations.of_first(Measure.MAE, np.zeros(500), TRUTHS[:500]), "some that are not 0"),
        (lambda: deviations.of_first(Measure.RMSE, np.full(500, 1e300), TRUTHS[:500]), "can be squared"),
        (lambda: deviations.of_first(Measure.R2, ERRORS, np.ones(5_000)), "truths: expected some that differ"),
        (lambda: deviations.of_first(Measure.MAE, ERRORS, TRUTHS[:3]), "truths: expected 5000"),
        (lambda: deviations.of_first(Measure.MAE, [*ERRORS, np.inf], [*TRUTHS, 0]), "expected shape .* finite"),
        (lambda: deviations.losses(SCALE, [np.nan], [0.0]), "got nan at 0"),
        (lambda: deviations.losses(SCALE, [1.0], [np.nan]), "truths: expected"),
        (lambda: deviations.losses(SCALE, [1.0], [1.0, 2.0]), "truths: expected 1"),
        (lambda: deviations.tolerated(SCALE, 0.5, -0.1), "margin: expected 0 or more"),
        (lambda: deviations.from_plain(deviations.to_plain(SCALE) | {"bound": "0x0p0"}), "bound"),
    ],
)
def test_what_cannot_be_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


SCALE = deviations.of_first(Measure.R2, ERRORS, TRUTHS)

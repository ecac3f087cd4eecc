"""Errors of a regression as losses with a bound."""

import numpy as np
import pytest
from leadline_stats import betting, deviations
from leadline_stats.deviations import Measure

GENERATOR = np.random.default_rng(3)
ERRORS = GENERATOR.normal(0, 2, 5_000)


@pytest.mark.parametrize("measure", Measure)
def test_the_reference_is_within_its_own_limit_and_says_what_people_measure(measure):
    scale = deviations.of_errors(measure, ERRORS, margin=0.1, alpha=0.004)
    measured = np.abs(ERRORS).mean() if measure is Measure.MAE else np.sqrt((ERRORS**2).mean())
    assert scale.reference == pytest.approx(measured, rel=0.02), "a little less, for what is clipped"
    losses = deviations.losses(scale, ERRORS)
    assert deviations.value_of(scale, losses.mean()) == pytest.approx(scale.reference)
    assert losses.mean() < scale.tolerated_loss < 1
    assert scale.alpha == 0.002
    assert (losses.min() >= 0, losses.max()) == (True, 1.0)


def test_with_few_outcomes_the_limit_is_above_what_the_margin_allows():
    few = deviations.of_errors(Measure.MAE, ERRORS[:500], margin=0.0, alpha=0.004)
    many = deviations.of_errors(Measure.MAE, ERRORS, margin=0.0, alpha=0.004)
    assert few.tolerated_loss - few.value / few.bound > many.tolerated_loss - many.value / many.bound > 0


def test_one_outlier_decides_nothing_and_growing_errors_do():
    scale = deviations.of_errors(Measure.MAE, ERRORS, margin=0.1, alpha=0.004)
    monitor = betting.begin(limit=scale.tolerated_loss, alpha=scale.alpha)
    outlier = betting.fold(monitor, deviations.losses(scale, [*ERRORS[:50], 1e12, np.inf]))
    assert outlier.evidence < 10
    assert betting.fold(monitor, deviations.losses(scale, ERRORS * 2)).crossed_at < 100
    assert not betting.fold(monitor, deviations.losses(scale, ERRORS)).crossed


def test_a_failure_counts_as_the_largest_error():
    scale = deviations.of_errors(Measure.RMSE, ERRORS, margin=0.1, alpha=0.004)
    assert deviations.losses(scale, [0.0, np.nan], [False, True]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("measure", Measure)
def test_pairs_that_err_alike_are_one_half_and_the_limit_is_what_the_margin_allows(measure):
    typical = np.abs(ERRORS).mean() if measure is Measure.MAE else (ERRORS**2).mean()
    how = deviations.pairing(measure, typical, margin=0.1)
    losses = deviations.paired_losses(how, [1.0, 5.0, 0.0, np.inf, 0.0, np.inf], [1.0, 0.0, 5.0, 0.0, np.inf, np.inf])
    assert losses[0] == losses[5] == 0.5
    assert losses[1] > how.tolerated_loss > 0.5 > losses[2]
    assert losses[3:5].tolist() == [1.0, 0.0]
    assert how.tolerated_loss == pytest.approx(0.5 + ((1.1 if measure is Measure.MAE else 1.21) - 1) / 6)


def test_r2_at_its_limit_makes_a_mean_of_one_half():
    truths = GENERATOR.normal(3, 2, 200_000)
    errors = GENERATOR.normal(0, 2 * np.sqrt(0.3), 200_000)  # R2 = .7
    for least, is_above in ((0.6, False), (0.8, True)):
        how = deviations.explained(errors, truths, least=least)
        assert (deviations.unexplained_losses(how, errors, truths).mean() > how.tolerated_loss) == is_above
    at_limit = deviations.explained(errors, truths, least=0.7)
    assert deviations.unexplained_losses(at_limit, errors, truths).mean() == pytest.approx(0.5, abs=0.005)
    assert deviations.unexplained_losses(at_limit, [np.inf], [3.0]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: deviations.of_errors(Measure.MAE, ERRORS[:499], margin=0.1, alpha=0.01), "expected 500 or more"),
        (lambda: deviations.of_errors(Measure.MAE, np.zeros(500), margin=0.1, alpha=0.01), "some that are not 0"),
        (lambda: deviations.of_errors(Measure.MAE, ERRORS, margin=5, alpha=0.01), "margin: 5 tolerates"),
        (lambda: deviations.of_errors(Measure.MAE, ERRORS, margin=-0.1, alpha=0.01), "margin: expected 0 or more"),
        (lambda: deviations.of_errors(Measure.MAE, [*ERRORS, np.inf], margin=0, alpha=0.01), "got inf at 5000"),
        (lambda: deviations.pairing(Measure.RMSE, 0.0, margin=0.1), "typical: expected an error above 0"),
        (lambda: deviations.pairing(Measure.MAE, 1.0, margin=3.0), "margin: 3 tolerates larger differences"),
        (lambda: deviations.explained(ERRORS, ERRORS, least=1.0), "least: expected a number below 1"),
        (lambda: deviations.explained(ERRORS, np.ones(3), least=0.5), "truths: expected 5000"),
        (lambda: deviations.explained(np.zeros(500), np.zeros(500), least=0.5), "truths: expected some that differ"),
    ],
)
def test_what_makes_no_sense_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()

"""Losses of a regression: absolute errors (MAE), squared ones (RMSE), and what is left unexplained (R2).

An error has no upper bound, and one outlier must not decide: errors are clipped, in the reference and live alike, at what
99 of 100 of the reference's stay below. Divided by that bound they are losses in [0, 1], and the tolerated mean is divided
by it, too. What is guaranteed is so a limit on the mean of clipped errors, which is what a drift moves first.

Two revisions on the same inputs are compared by the difference of their errors, clipped to both sides.

Must not change a scale after outcomes were held against it.
"""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import betting, checks, intervals, references

FloatArray = npt.NDArray[np.float64]

QUANTILE: Final = 0.99
"""Of the reference's errors, below the bound."""
PAIRED_BOUNDS: Final = 3.0
"""How many mean errors a difference may count for."""


class Measure(enum.StrEnum):
    """What is measured; the values are those of `spec.quality.metrics[].metric`."""

    MAE = "mae"
    """Mean absolute error."""
    RMSE = "rmse"
    """Root of the mean squared error."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How errors become losses, and what is tolerated; made by `of_errors`."""

    measure: Measure
    bound: float
    """Largest error that counts, in units of the target; squared for RMSE."""
    value: float
    """Mean of the reference's clipped errors, in the same units."""
    outcomes: int
    """That it is made of."""
    tolerated_loss: float
    """Limit of the monitor, in [1e-4, 1]."""
    alpha: float
    """Level that is left for the monitor, in (0, 1)."""

    @property
    def reference(self) -> float:
        """The measure's value at the reference, as people read it."""
        return self.value**0.5 if self.measure is Measure.RMSE else self.value


def of_errors(measure: Measure, errors: npt.ArrayLike, *, margin: float, alpha: float) -> Scale:
    """Return the scale that a reference's errors make.

    The tolerated mean is the larger of what the margin allows and an upper bound of the true mean at alpha / 2, as
    `references.of_scores` has it: together with a monitor at the other half, alpha by the union bound.

    Args:
        measure: What is measured.
        errors: Shape (n,), prediction - truth of at least 500 outcomes; how many must not depend on what they showed.
        margin: Tolerated growth of the measure, as a share of it: .1 for 10 %; at least 0.
        alpha: Share of the fixed limit, in (0, 1).

    Raises:
        ValueError: There are too few outcomes, they are all 0, not finite, or the margin tolerates everything.
    """
    sizes = _sizes(measure, errors)
    if sizes.size < references.LEAST_OUTCOMES:
        raise ValueError(f"outcomes: expected {references.LEAST_OUTCOMES} or more for a reference, got {sizes.size}")
    bound = float(np.quantile(sizes, QUANTILE))
    if bound <= 0:
        raise ValueError("errors: expected some that are not 0; nothing can grow by a share of nothing")
    risk = checks.level("alpha", alpha) / 2
    clipped = np.minimum(sizes, bound) / bound
    mean = float(clipped.mean())
    highest = 1 - intervals.lower_bound(intervals.flipped(intervals.fold(intervals.EMPTY, clipped)), risk)
    tolerated = max(mean * _growth(measure, margin), highest)
    if not tolerated <= 1 - betting.LEAST_LIMIT:
        raise ValueError(
            f"margin: {margin:g} tolerates errors of {tolerated:.3g} times the largest that count; choose a smaller one"
        )
    return Scale(measure, bound, mean * bound, sizes.size, max(tolerated, betting.LEAST_LIMIT), risk)


def losses(scale: Scale, errors: npt.ArrayLike, failed: npt.ArrayLike | None = None) -> FloatArray:
    """Return the losses of outcomes: the clipped error as a share of the bound, 1 where the revision failed.

    Args:
        scale: The reference's.
        errors: Shape (n,), prediction - truth. Not looked at where the revision failed.
        failed: Shape (n,), whether it was reached and gave no usable answer.

    Returns:
        Shape (n,), each in [0, 1].

    Raises:
        ValueError: The lengths differ, or an error that counts is not a number.
    """
    given = np.asarray(errors, dtype=np.float64)
    if failed is not None:
        lost = np.asarray(failed, dtype=np.bool_)
        if lost.shape != given.shape:
            raise ValueError(f"failed: expected shape {list(given.shape)} like errors, got {list(lost.shape)}")
        given = np.where(lost, np.inf, given)
    return np.asarray(np.minimum(_sizes(scale.measure, given, infinite=True), scale.bound) / scale.bound)


def value_of(scale: Scale, mean_loss: float) -> float:
    """Return the measure at a mean loss, in the target's units, as people read it."""
    mean = checks.within("mean loss", mean_loss, 0.0, 1.0) * scale.bound
    return mean**0.5 if scale.measure is Measure.RMSE else mean


@dataclass(frozen=True, slots=True)
class Pairing:
    """How the errors of two revisions on the same inputs become losses; made by `pairing`."""

    measure: Measure
    bound: float
    """Largest difference that counts."""
    tolerated_loss: float
    """Limit of the monitor, in (0.5, 1)."""


def pairing(measure: Measure, typical: float, *, margin: float) -> Pairing:
    """Return how two revisions are compared whose errors are about so large.

    The difference d of their (squared) errors is clipped to [-B, B], B = 3 x typical; (d + B) / 2B is a loss in [0, 1], and the
    new revision is worse by more than the margin where its mean is above (m + B) / 2B, m the tolerated growth.

    Args:
        measure: What is measured.
        typical: Mean (squared, for RMSE) error of the old revision, from outcomes before those that are compared; above 0.
        margin: Tolerated growth of the measure, as a share of it; at least 0.

    Raises:
        ValueError: A number is out of range, or the margin tolerates more than counts.
    """
    if not typical > 0:
        raise ValueError(f"typical: expected an error above 0, got {typical:g}")
    bound = PAIRED_BOUNDS * float(typical)
    tolerated = (float(typical) * (_growth(measure, margin) - 1) + bound) / (2 * bound)
    if not tolerated < 1:
        raise ValueError(f"margin: {margin:g} tolerates larger differences than count; choose a smaller one")
    return Pairing(measure, bound, tolerated)


def paired_losses(how: Pairing, new: npt.ArrayLike, old: npt.ArrayLike) -> FloatArray:
    """Return the losses of pairs: 1/2 where both err alike, towards 1 where only the new one does.

    Args:
        how: From outcomes before these.
        new: Shape (n,), errors of the new revision, prediction - truth; inf where it failed.
        old: Shape (n,), errors of the old one on the same inputs; inf where it failed.

    Returns:
        Shape (n,), each in [0, 1]; 1/2 where both failed.

    Raises:
        ValueError: The lengths differ, or an error is NaN.
    """
    erred, before = _sizes(how.measure, new, infinite=True), _sizes(how.measure, old, infinite=True)
    if erred.shape != before.shape:
        raise ValueError(f"old: expected {erred.size} errors like new, got {before.size}")
    both = np.isinf(erred) & np.isinf(before)
    difference = np.where(both, 0.0, np.where(both, 0.0, erred) - np.where(both, 0.0, before))
    return np.asarray((np.clip(difference, -how.bound, how.bound) + how.bound) / (2 * how.bound))


@dataclass(frozen=True, slots=True)
class Explained:
    """How outcomes are held against "R2 is at least rho"; made by `explained`."""

    least: float
    """rho: smallest R2 that is tolerated, below 1."""
    centre: float
    """Mean of the truths, from the reference."""
    bound: float
    """Largest difference that counts."""

    @property
    def tolerated_loss(self) -> float:
        """Limit of the monitor: R2 = rho makes a mean of 0, which lies in the middle."""
        return 0.5


def explained(errors: npt.ArrayLike, truths: npt.ArrayLike, *, least: float) -> Explained:
    """Return how outcomes are held against a smallest R2.

    R2 >= rho means E[error^2] <= (1 - rho) E[(truth - mu)^2], so Z = error^2 - (1 - rho) (truth - mu0)^2 has a mean of at most
    0, with mu0 from a reference: another centre only makes the right side larger. Z is clipped to both sides at what 99 of 100 of the
    reference's stay below, which makes it approximate: the simulated rate at the limit is half of the level.

    Args:
        errors: Shape (n,), prediction - truth of a reference of at least 500 outcomes.
        truths: Shape (n,), of the same.
        least: Smallest R2 that is tolerated, below 1.

    Raises:
        ValueError: There are too few outcomes, lengths differ, or nothing varies.
    """
    if not least < 1:
        raise ValueError(f"least: expected a number below 1, got {least:g}")
    wrong, true = _finite("errors", errors), _finite("truths", truths)
    if wrong.shape != true.shape:
        raise ValueError(f"truths: expected {wrong.size} like errors, got {true.size}")
    if wrong.size < references.LEAST_OUTCOMES:
        raise ValueError(f"outcomes: expected {references.LEAST_OUTCOMES} or more for a reference, got {wrong.size}")
    centre = float(true.mean())
    sizes = np.abs(wrong**2 - (1 - least) * (true - centre) ** 2)
    bound = float(np.quantile(sizes, QUANTILE))
    if bound <= 0:
        raise ValueError("truths: expected some that differ")
    return Explained(float(least), centre, bound)


def unexplained_losses(how: Explained, errors: npt.ArrayLike, truths: npt.ArrayLike) -> FloatArray:
    """Return the losses of outcomes, above 1/2 in the mean where less than `least` of the variance is explained.

    Args:
        how: From a reference.
        errors: Shape (n,), prediction - truth; inf where the revision failed.
        truths: Shape (n,), finite.

    Returns:
        Shape (n,), each in [0, 1].

    Raises:
        ValueError: The lengths differ, an error is NaN, or a truth is not finite.
    """
    squares, true = _sizes(Measure.RMSE, errors, infinite=True), _finite("truths", truths)
    if squares.shape != true.shape:
        raise ValueError(f"truths: expected {squares.size} like errors, got {true.size}")
    rest = squares - (1 - how.least) * (true - how.centre) ** 2
    return np.asarray((np.clip(rest, -how.bound, how.bound) + how.bound) / (2 * how.bound))


def _growth(measure: Measure, margin: float) -> float:
    if not margin >= 0:
        raise ValueError(f"margin: expected 0 or more, got {margin:g}")
    return float(1 + margin) ** (2 if measure is Measure.RMSE else 1)


def _sizes(measure: Measure, errors: npt.ArrayLike, *, infinite: bool = False) -> FloatArray:
    """Return absolute or squared errors."""
    given = np.asarray(errors, dtype=np.float64)
    sizes = np.abs(given)
    bad = np.isnan(sizes) if infinite else ~np.isfinite(sizes)
    if given.ndim != 1 or bad.any():
        what = f"got shape {list(given.shape)}" if given.ndim != 1 else f"got {given[bad][0]:g} at {int(bad.argmax())}"
        raise ValueError(f"errors: expected shape [-1] of numbers, {what}")
    with np.errstate(over="ignore"):
        return np.asarray(sizes**2 if measure is Measure.RMSE else sizes)


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise ValueError(f"{name}: expected shape [-1] of finite numbers")
    return given

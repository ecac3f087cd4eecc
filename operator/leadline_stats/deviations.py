"""Losses of a regression: absolute errors (MAE), squared ones (RMSE), and what is left unexplained (R2).

An error has no upper bound, and one outlier must not decide: errors are clipped at what 99 of 100 of some first outcomes
stay below, and divided by that. Which bound it is costs nothing in certainty, as long as it was fixed before the outcomes
that it is applied to; so there is one `Scale` for all revisions, and their losses can be compared. What is guaranteed is
then about the mean of clipped errors, which is what a drift moves first.

Must not change a scale after outcomes were held against it.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import checks, references

FloatArray = npt.NDArray[np.float64]

QUANTILE: Final = 0.99
"""Of the first outcomes' errors, below the bound."""
_VERSION: Final = 1


class Measure(enum.StrEnum):
    """What is measured; the values are those of `spec.quality.metrics[].metric`."""

    MAE = "mae"
    """Mean absolute error."""
    RMSE = "rmse"
    """Root of the mean squared error."""
    R2 = "r2"
    """Share of the truths' variance that is explained."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How errors become losses; made by `of_first` and then fixed."""

    measure: Measure
    bound: float
    """Largest error that counts, in units of the target, for MAE; squared for the others."""
    centre: float
    """Mean of the first truths."""
    variance: float
    """Of the first truths; 0 where they were not looked at."""
    explained: float
    """R2 of the first outcomes; 0 for the others."""

    @property
    def is_share(self) -> bool:
        """Tell whether the margin is a share of the measure's value (MAE, RMSE) and not a difference."""
        return self.measure is not Measure.R2


def of_first(measure: Measure, errors: npt.ArrayLike, truths: npt.ArrayLike) -> Scale:
    """Return the scale that the first outcomes make.

    Args:
        measure: What is measured.
        errors: Shape (n,), prediction - truth of at least 500 outcomes; how many must not depend on what they showed.
        truths: Shape (n,), of the same.

    Raises:
        ValueError: There are too few outcomes, lengths differ, a number is not finite, or nothing varies.
    """
    wrong, true = _finite("errors", errors), _finite("truths", truths)
    if wrong.shape != true.shape:
        raise ValueError(f"truths: expected {wrong.size} like errors, got {true.size}")
    if wrong.size < references.LEAST_OUTCOMES:
        raise ValueError(f"outcomes: expected {references.LEAST_OUTCOMES} or more for a scale, got {wrong.size}")
    centre = variance = explained = 0.0
    sizes = _sizes(measure, wrong)
    if measure is Measure.R2:
        centre, variance = float(true.mean()), float(true.var())
        if not 0 < variance < np.inf:
            raise ValueError("truths: expected some that differ; of nothing that varies nothing can be explained")
        explained = 1 - float(sizes.mean()) / variance
        sizes = np.abs(sizes - (1 - explained) * (true - centre) ** 2)
    bound = float(np.quantile(sizes, QUANTILE, method="higher"))
    if not 0 < bound < np.inf:
        raise ValueError(
            "errors: expected some that are not 0 and can be squared; nothing can grow by a share of nothing"
        )
    return Scale(measure, bound, centre, variance, explained)


def losses(scale: Scale, errors: npt.ArrayLike, truths: npt.ArrayLike) -> FloatArray:
    """Return the losses of outcomes: for MAE and RMSE the clipped error as a share of the bound.

    For R2 it is Z = error^2 - (1 - R2) (truth - mu)^2, clipped to both sides and brought to [0, 1]: its mean is 1/2 where as much
    is explained as by the first outcomes. The second term does not depend on the model, so a comparison on the same inputs is
    one of squared errors, and a population that spreads wider is not taken for a worse model. Clipping makes it approximate.

    Args:
        scale: Of the first outcomes.
        errors: Shape (n,), prediction - truth; inf where the revision failed.
        truths: Shape (n,), finite. Only looked at for R2.

    Returns:
        Shape (n,), each in [0, 1]; 1 where the revision failed.

    Raises:
        ValueError: The lengths differ, an error is NaN, or a truth is not finite.
    """
    sizes = _sizes(scale.measure, errors)
    if scale.measure is not Measure.R2:
        return np.asarray(np.minimum(sizes, scale.bound) / scale.bound)
    true = _finite("truths", truths)
    if sizes.shape != true.shape:
        raise ValueError(f"truths: expected {sizes.size} like errors, got {true.size}")
    with np.errstate(over="ignore", invalid="ignore"):
        rest = np.where(np.isinf(sizes), np.inf, sizes - (1 - scale.explained) * (true - scale.centre) ** 2)
    return np.asarray((np.clip(rest, -scale.bound, scale.bound) + scale.bound) / (2 * scale.bound))


def tolerated(scale: Scale, mean_loss: float, margin: float) -> float:
    """Return how much the mean loss may grow where the measure may get worse by a margin.

    Args:
        scale: Of the first outcomes.
        mean_loss: Of the revision that others are held against, in [0, 1].
        margin: Tolerated growth as a share of MAE or RMSE, .1 for 10 %; tolerated loss of R2; at least 0.

    Raises:
        ValueError: A number is out of range.
    """
    mean = checks.within("mean loss", mean_loss, 0.0, 1.0)
    if not margin >= 0:
        raise ValueError(f"margin: expected 0 or more, got {margin:g}")
    if scale.measure is Measure.R2:
        return float(margin) * scale.variance / (2 * scale.bound)
    return mean * (float(1 + margin) ** (2 if scale.measure is Measure.RMSE else 1) - 1)


def value_of(scale: Scale, mean_loss: float) -> float:
    """Return the measure at a mean loss, as people read it: in the target's units, R2 as a share."""
    mean = checks.within("mean loss", mean_loss, 0.0, 1.0)
    if scale.measure is Measure.R2:
        return scale.explained - (2 * mean - 1) * scale.bound / scale.variance
    value = mean * scale.bound
    return value**0.5 if scale.measure is Measure.RMSE else value


def to_plain(scale: Scale) -> dict[str, object]:
    """Return what `from_plain` makes the same scale of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "measure": scale.measure.value,
        "bound": scale.bound.hex(),
        "centre": scale.centre.hex(),
        "variance": scale.variance.hex(),
        "explained": scale.explained.hex(),
    }


def from_plain(record: Mapping[str, object]) -> Scale:
    """Return the scale that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the outcomes again.
    """
    checks.version(record, _VERSION)
    scale = Scale(
        Measure(str(record.get("measure"))),
        *(checks.hexed(record, name) for name in ("bound", "centre", "variance", "explained")),
    )
    if not 0 < scale.bound < np.inf or not (scale.measure is not Measure.R2 or scale.variance > 0):
        raise ValueError(f"bound: expected a number above 0, got {scale.bound:g}")
    return scale


def _sizes(measure: Measure, errors: npt.ArrayLike) -> FloatArray:
    """Return absolute or squared errors; infinite ones stay infinite."""
    given = np.asarray(errors, dtype=np.float64)
    if given.ndim != 1 or np.isnan(given).any():
        what = f"shape {list(given.shape)}" if given.ndim != 1 else f"nan at {int(np.isnan(given).argmax())}"
        raise ValueError(f"errors: expected shape [-1] of numbers, got {what}")
    with np.errstate(over="ignore"):
        return np.asarray(np.abs(given) if measure is Measure.MAE else given**2)


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise ValueError(f"{name}: expected shape [-1] of finite numbers")
    return given

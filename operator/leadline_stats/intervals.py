"""Say between which numbers a mean lies, at any look.

A candidate mean is left out once the engine of `betting` has evidence that the true one is above it, or below it; what
is left is the interval. It may be looked at after every outcome, so it is wider than the textbook's. Bets begin at the
first outcome and never restart: an interval is for a mean that stays where it is.

Of any number of values a `Summary` keeps 17 numbers, which is enough: the logarithm of a bet's factor is concave in the
value, so that a value may be replaced by its two neighbours on a grid, in the proportion that keeps its mean, and the
evidence only gets smaller. Right and wrong, and the 0, 1/2 and 1 of pairs, are on the grid, and lose nothing.

Must not know what the mean is of.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import checks

FloatArray = npt.NDArray[np.float64]

ALPHA: Final = 0.02
"""Probability, at most, that an interval shown to people ever misses the mean: two bounds of 1 %."""
_STEPS: Final = 16
_GRID: Final = np.arange(_STEPS + 1) / _STEPS
_BETS: Final = np.geomspace(0.001, 0.95, 16)[:, np.newaxis]
"""Smaller ones than those that look for drops, so that the interval still narrows after 100,000 outcomes."""
_HALVINGS: Final = 40
"""Of [0, mean]: leaves 1e-12."""
_LEAST_MEAN: Final = 1e-12
"""Below it the bound is 0, which is as near as the halvings come."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of values in [0, 1], however many; `EMPTY` to begin with, `fold` to add."""

    outcomes: int
    """Number of values."""
    weights: tuple[float, ...]
    """How many of them each point of the grid 0, 1/16, ..., 1 stands for."""

    @property
    def mean(self) -> float | None:
        """Mean of the values; None before the first."""
        return float(np.dot(_GRID, self.weights)) / self.outcomes if self.outcomes else None


EMPTY: Final = Summary(outcomes=0, weights=(0.0,) * (_STEPS + 1))
"""No value yet."""


def fold(summary: Summary, values: npt.ArrayLike) -> Summary:
    """Return the summary with more values; in parts or at once, the same bits.

    Args:
        summary: What came before.
        values: Shape (n,), each in [0, 1].

    Raises:
        ValueError: A value is NaN or outside [0, 1]; the message gives its index.
    """
    places = checks.shares_of_one("values", values) * _STEPS
    below = np.minimum(np.floor(places), _STEPS - 1)
    upper = places - below
    weights = np.array(summary.weights)
    # add.at adds one after the other, so the cut into calls leaves no trace in the rounding
    indices = np.column_stack((below, below + 1)).astype(np.intp)
    np.add.at(weights, indices.ravel(), np.column_stack((1 - upper, upper)).ravel())
    return Summary(outcomes=summary.outcomes + len(places), weights=tuple(weights.tolist()))


def flipped(summary: Summary) -> Summary:
    """Return the summary of 1 - value: of scores, given that of losses."""
    return dataclasses.replace(summary, weights=summary.weights[::-1])


def lower_bound(summary: Summary, alpha: float) -> float:
    """Return a number that the mean is below, at any look, with probability at most alpha.

    The largest candidate m for which the bets against "the mean given the past is at most m" made 1 / alpha of 1
    (Ville's inequality). Where the mean moves, the bound is below the largest that it had.

    Args:
        summary: Of values in [0, 1].
        alpha: In (0, 1).

    Returns:
        A number in [0, mean]; 0 where nothing is known.

    Raises:
        ValueError: alpha is not in (0, 1).
    """
    needed = math.log(len(_BETS) / checks.level("alpha", alpha))
    mean = summary.mean
    if not mean or mean < _LEAST_MEAN:
        return 0.0
    weights = np.array(summary.weights)
    # At the mean no bet has won anything (Jensen), towards 0 each wins without bound: there is one crossing between.
    low, high = 0.0, mean
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        won = np.log1p(_BETS * (_GRID / middle - 1)) @ weights
        most = won.max()
        if most + math.log(np.exp(won - most).sum()) >= needed:
            low = middle
        else:
            high = middle
    return float(low)


def log_wealths(summary: Summary, means: FloatArray) -> FloatArray:
    """Return the logarithms of what the bets against "the mean given the past is at most this" have made of 1.

    Each falls as the mean grows, from infinity at 0, and is of an e-process where the mean is never exceeded.

    Args:
        summary: Of values in [0, 1].
        means: Shape (n,), each in [0, 1].

    Returns:
        Shape (n,).
    """
    won = _log_factors(tuple(means.tolist())) @ np.array(summary.weights)
    most = won.max(axis=1)
    return np.asarray(most + np.log(np.exp(won - most[:, np.newaxis]).sum(axis=1) / len(_BETS)))


@functools.lru_cache(maxsize=8)
def _log_factors(means: tuple[float, ...]) -> FloatArray:
    """Return what each bet gains at each point of the grid: shape (means, bets, points)."""
    least = np.maximum(means, _LEAST_MEAN)[:, np.newaxis, np.newaxis]
    return np.asarray(np.log1p(_BETS * (_GRID / least - 1)))


def interval(summary: Summary, alpha: float = ALPHA) -> tuple[float, float]:
    """Return between which numbers the mean lies: outside of them, at any look, with probability at most alpha.

    Args:
        summary: Of values in [0, 1].
        alpha: In (0, 1), half of it for each bound.

    Returns:
        Lower and upper bound, in [0, 1], the mean between them; (0, 1) where nothing is known.

    Raises:
        ValueError: alpha is not in (0, 1).
    """
    each = checks.level("alpha", alpha) / 2
    return lower_bound(summary, each), 1 - lower_bound(flipped(summary), each)


def to_plain(summary: Summary) -> dict[str, object]:
    """Return what `from_plain` makes the same summary of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "outcomes": summary.outcomes,
        "weights": [weight.hex() for weight in summary.weights],
    }


def from_plain(record: Mapping[str, object]) -> Summary:
    """Return the summary that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the values again.
    """
    checks.version(record, _VERSION)
    outcomes = checks.count("outcomes", record.get("outcomes"))
    weights = checks.hexes(record, "weights", _STEPS + 1, _STEPS + 1)
    if min(weights) < 0 or abs(sum(weights) - outcomes) > 1e-6 * (1 + outcomes):
        raise ValueError(f"weights: expected 0 or more, {outcomes} in sum, got {sum(weights):g}")
    return Summary(outcomes=outcomes, weights=weights)

"""Compare two revisions on the same inputs by a share of rows that are not the same rows for both: precision, F1.

Precision is about the rows where a revision predicts the class, and two revisions predict it on different ones; so there is
no one difference of losses per input, as `pairs` has it. If the old one's share of right answers were known to be g, and h is
the smallest share of the new one that the margin then allows, there would be: with losses e of the rows that count for each,

    x = [counts for new] (e_new - (1 - h)) + [counts for old] ((1 - g) - e_old)

has a mean of at most 0 where the new one is within the margin, is e_new - e_old - margin where both count, and is so bet on as
in `betting`. g is not known: so the bets are made for each of 40 intervals that it may lie in, with the least x of the interval,
and half of the money bets that the old one's share is not in it at all. For the interval that holds the truth, both halves are
nonnegative supermartingales from 1, and so is their mean; the evidence is the smallest over all intervals, and reaches 1 / alpha
with probability at most alpha (Ville's inequality). Rows on which both agree cancel, which a bound for each alone would waste.

It is looked at after each tenth row that counts, so that the cut of the stream changes nothing.

Must not hold one revision's outcomes against the other's on other inputs.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import betting, budgets, checks, classes, intervals

FloatArray = npt.NDArray[np.float64]

LOOK_EVERY: Final = 10
"""Rows from one look to the next."""
_INTERVALS: Final = 40
"""That the old revision's share may lie in."""
_LOW: Final = np.arange(_INTERVALS) / _INTERVALS
_HIGH: Final = np.arange(1, _INTERVALS + 1) / _INTERVALS
_SIZES: Final = np.array(betting.BETS)[:, np.newaxis]
_LOOKS: Final = betting.BLOCK // LOOK_EVERY
"""Between two restarts."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """One of the two questions of a contrast: the same words as a `betting.Monitor` has."""

    alpha: float
    """Probability, at most, that it is ever decided wrongly, in (0, 1)."""
    wealth: tuple[float, ...]
    """Money of each bet in each interval, bets first, at the last look."""
    reserve: float = 1 - betting.FROM_THE_START
    """Money of each interval that no restart has put on a bet yet."""
    evidence: float = 1.0
    """An e-value at the last look, or at the deciding one."""
    crossed_at: int | None = None
    """Number of rows at the deciding look; None: undecided. From there on the evidence stands still."""
    outcomes: int = 0
    """Inputs that count for either revision, for ever."""

    @property
    def needed(self) -> float:
        """The evidence that decides: 1 / alpha."""
        return 1 / self.alpha

    @property
    def crossed(self) -> bool:
        """Whether it was decided."""
        return self.crossed_at is not None


@dataclass(frozen=True, slots=True)
class Contrast:
    """All that is known of a new and an old revision; made by `begin`, carried on by `fold`."""

    measure: classes.Measure
    margin: float
    """Tolerated loss of the measure, in [0, 1)."""
    worse: Finding
    """Of "the new one is worse by more than the margin"."""
    within: Finding
    """Of the opposite, at the level of a promotion."""
    new: intervals.Summary
    """Losses of the new revision on the rows that count for it."""
    old: intervals.Summary
    """The same of the old one."""
    waiting: tuple[tuple[float | None, float | None], ...] = ()
    """Losses of both since the last look, fewer than 10; None where the input does not count."""

    @property
    def pairs(self) -> int:
        """Number of inputs that count for either."""
        return self.worse.outcomes


def begin(measure: classes.Measure, *, margin: float, alpha: float, promotion: float = budgets.PROMOTION) -> Contrast:
    """Return a contrast that has seen nothing.

    Args:
        measure: Precision or F1; the others too, though `pairs` is faster for them.
        margin: Tolerated loss of the measure, in [0, 1].
        alpha: Share of the comparison, in (0, 1): of ever finding a revision worse that is within the margin.
        promotion: Level of the opposite finding, in (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    return Contrast(
        measure=measure,
        margin=checks.within("margin", margin, 0.0, 1.0),
        worse=Finding(checks.level("alpha", alpha), _BEGUN),
        within=Finding(checks.level("promotion", promotion), _BEGUN),
        new=intervals.EMPTY,
        old=intervals.EMPTY,
    )


def fold(contrast: Contrast, new: npt.ArrayLike, old: npt.ArrayLike) -> Contrast:
    """Return the contrast after more inputs; in parts or at once, the same bits.

    Args:
        contrast: What came before.
        new: Shape (n,), losses of the new revision, each in [0, 1]; NaN where the input does not count for it.
        old: Shape (n,), the same of the old one. An input that counts for neither says nothing.

    Raises:
        ValueError: The lengths differ, or a loss is outside [0, 1].
    """
    erred, before = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if erred.ndim != 1 or erred.shape != before.shape:
        raise ValueError(f"old: expected shape {list(erred.shape)} like new, got {list(before.shape)}")
    if ((erred < 0) | (erred > 1) | (before < 0) | (before > 1)).any():
        raise ValueError("losses: expected numbers from 0 to 1, or nan where an input does not count")
    rows = np.column_stack((erred, before))
    rows = np.concatenate(
        (np.reshape(np.array(contrast.waiting, dtype=np.float64), (-1, 2)), rows[~np.isnan(rows).all(axis=1)])
    )
    contrast = replace(contrast, waiting=())
    looks = len(rows) // LOOK_EVERY
    for part in np.split(rows[: looks * LOOK_EVERY], looks) if looks else ():
        contrast = _looked(contrast, part)
    left = rows[looks * LOOK_EVERY :]
    if not len(left):
        return contrast
    number = contrast.worse.outcomes // LOOK_EVERY * LOOK_EVERY + len(left)
    return replace(
        contrast,
        waiting=tuple(tuple(None if math.isnan(loss) else loss for loss in row) for row in left.tolist()),  # type: ignore[misc]
        worse=replace(contrast.worse, outcomes=number),
        within=replace(contrast.within, outcomes=number),
    )


def to_plain(contrast: Contrast) -> dict[str, object]:
    """Return what `from_plain` makes the same contrast of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "measure": contrast.measure.value,
        "margin": contrast.margin.hex(),
        "worse": _plain(contrast.worse),
        "within": _plain(contrast.within),
        "new": intervals.to_plain(contrast.new),
        "old": intervals.to_plain(contrast.old),
        "waiting": [[None if loss is None else loss.hex() for loss in row] for row in contrast.waiting],
    }


def from_plain(record: Mapping[str, object]) -> Contrast:
    """Return the contrast that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the inputs again.
    """
    checks.version(record, _VERSION)
    contrast = Contrast(
        measure=classes.Measure(str(record.get("measure"))),
        margin=checks.within("margin", checks.hexed(record, "margin"), 0.0, 1.0),
        worse=_finding(checks.record(record, "worse")),
        within=_finding(checks.record(record, "within")),
        new=intervals.from_plain(checks.record(record, "new")),
        old=intervals.from_plain(checks.record(record, "old")),
        waiting=tuple(_row(row) for row in _list(record.get("waiting"))),
    )
    if len(contrast.waiting) != contrast.pairs % LOOK_EVERY:
        raise ValueError(f"waiting: {len(contrast.waiting)} inputs do not fit {contrast.pairs}")
    return contrast


def _looked(contrast: Contrast, rows: FloatArray) -> Contrast:
    """Fold as many inputs as make a look, and look."""
    number = contrast.worse.outcomes // LOOK_EVERY * LOOK_EVERY + len(rows)
    new, old = (each[~np.isnan(each)] for each in rows.T)
    contrast = replace(contrast, new=intervals.fold(contrast.new, new), old=intervals.fold(contrast.old, old))
    scores = intervals.flipped(contrast.old)
    with np.errstate(over="ignore"):
        above = np.exp(intervals.log_wealths(scores, _HIGH))
        elsewhere = (above + np.exp(intervals.log_wealths(contrast.old, 1 - _LOW))) / 2
    tolerated = _tolerated(contrast.measure, contrast.margin)
    return replace(
        contrast,
        worse=_grown(contrast.worse, _gains(rows, *tolerated) / (1 + contrast.margin), elsewhere, number),
        within=_grown(contrast.within, _gains_of_within(rows, *tolerated), elsewhere, number),
    )


def _gains(rows: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the least x of each input in each interval.

    Args:
        rows: Shape (n, 2), losses of the new and the old one.
        low: Shape (intervals,), smallest tolerated share of the new one where the old one's is the lower end.
        high: The same at the upper end.

    Returns:
        Shape (n, intervals), each at least -(1 + margin).
    """
    new, old = rows[:, :1], rows[:, 1:]
    both = new - old + high - _HIGH  # what is tolerated grows with the share, so that the upper end is the least
    return np.where(np.isnan(old), new - 1 + low, np.where(np.isnan(new), 1 - _HIGH - old, both))


def _gains_of_within(rows: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the least -x of each input in each interval; each at least -1."""
    new, old = rows[:, :1], rows[:, 1:]
    both = old - new + _LOW - low
    return np.where(np.isnan(old), 1 - high - new, np.where(np.isnan(new), old - 1 + _LOW, both))


def _grown(finding: Finding, gains: FloatArray, elsewhere: FloatArray, number: int) -> Finding:
    """Return a finding after one more look; `gains` has shape (n, intervals), each at least -1."""
    if finding.crossed:
        return replace(finding, outcomes=number)
    wealth = np.reshape(finding.wealth, (len(_SIZES), _INTERVALS))
    with np.errstate(over="ignore"):
        for gain in gains:
            wealth = wealth * (1 + _SIZES * gain)
    money = functools.reduce(np.add, wealth, np.full(_INTERVALS, finding.reserve))
    evidence = float(((money + elsewhere) / 2).min())
    reserve = finding.reserve
    if number // LOOK_EVERY % _LOOKS == 0:
        reserve, mass = betting.restart(reserve, number // betting.BLOCK)
        wealth = wealth + mass
    return Finding(
        alpha=finding.alpha,
        wealth=tuple(wealth.ravel().tolist()),
        reserve=reserve,
        evidence=evidence,
        crossed_at=number if evidence >= finding.needed else None,
        outcomes=number,
    )


@functools.cache
def _tolerated(measure: classes.Measure, margin: float) -> tuple[FloatArray, FloatArray]:
    """Return the smallest share of the new revision that the margin allows, at both ends of each interval."""

    def of(share: float) -> float:
        return classes.share_of(measure, max(0.0, classes.score_of(measure, share) - margin))

    return np.array([of(share) for share in _LOW.tolist()]), np.array([of(share) for share in _HIGH.tolist()])


_BEGUN: Final = (betting.FROM_THE_START / len(betting.BETS),) * (len(betting.BETS) * _INTERVALS)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "alpha": finding.alpha.hex(),
        "wealth": [money.hex() for money in finding.wealth],
        "reserve": finding.reserve.hex(),
        "evidence": finding.evidence.hex(),
        "crossedAt": finding.crossed_at,
        "outcomes": finding.outcomes,
    }


def _finding(record: Mapping[str, object]) -> Finding:
    crossed_at = record.get("crossedAt")
    return Finding(
        alpha=checks.level("alpha", checks.hexed(record, "alpha")),
        wealth=checks.hexes(record, "wealth", len(_BEGUN), len(_BEGUN)),
        reserve=checks.within("reserve", checks.hexed(record, "reserve"), 0.0, 1.0),
        evidence=checks.hexed(record, "evidence"),
        crossed_at=None if crossed_at is None else checks.count("crossedAt", crossed_at),
        outcomes=checks.count("outcomes", record.get("outcomes")),
    )


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) >= LOOK_EVERY:
        raise ValueError(f"waiting: expected fewer than {LOOK_EVERY} inputs")
    return value


def _row(row: object) -> tuple[float | None, float | None]:
    try:
        new, old = (None if loss is None else float.fromhex(loss) for loss in row)  # type: ignore[attr-defined]
    except (TypeError, ValueError, AttributeError):
        raise ValueError("waiting: expected two losses of each input") from None
    return new, old

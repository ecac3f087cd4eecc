"""Compare two revisions on the same inputs, pair by pair.

Only the inputs on which they differ move the evidence much, and what happens to the world happens to both: a shift of
the population, a season or noisy truths condemn nobody. It is the one comparison that may say that a revision is worse
than another. `verdicts` says so; who is paired with whom, and when a pair is complete, is for the ledger.

Must not hold one revision's outcomes against the other's on other inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import betting, budgets, checks, intervals

FloatArray = npt.NDArray[np.float64]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is known of the pairs of a new and an old revision; made by `begin`, carried on by `fold`."""

    margin: float
    """Tolerated loss of the mean score, in [0, 1)."""
    worse: betting.Monitor
    """Of "the new one is worse by more than the margin"."""
    within: betting.Monitor
    """Of the opposite, at the level of a promotion."""
    new: intervals.Summary
    """Losses of the new revision on the common inputs."""
    old: intervals.Summary
    """Losses of the old one on the same."""

    @property
    def pairs(self) -> int:
        """Number of complete pairs."""
        return self.worse.outcomes


def begin(*, margin: float, alpha: float, promotion: float = budgets.PROMOTION) -> Comparison:
    """Return a comparison that has seen nothing.

    Args:
        margin: Tolerated loss of the mean score, in [0, 0.9998].
        alpha: Share of the comparison, in (0, 1): of ever finding a revision worse that is within the margin.
        promotion: Level of the opposite finding, in (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    limit = tolerated_loss(margin)
    return Comparison(
        margin=float(margin),
        worse=betting.begin(limit=limit, alpha=alpha),
        within=betting.mirrored(limit=limit, alpha=promotion),
        new=intervals.EMPTY,
        old=intervals.EMPTY,
    )


def fold(comparison: Comparison, new: npt.ArrayLike, old: npt.ArrayLike) -> Comparison:
    """Return the comparison after more pairs; in parts or at once, the same bits.

    Args:
        comparison: What came before.
        new: Shape (n,), losses of the new revision, each in [0, 1]; see `errors`.
        old: Shape (n,), losses of the old revision on the same inputs.

    Raises:
        ValueError: The lengths differ, or a loss is NaN or outside [0, 1].
    """
    paired = losses(new, old)
    return Comparison(
        margin=comparison.margin,
        worse=betting.fold(comparison.worse, paired),
        within=betting.fold(comparison.within, 1 - paired),
        new=intervals.fold(comparison.new, new),
        old=intervals.fold(comparison.old, old),
    )


def tolerated_loss(margin: float) -> float:
    """Return the limit of the losses of pairs: (1 + margin) / 2, in [0.5, 0.9999].

    Raises:
        ValueError: The margin is not in [0, 0.9998].
    """
    return (1 + checks.within("margin", margin, 0.0, 1 - 2 * betting.LEAST_LIMIT)) / 2


def losses(new: npt.ArrayLike, old: npt.ArrayLike) -> FloatArray:
    """Return the losses of pairs, (1 + new - old) / 2: 1 where only the new one erred, 1/2 where nothing differs.

    Their mean is above (1 + margin) / 2 exactly where the new revision's mean loss exceeds the old one's by more than
    the margin, so that the engine's guarantee holds for the difference.

    Args:
        new: Shape (n,), losses of the new revision, each in [0, 1].
        old: Shape (n,), losses of the old one on the same inputs.

    Returns:
        Shape (n,), each in [0, 1].

    Raises:
        ValueError: The lengths differ, or a loss is NaN or outside [0, 1].
    """
    erred, before = checks.shares_of_one("new", new), checks.shares_of_one("old", old)
    if len(erred) != len(before):
        raise ValueError(f"old: expected {len(erred)} losses like new, got {len(before)}")
    return np.asarray((1 + erred - before) / 2, dtype=np.float64)


def errors(scores: npt.ArrayLike, failed: npt.ArrayLike | None = None) -> FloatArray:
    """Return losses of one revision: 1 - score, and 1 where it was reached and failed.

    A pair in which only one failed thus counts against that one; one in which both did says nothing of either.

    Args:
        scores: Shape (n,), each in [0, 1]: 1 for right, 0 for wrong. Not looked at where the revision failed.
        failed: Shape (n,), true where the answer was a 5xx, a timeout, no number, or an unknown class.

    Raises:
        ValueError: The lengths differ, or a score that counts is NaN or outside [0, 1].
    """
    given = np.asarray(scores, dtype=np.float64)
    if failed is not None:
        lost = np.asarray(failed, dtype=bool)
        if lost.shape != given.shape:
            raise ValueError(f"failed: expected shape {list(given.shape)} like scores, got {list(lost.shape)}")
        given = np.where(lost, 0.0, given)
    return 1 - checks.shares_of_one("scores", given)


def to_plain(comparison: Comparison) -> dict[str, object]:
    """Return what `from_plain` makes the same comparison of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "margin": comparison.margin.hex(),
        "worse": betting.to_plain(comparison.worse),
        "within": betting.to_plain(comparison.within),
        "new": intervals.to_plain(comparison.new),
        "old": intervals.to_plain(comparison.old),
    }


def from_plain(record: Mapping[str, object]) -> Comparison:
    """Return the comparison that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the pairs again.
    """
    checks.version(record, _VERSION)
    comparison = Comparison(
        margin=checks.hexed(record, "margin"),
        worse=betting.from_plain(checks.record(record, "worse")),
        within=betting.from_plain(checks.record(record, "within")),
        new=intervals.from_plain(checks.record(record, "new")),
        old=intervals.from_plain(checks.record(record, "old")),
    )
    if comparison.worse.limit != tolerated_loss(comparison.margin):
        raise ValueError(f"margin: {comparison.margin:g} does not fit the limit {comparison.worse.limit:g}")
    if (
        len({comparison.worse.outcomes, comparison.within.outcomes, comparison.new.outcomes, comparison.old.outcomes})
        > 1
    ):
        raise ValueError(f"pairs: expected {comparison.pairs} in every part")
    return comparison

"""Hold a revision against the best one that was ever accepted, for margins add up.

Each successor may lose a margin against the one before it, so ten of them may lose ten, and nobody is ever found worse. A drop
of more than twice the margin below the best accepted revision is creep: to be said, and nothing to roll back for.

Who is the best is only known once the answers are, and there are as many comparisons as revisions. So each comparison, and
each interval, has a level of its own, by the places of the revisions in their order of acceptance: all of them together, of
all revisions that ever come, spend alpha.

Must not know of pods or time, and must not remember anything between calls.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from leadline_stats import budgets, checks, intervals, measures, test_sets

MARGINS: Final = 2
"""How many margins may be lost against the best accepted revision."""
_LEAST_LEVEL: Final = 4e-12
"""Four times the least churn risk of `test_sets`: below it nothing could ever be found."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Outcomes of one accepted revision."""

    losses: intervals.Summary
    alpha: float
    """Probability, at most, that its interval ever misses its mean, in (0, 1); see `interval_level`."""


@dataclass(frozen=True, slots=True)
class Fall:
    """A revision that is below the best accepted one, as the measure counts it."""

    best: str
    estimate: float
    interval: tuple[float, float]
    best_estimate: float
    best_interval: tuple[float, float]
    is_shown: bool
    """Whether the intervals are further apart than is tolerated; false: only the estimates are."""


def test_set_level(alpha: float, place: int, other: int) -> float:
    """Return the level at which one accepted revision is compared with another one on the same test set.

    The later of the two shares alpha x 6 / (pi^2 (n - 1)^2), n being its place, between both directions with each of the n - 1
    before it.

    Args:
        alpha: Probability, at most, that creep is ever said of revisions none of which is so much worse, in (0, 1).
        place: Of the one revision in the order of acceptance, from 1; later ones have larger ones, and some may be left out.
        other: Of the other one.

    Raises:
        ValueError: alpha is not in (0, 1), or the places are no two.
    """
    later = max(place, other)
    if checks.count("place", min(place, other)) < 1 or place == other:
        raise ValueError(f"place: expected two from 1 on, got {place} and {other}")
    return max(budgets.retest_alpha(alpha, later - 1) / (2 * (later - 1)), _LEAST_LEVEL)


def interval_level(alpha: float, place: int, *, begun: int = 0) -> float:
    """Return the level of an accepted revision's interval: those of all of them, and of all their series, sum to alpha.

    Args:
        alpha: As in `test_set_level`.
        place: Of the revision in the order of acceptance, from 1.
        begun: How often its series began anew.

    Raises:
        ValueError: alpha is not in (0, 1), or a number is too small.
    """
    return budgets.retest_alpha(budgets.retest_alpha(alpha, place), checks.count("begun", begun) + 1)


@functools.lru_cache(maxsize=1024)  # of 65,536 rows it takes 30 ms, and two revisions' answers stay what they were
def test_set_pvalue(flips: test_sets.Flips, rows: int, margin: float, *, level: float) -> float:
    """Return the p-value of "worse than the best accepted revision by no more than twice the margin".

    Args:
        flips: Rows of the test set on which both differ in being right; breaks are those that only the best one has right.
        rows: Rows of the test set.
        margin: What each successor may lose of accuracy, in [0, 1].
        level: What the p-value is held against; see `test_set_level`.

    Raises:
        ValueError: As `test_sets.test_set_pvalue`.
    """
    risk = test_sets.churn_risk_for(level)
    return test_sets.test_set_pvalue(flips.breaks, flips.fixes, rows, min(MARGINS * margin, 1.0), churn_risk=risk)


def fall(
    reading: measures.Reading, judged: Accepted, others: Mapping[str, Accepted], *, by_estimates: bool = False
) -> Fall | None:
    """Return how a revision's outcomes stand below those of the best accepted one; None: by no more than twice the margin.

    The best is the one that is best by the worse end of its interval: few outcomes make nobody the best. All intervals hold
    at once and at any look, so neither choosing nor looking again costs anything.

    Args:
        reading: How losses are read, with the margin of one step.
        judged: Outcomes of the revision.
        others: Of all other accepted ones, by name.
        by_estimates: Also return a fall that only the estimates show: for what was said once, so that it is not taken back and
            said again with every few outcomes.
    """
    twice = dataclasses.replace(reading, margin=_twice(reading))
    lost = judged.losses.mean
    if lost is None:
        return None
    # A mean is in its interval: where means are no further apart, intervals need not be made.
    below = {name: each for name, each in others.items() if is_below(reading, judged.losses, each.losses)}
    if not below:
        return None
    worst = {name: _interval(each.losses, each.alpha) for name, each in below.items()}
    best = min(worst, key=lambda name: (worst[name][1], name))
    own = _interval(judged.losses, judged.alpha)
    is_shown = own[0] > _limit(twice, worst[best][1])
    if not (is_shown or by_estimates):
        return None
    return Fall(
        best=best,
        estimate=reading.value(1 - lost),
        interval=reading.values(1 - own[1], 1 - own[0]),
        best_estimate=reading.value(1 - (below[best].losses.mean or 0.0)),
        best_interval=reading.values(1 - worst[best][1], 1 - worst[best][0]),
        is_shown=is_shown,
    )


def is_below(reading: measures.Reading, losses: intervals.Summary, of: intervals.Summary) -> bool:
    """Tell whether the estimate of a revision is below that of another one by more than twice the margin."""
    lost, reference = losses.mean, of.mean
    if lost is None or reference is None:
        return False
    return lost > _limit(dataclasses.replace(reading, margin=_twice(reading)), reference)


@functools.lru_cache(maxsize=1024)
def _interval(losses: intervals.Summary, alpha: float) -> tuple[float, float]:
    """Return the interval of the mean loss; of revisions that served earlier it stays what it was."""
    return intervals.interval(losses, alpha)


def _limit(twice: measures.Reading, mean_loss: float) -> float:
    """Return the largest mean loss that is tolerated; it rises with that of the best one, by every measure."""
    loss = min(max(mean_loss, 0.0), 1.0)
    return loss + twice.tolerated(loss)


def _twice(reading: measures.Reading) -> float:
    return MARGINS * reading.margin if reading.measure.is_of_errors else min(MARGINS * reading.margin, 1.0)

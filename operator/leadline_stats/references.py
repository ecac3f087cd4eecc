"""Fix the limit that a revision is held against for life: a floor that somebody set, or one made of outcomes.

An estimate is not the truth: used as if it were exact, one from 100 outcomes condemns every eighth good model. So the
limit is also below a confidence bound of the true value, which takes half of the budget. `limits` watches outcomes
against a reference; `pairs` needs none, and is to be preferred where it can be had.

Must not change a reference after outcomes were held against it.
"""

import enum
from dataclasses import dataclass
from typing import Final

from scipy import stats

from leadline_stats import betting, checks, intervals

LEAST_OUTCOMES: Final = 500
"""Outcomes that an estimate needs. With fewer the bound is so low that a drop of 10 points is found late or never."""


class Kind(enum.StrEnum):
    """Where a reference comes from."""

    FLOOR = "Floor"
    ESTIMATE = "Estimate"


@dataclass(frozen=True, slots=True)
class Reference:
    """A frozen limit; made by `floor`, `of_losses`, `of_answers` or `of_scores`."""

    kind: Kind
    value: float
    """The floor, or the mean score that was estimated, in [0, 1]."""
    limit: float
    """The smallest mean score that is tolerated, in [1e-4, 1 - 1e-4]."""
    outcomes: int
    """Outcomes that the estimate is made of; 0 for a floor."""
    alpha: float
    """Level that is left for the monitor, in (0, 1)."""

    @property
    def tolerated_loss(self) -> float:
        """Mean loss that is tolerated: the limit of the monitor."""
        return 1 - self.limit


def floor(value: float, *, alpha: float) -> Reference:
    """Return the reference for a floor: it is known, so all of alpha is left for the monitor.

    Args:
        value: Smallest tolerated mean score, in [1e-4, 1 - 1e-4].
        alpha: Share of the fixed limit, in (0, 1).

    Raises:
        ValueError: The floor tolerates everything, or no more than 1 wrong in 10,000; or alpha is out of range.
    """
    level = checks.level("alpha", alpha)
    value = checks.within("floor", value, betting.LEAST_LIMIT, 1 - betting.LEAST_LIMIT)
    return Reference(kind=Kind.FLOOR, value=value, limit=value, outcomes=0, alpha=level)


def of_answers(right: int, outcomes: int, *, margin: float, alpha: float) -> Reference:
    """Return the reference estimated from answers that were right or wrong.

    The limit is min(estimate - margin, the exact lower bound of Clopper and Pearson at alpha / 2). The true accuracy is
    below that bound with probability at most alpha / 2, and while it is not, a monitor at the other alpha / 2 is ever
    wrong with at most that: together alpha, by the union bound, whatever comes after.

    Args:
        right: Right answers.
        outcomes: All of them, at least 500; how many must not depend on what they showed.
        margin: Tolerated loss of accuracy, in [0, 1).
        alpha: Share of the fixed limit, in (0, 1).

    Raises:
        ValueError: There are too few outcomes, or nothing is left that could be lost or tolerated.
    """
    right, outcomes = checks.count("right", right), _enough(outcomes)
    if right > outcomes:
        raise ValueError(f"right: expected at most {outcomes} of {outcomes} outcomes, got {right}")
    risk = checks.level("alpha", alpha) / 2
    bound = float(stats.beta.ppf(risk, right, outcomes - right + 1)) if right else 0.0
    return _estimate(right / outcomes, bound, margin, outcomes, risk)


def of_scores(scores: intervals.Summary, *, margin: float, alpha: float) -> Reference:
    """Return the reference estimated from scores in [0, 1].

    As `of_answers`, with the betting bound of `intervals` (Ville's inequality) instead of the exact one: it assumes no
    distribution, and is narrow where scores hardly differ.

    Args:
        scores: Of at least 500 outcomes.
        margin: Tolerated loss of the mean score, in [0, 1).
        alpha: Share of the fixed limit, in (0, 1).

    Raises:
        ValueError: There are too few outcomes, or nothing is left that could be lost or tolerated.
    """
    outcomes = _enough(scores.outcomes)
    risk = checks.level("alpha", alpha) / 2
    return _estimate(scores.mean or 0.0, intervals.lower_bound(scores, risk), margin, outcomes, risk)


def of_losses(losses: intervals.Summary, *, margin: float, alpha: float, graded: bool) -> Reference:
    """Return the reference estimated from losses: by `of_answers` where all are right or wrong, else by `of_scores`.

    Args:
        losses: Of at least 500 outcomes. One of several rows, some of them right, is neither right nor wrong.
        margin: Tolerated growth of the mean loss, in [0, 1).
        alpha: Share of the fixed limit, in (0, 1).
        graded: Whether they are of scores, which may be 0 or 1 by chance.

    Raises:
        ValueError: As those do.
    """
    scores = intervals.flipped(losses)
    if graded or any(scores.weights[1:-1]):
        return of_scores(scores, margin=margin, alpha=alpha)
    right = round(scores.weights[-1])  # bits are on the grid: the last point counts the right ones
    return of_answers(right, scores.outcomes, margin=margin, alpha=alpha)


def _estimate(estimate: float, bound: float, margin: float, outcomes: int, level: float) -> Reference:
    limit = min(estimate - checks.within("margin", margin, 0.0, 1.0), bound)
    if not betting.LEAST_LIMIT <= limit <= 1 - betting.LEAST_LIMIT:
        raise ValueError(
            f"reference: expected a limit of {betting.LEAST_LIMIT:g} to {1 - betting.LEAST_LIMIT:g}, got"
            f" {max(limit, 0):g} of the estimate {estimate:g} and the margin {margin:g}; choose another margin"
        )
    return Reference(kind=Kind.ESTIMATE, value=estimate, limit=limit, outcomes=outcomes, alpha=level)


def _enough(outcomes: int) -> int:
    number = checks.count("outcomes", outcomes)
    if number < LEAST_OUTCOMES:
        raise ValueError(f"outcomes: expected {LEAST_OUTCOMES} or more for a reference, got {number}")
    return number

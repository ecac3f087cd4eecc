"""Say how long a drop would stay unnoticed, so that a set-up that cannot detect says so before it is relied on.

The logarithm of the evidence is taken for a Brownian motion that drifts and spreads as the bets do on the outcomes that
are to be expected; the median of its first passage over log(1 / alpha) is a formula (Bachelier and Levy). Simulated
medians are met within 15 % (tests/property/stats), which is all that "about 22 days" says. A drop counts from the first
outcome of a revision on, or after a number of good ones: then only what the restarts put on new bets is there to win.

Must not be used to decide anything.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from leadline_stats import betting, checks, pairs

FloatArray = npt.NDArray[np.float64]

CHURN: Final = 0.02
"""Share of inputs that one revision gets right and the other wrong where neither is better, one way."""
_MOST_OUTCOMES: Final = 10_000_000
"""What would take longer counts as never."""
_OLD_BLOCKS: Final = 2_000
"""Restarts that may still matter when a drop begins; bets of older ones have lost all."""
_LATER_BLOCKS: Final = 400
"""Restarts after the drop that add to the evidence."""
_OVERSHOOT: Final = 0.583
"""How far beyond a barrier a walk lands on average, in standard deviations of a step (Siegmund, 1979)."""
_SIZES: Final = np.array(betting.BETS)


@dataclass(frozen=True, slots=True)
class Detectable:
    """How long a drop of the mean score takes until it is found: half of them sooner, half later."""

    drop: float
    """As a share: 0.05 for 5 points."""
    reference: float
    """Mean score before the drop."""
    per_day: float
    """Outcomes, or pairs, a day."""
    outcomes: int | None
    """Median number of outcomes from the drop to the decision; None: the drop is tolerated, or hardly above it."""

    @property
    def days(self) -> float | None:
        """Median time; None: never."""
        return self.outcomes / self.per_day if self.outcomes is not None and self.per_day > 0 else None

    @property
    def short(self) -> str:
        """E.g. `5 points in about 3 days`."""
        when = "never" if self.days is None else f"in {_span(self.days)}"
        return f"{_points(self.drop)} point{'' if _points(self.drop) == '1' else 's'} {when}"

    @property
    def words(self) -> str:
        """E.g. `at 40 outcomes/day a 5-point drop from 0.950 takes about 22 days`."""
        drop = f"a {_points(self.drop)}-point drop from {self.reference:.3f}"
        if self.outcomes is None:
            return f"{drop} is tolerated"
        if self.days is None:
            return f"without outcomes {drop} is never found"
        often = f"{self.per_day:,.0f}" if self.per_day >= 10 else f"{self.per_day:.2g}"
        return f"at {often} outcomes/day {drop} takes {_span(self.days)}"


def detectable(
    drop: float,
    *,
    reference: float,
    margin: float,
    alpha: float,
    per_day: float,
    limit: float | None = None,
    after: int = 0,
) -> Detectable:
    """Return how long a drop takes to be found against a fixed limit.

    Args:
        drop: Of the accuracy, above 0 and at most the reference.
        reference: Accuracy before the drop, in (0, 1).
        margin: Tolerated loss, in [0, 1).
        alpha: Level of the monitor, in (0, 1).
        per_day: Outcomes a day, 0 or more.
        limit: Smallest tolerated accuracy where it is not reference - margin: of a floor, or of a `Reference`.
        after: Good outcomes before the drop.

    Raises:
        ValueError: A number is out of range.
    """
    _check(drop, reference, per_day)
    tolerated = 1 - (reference - checks.within("margin", margin, 0.0, 1.0) if limit is None else limit)
    wrong = 1 - reference
    outcomes = _median(
        values=np.array([0.0, 1.0]),
        before=np.array([1 - wrong, wrong]),
        since=np.array([1 - wrong - drop, wrong + drop]),
        limit=checks.within("limit", tolerated, betting.LEAST_LIMIT, 1.0),
        alpha=checks.level("alpha", alpha),
        after=checks.count("after", after),
    )
    return Detectable(drop=drop, reference=reference, per_day=per_day, outcomes=outcomes)


def detectable_in_pairs(
    drop: float,
    *,
    reference: float,
    margin: float,
    alpha: float,
    per_day: float,
    churn: float = CHURN,
    after: int = 0,
) -> Detectable:
    """Return how long a drop takes to be found by the comparison on the same inputs.

    Args:
        drop: Of the accuracy below the other revision's, above 0 and at most the reference.
        reference: Accuracy of the other revision, in (0, 1); for the words, the evidence does not depend on it.
        margin: Tolerated loss, in [0, 0.9998].
        alpha: Level of the comparison, in (0, 1).
        per_day: Pairs a day, 0 or more.
        churn: Share of inputs that only the new one gets right; it gets churn + drop wrong that the other has right.
        after: Good pairs before the drop.

    Raises:
        ValueError: A number is out of range.
    """
    _check(drop, reference, per_day)
    churn = checks.within("churn", churn, 0.0, (1 - drop) / 2)
    outcomes = _median(
        values=np.array([0.0, 0.5, 1.0]),
        before=np.array([churn, 1 - 2 * churn, churn]),
        since=np.array([churn, 1 - 2 * churn - drop, churn + drop]),
        limit=pairs.tolerated_loss(margin),
        alpha=checks.level("alpha", alpha),
        after=checks.count("after", after),
    )
    return Detectable(drop=drop, reference=reference, per_day=per_day, outcomes=outcomes)


def _median(
    *, values: FloatArray, before: FloatArray, since: FloatArray, limit: float, alpha: float, after: int
) -> int | None:
    """Return the median number of outcomes from the drop to the decision.

    Args:
        values: Shape (k,), the losses that there are.
        before: Shape (k,), their probabilities before the drop.
        since: Shape (k,), their probabilities since.
        limit: Tolerated mean loss.
        alpha: Level.
        after: Outcomes before the drop.
    """
    if float(values @ since) <= limit:
        return None
    logs = np.log1p(_SIZES[:, np.newaxis] * (values / limit - 1))
    growth = logs @ since
    masses = _masses(logs @ before, growth, after)

    def found(number: float) -> float:
        """Probability that a decision has come by this outcome."""
        wealth = np.log(masses) + growth * number
        total = float(special.logsumexp(wealth))
        # What the money as a whole does per outcome, near the path that is to be expected.
        weights = np.exp(wealth - total)
        drift = float(weights @ growth)
        spread = math.sqrt(max(0.0, float((weights @ logs) ** 2 @ since) - drift**2))
        if spread < 1e-9:
            return float(total >= -math.log(alpha))
        barrier = _OVERSHOOT * spread - math.log(alpha) - (total - number * drift)
        scale = spread * math.sqrt(number)
        reflected = 2 * barrier * drift / spread**2 + float(special.log_ndtr((-barrier - drift * number) / scale))
        return float(special.ndtr((drift * number - barrier) / scale)) + math.exp(min(reflected, 0.0))

    low, high = 1, _MOST_OUTCOMES
    if found(high) < 0.5:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= 0.5 else (middle + 1, high)
    return low


def _masses(decline: FloatArray, growth: FloatArray, after: int) -> FloatArray:
    """Return the money in each bet when the drop begins, with what later restarts add, discounted to that moment.

    Args:
        decline: Shape (bets,), expected log factor of each bet on a good outcome.
        growth: Shape (bets,), the same after the drop.
        after: Good outcomes before the drop.
    """
    blocks = after // betting.BLOCK
    first = max(0, blocks - _OLD_BLOCKS)
    masses = np.full(len(_SIZES), betting.FROM_THE_START / len(_SIZES)) if first == 0 else np.zeros(len(_SIZES))
    reserve = betting.reserve_after(first)
    for number in range(first + 1, blocks + 1):
        reserve, added = betting.restart(reserve, number)
        masses = masses * np.exp(betting.BLOCK * decline) + added
    masses = masses * np.exp((after % betting.BLOCK) * decline)
    for later in range(1, _LATER_BLOCKS + 1):
        reserve, added = betting.restart(reserve, blocks + later)
        masses = masses + np.where(growth > 0, added * np.exp(-betting.BLOCK * later * np.maximum(growth, 0)), 0.0)
    return masses


def _check(drop: float, reference: float, per_day: float) -> None:
    checks.level("reference", reference)
    if not 0 < drop <= reference:
        raise ValueError(f"drop: expected above 0 and at most the reference ({reference:g}), got {drop:g}")
    checks.within("outcomes per day", per_day, 0.0, math.inf)


def _points(drop: float) -> str:
    return f"{100 * drop:.3g}"


def _span(days: float) -> str:
    """Return a time with as many digits as the approximation is good for."""
    if days > 3_650:
        return "more than 10 years"
    for name, length in (("year", 365.0), ("month", 30.0), ("day", 1.0), ("hour", 1 / 24)):
        if days >= 1.5 * length:
            return f"about {days / length:.2g} {name}s"
    minutes = max(1, round(days * 1_440))
    return f"about {minutes} minute{'' if minutes == 1 else 's'}"

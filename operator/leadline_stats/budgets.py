"""Divide the probability of ever rolling back a good revision between the tests that may do so.

Whatever is spent is spent for a revision's whole life: the parts of all tests, of all metrics and of all retries add up
to no more than the whole. `references`, `pairs` and `test_sets` are given their part as alpha.

Must not know what a test does.
"""

import math
from typing import Final, NamedTuple

from leadline_stats import checks

SERVICE_SIGNALS: Final = 0.01
"""Probability for error rate and latency together: their own, beside that of the metrics."""
PROMOTION: Final = 0.05
"""Level of the mirrored engine, which shows that a revision is within the margin. A mistake there rolls nothing back."""


class Shares(NamedTuple):
    """How the probability of a false rollback is divided; the three add up to the whole."""

    test_set: float
    """For the one-look test at admission."""
    comparison: float
    """For the comparison on the same inputs while serving."""
    fixed_limit: float
    """For a limit of its own, an estimated reference included."""

    @property
    def reference(self) -> float:
        """What an estimated reference takes of `fixed_limit`: half. The other half is the level of its monitor."""
        return self.fixed_limit / 2


def shares(false_rollback_probability: float, *, metrics: int = 1) -> Shares:
    """Return the parts of each metric: test set .2, comparison .4, fixed limit .4 of an equal share of the whole.

    Another split hardly moves a delay, which grows with the logarithm of 1 / alpha.

    Args:
        false_rollback_probability: Of ever rolling back a good revision, in (0, 0.5]; .01 where nobody says.
        metrics: Number of metrics that may roll back.

    Raises:
        ValueError: The probability is not in (0, 0.5], or there is no metric.
    """
    whole = float(false_rollback_probability)
    if not 0 < whole <= 0.5:
        raise ValueError(f"false rollback probability: expected above 0 and at most 0.5, got {whole:g}")
    if checks.count("metrics", metrics) < 1:
        raise ValueError(f"metrics: expected 1 or more, got {metrics}")
    each = whole / metrics
    return Shares(test_set=0.2 * each, comparison=0.4 * each, fixed_limit=0.4 * each)


def retest_alpha(alpha: float, retry: int) -> float:
    """Return the level of the retry-th retry of a rejected revision, or of the retry-th verification on decay.

    alpha x 6 / (pi^2 retry^2): all of them together spend alpha, for the squares' reciprocals sum to pi^2 / 6 (Euler).

    Raises:
        ValueError: alpha is not in (0, 1), or retry is below 1.
    """
    level = checks.level("alpha", alpha)
    if checks.count("retry", retry) < 1:
        raise ValueError(f"retry: expected 1 or more, got {retry}")
    return level * 6 / (math.pi**2 * retry**2)

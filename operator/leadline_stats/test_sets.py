"""Judge the answers that a revision gave to a test set.

A deterministic model gives the same answers each time, so a test set of N rows is N observations per revision, once:
`test_set_pvalue` is asked one time, at admission, and later replays are compared with the revision's own answers by
`replay_is_worse`, where no sampling noise is left. The reconciler turns the numbers into a verdict.

Must not know of revisions, pods or time, and must not remember anything between calls.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from leadline_stats import checks

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CHURN_RISK: Final = 5e-4
"""Probability, no unit: the true churn lies outside of the interval that is searched (Berger and Boos). It is added to
the p-value, which therefore never falls below it."""
_GRID_POINTS: Final = 25
"""Churn values searched for the largest p-value; more move it by under 1 %."""
_TAIL: Final = 1e-15
"""Mass on either side of a binomial that is left out; below the rounding of the rest."""
_TIE: Final = 1e-9
"""Statistics closer than this are equal: rounding must not drop the observed cell from its own tail."""


class Flips(NamedTuple):
    """Rows on which two sets of answers differ in being right."""

    breaks: int
    """Right in the reference, wrong now."""
    fixes: int
    """Wrong in the reference, right now."""


def test_set_pvalue(
    breaks: int,
    fixes: int,
    rows: int,
    margin: float,
    *,
    churn_risk: float = CHURN_RISK,  # noqa: PT028 - this judges a test set; it is no test
) -> float:
    """Return the p-value of "the candidate is worse than the reference by no more than the margin".

    Margin 0 is McNemar's exact test. Above 0 it is the largest trinomial probability of a statistic at least as large as
    seen, over the churn values that the seen churn leaves plausible.

    Args:
        breaks: Rows that the reference has right and the candidate wrong.
        fixes: Rows that the reference has wrong and the candidate right.
        rows: Rows of the test set.
        margin: Tolerated loss of accuracy, in [0, 1].
        churn_risk: Part of the level given up so that not every churn has to be searched; see `churn_risk_for`.

    Returns:
        A probability. Used once against a level alpha, it falls to alpha or below for a candidate within the margin
        with probability at most alpha, whatever share of its answers differs.

    Raises:
        ValueError: A count is negative, breaks and fixes exceed the rows, or margin or churn_risk is out of range.
    """
    breaks, fixes, rows = checks.count("breaks", breaks), checks.count("fixes", fixes), _rows(rows)
    if breaks + fixes > rows:
        raise ValueError(f"breaks + fixes: expected at most rows ({rows}), got {breaks} + {fixes}")
    margin = checks.within("margin", margin, 0.0, 1.0)
    churn_risk = checks.within("churn_risk", churn_risk, 1e-12, 0.5)
    if margin == 0:
        if breaks + fixes == 0:
            return 1.0
        return float(stats.binomtest(breaks, breaks + fixes, 0.5, alternative="greater").pvalue)
    seen = _statistic(np.array([breaks]), np.array([breaks + fixes]), rows, margin)[0]
    low, high = _clopper_pearson(breaks + fixes, rows, churn_risk)
    churns = np.linspace(max(low, margin), max(high, margin), _GRID_POINTS)
    return min(1.0, _largest_tail(churns, seen, rows, margin) + churn_risk)


def churn_risk_for(alpha: float) -> float:
    """Return the churn risk to use against the level alpha: a quarter of it, and never above `CHURN_RISK`.

    With the fixed risk a test at a level below it could never find anything.

    Raises:
        ValueError: alpha is not in (0, 1).
    """
    return max(1e-12, min(CHURN_RISK, checks.level("alpha", alpha) / 4))


def accuracy_interval(right: int, rows: int, alpha: float = 0.02) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) interval of the accuracy on inputs like the test set's.

    Args:
        right: Rows with a right answer.
        rows: Rows of the test set.
        alpha: Probability, at most, that the accuracy lies outside.

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: More rows are right than there are, a count is negative, or alpha is not in (0, 1).
    """
    rows, right = _rows(rows), _right("right", right, rows)
    return _clopper_pearson(right, rows, checks.level("alpha", alpha))


def replay_is_worse(right_at_admission: int, right_now: int, rows: int, margin: float) -> bool:
    """Tell whether a replay lost more than the margin against the revision's own answers at admission.

    The same rows, the same model: there is no sampling noise, so this is a comparison and not a test.

    Raises:
        ValueError: A count is negative or exceeds the rows, or the margin is not in [0, 1].
    """
    rows = _rows(rows)
    lost = _right("right_at_admission", right_at_admission, rows) - _right("right_now", right_now, rows)
    return lost > rows * (checks.within("margin", margin, 0.0, 1.0) + _TIE)


def count_right(bitmap: bytes, rows: int) -> int:
    """Return how many rows of a bitmap (`numpy.packbits` of right and wrong) are right.

    Raises:
        ValueError: The bitmap does not hold that many rows.
    """
    return _bits("bitmap", bitmap, _rows(rows)).bit_count()


def breaks_and_fixes(reference_bitmap: bytes, bitmap: bytes, rows: int) -> Flips:
    """Compare two bitmaps (`numpy.packbits` of right and wrong, row 0 in the highest bit of byte 0) row by row.

    Raises:
        ValueError: A bitmap does not hold that many rows.
    """
    rows = _rows(rows)
    reference, now = _bits("reference_bitmap", reference_bitmap, rows), _bits("bitmap", bitmap, rows)
    return Flips(breaks=(reference & ~now).bit_count(), fixes=(now & ~reference).bit_count())


def _statistic(breaks: IntArray, churned: IntArray, rows: int, margin: float) -> FloatArray:
    """Return the standardised loss beyond the margin, for each cell of `breaks` out of `churned` rows that differ.

    Given `churned`, it rises with `breaks`: with s = breaks - fixes the sign of its slope is that of
    churned + 1 - margin * s, and s <= churned. So each tail is an interval.
    """
    lost = (2 * breaks - churned).astype(np.float64)
    return (lost - rows * margin) / np.sqrt(np.maximum(churned + 1 - lost**2 / rows, 1e-9))


def _fewest_breaks(churned: IntArray, seen: float, rows: int, margin: float) -> IntArray:
    """Return for each number of differing rows the fewest breaks with a statistic of at least `seen`.

    One more than `churned` where no number of breaks is enough.
    """
    low, high = np.zeros_like(churned), churned + 1
    for _ in range(int(churned.max()).bit_length() + 1):
        middle = (low + high) // 2
        enough = _statistic(middle, churned, rows, margin) >= seen - _TIE
        open_ = low < high
        high = np.where(open_ & enough, middle, high)
        low = np.where(open_ & ~enough, middle + 1, low)
    return low


def _largest_tail(churns: FloatArray, seen: float, rows: int, margin: float) -> float:
    """Return the largest trinomial probability, over the churns, of a statistic of at least `seen`.

    At the border of the null hypothesis breaks - fixes is the margin, so the churn fixes both. The trinomial is the
    binomial number of differing rows times the binomial tail of breaks given it, and only those numbers of differing
    rows are visited that have mass: a few thousand of the two billion cells of 65,536 rows.

    Args:
        churns: Shape (n,), rising, each in [margin, 1] and above 0: probability that a row differs.
        seen: The statistic.
        rows: Rows of the test set.
        margin: Tolerated loss of accuracy, in (0, 1].
    """
    first, last = int(stats.binom.ppf(_TAIL, rows, churns[0])), int(stats.binom.isf(_TAIL, rows, churns[-1]))
    churned = np.arange(first, last + 1, dtype=np.int64)
    fewest = _fewest_breaks(churned, seen, rows, margin)
    churn = churns[:, np.newaxis]
    # P(breaks >= fewest) is an incomplete beta; where fewest is 0 or above churned it is 1 or 0, which the function
    # leaves undefined.
    given = special.betainc(
        np.maximum(fewest, 1), np.maximum(churned - fewest + 1, 1), np.minimum((churn + margin) / (2 * churn), 1.0)
    )
    given = np.where(fewest > churned, 0.0, np.where(fewest <= 0, 1.0, given))
    return float((stats.binom.pmf(churned, rows, churn) * given).sum(axis=1).max())


def _clopper_pearson(hits: int, rows: int, alpha: float) -> tuple[float, float]:
    low = float(special.betaincinv(hits, rows - hits + 1, alpha / 2)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, rows - hits, 1 - alpha / 2)) if hits < rows else 1.0
    return low, high


def _bits(name: str, bitmap: bytes, rows: int) -> int:
    expected = -(-rows // 8)
    if len(bitmap) != expected:
        raise ValueError(f"{name}: expected {expected} bytes for {rows} rows, got {len(bitmap)}")
    return int.from_bytes(bitmap, "big") >> (8 * expected - rows)


def _rows(value: int) -> int:
    rows = checks.count("rows", value)
    if rows == 0:
        raise ValueError("rows: expected 1 or more, got 0")
    return rows


def _right(name: str, value: int, rows: int) -> int:
    right = checks.count(name, value)
    if right > rows:
        raise ValueError(f"{name}: expected at most rows ({rows}), got {right}")
    return right

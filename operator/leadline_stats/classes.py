"""Losses of a classifier by the measure that is asked for: accuracy, precision, recall or F1 of one class.

Each is a share of right answers among the rows that it is about: all of them; those where the class was predicted; those
where it is true; those where it is either. So the losses of these rows are bits, and whatever holds for accuracy holds for
them: `references` fixes a limit, `limits` watches it, `betting` weighs. Other rows say nothing of the measure and are left out.

Must not know which class is meant, or where rows come from.
"""

import enum
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import checks

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Measure(enum.StrEnum):
    """What is measured; the values are those of `spec.quality.metrics[].metric`."""

    ACCURACY = "accuracy"
    """Share of right answers, of all rows; for more than two classes as well."""
    PRECISION = "precision"
    """Share of right answers where the class was predicted."""
    RECALL = "recall"
    """Share of right answers where the class is true."""
    F1 = "f1"
    """2 TP / (2 TP + FP + FN): the harmonic mean of both."""


_COUNTED: Final = {
    Measure.ACCURACY: lambda predicted, true: np.ones_like(predicted | true),
    Measure.PRECISION: lambda predicted, true: predicted,  # noqa: ARG005  # one signature for all
    Measure.RECALL: lambda predicted, true: true,  # noqa: ARG005  # as above
    Measure.F1: lambda predicted, true: predicted | true,
}


def counted(
    measure: Measure, predicted: npt.ArrayLike, true: npt.ArrayLike, failed: npt.ArrayLike | None = None
) -> BoolArray:
    """Return which rows the measure is about.

    Args:
        measure: What is measured.
        predicted: Shape (n,), whether the class was predicted. Not looked at where the revision failed.
        true: Shape (n,), whether it is the class.
        failed: Shape (n,), whether the revision was reached and gave no usable answer: such a row counts for each measure.

    Raises:
        ValueError: The lengths differ.
    """
    answers, truths, lost = _columns(predicted, true, failed)
    return np.asarray(_COUNTED[measure](answers & ~lost, truths) | lost, dtype=np.bool_)


def losses(
    measure: Measure, predicted: npt.ArrayLike, true: npt.ArrayLike, failed: npt.ArrayLike | None = None
) -> FloatArray:
    """Return the losses of the rows that are counted, in their order: 1 where the answer is wrong, or there is none.

    Args:
        measure: What is measured.
        predicted: As `counted` takes it.
        true: As `counted` takes it.
        failed: As `counted` takes it.

    Returns:
        Shape (m,), 0 or 1, m at most n.

    Raises:
        ValueError: The lengths differ.
    """
    answers, truths, lost = _columns(predicted, true, failed)
    wrong = (answers != truths) | lost
    return np.asarray(wrong[counted(measure, answers, truths, lost)], dtype=np.float64)


def share_of(measure: Measure, score: float) -> float:
    """Return the share of right answers among the counted rows at which the measure has a score.

    For F1, with J = TP / (TP + FP + FN), F1 = 2 J / (1 + J): so F1 is at least f exactly where J is at least f / (2 - f).
    The others are shares themselves.

    Raises:
        ValueError: The score is not in [0, 1].
    """
    value = checks.within("score", score, 0.0, 1.0)
    return value / (2 - value) if measure is Measure.F1 else value


def score_of(measure: Measure, share: float) -> float:
    """Return the measure's score at a share of right answers among the counted rows; the inverse of `share_of`.

    Raises:
        ValueError: The share is not in [0, 1].
    """
    value = checks.within("share", share, 0.0, 1.0)
    return 2 * value / (1 + value) if measure is Measure.F1 else value


def margin_of_share(measure: Measure, share: float, margin: float) -> float:
    """Return how much of the share may be lost where the measure may lose `margin`, for `references` and `limits`.

    Args:
        measure: What is measured.
        share: Where it is now, in [0, 1].
        margin: Tolerated loss of the measure's score, in [0, 1].

    Raises:
        ValueError: A number is out of range.
    """
    score = score_of(measure, share) - checks.within("margin", margin, 0.0, 1.0)
    return share - share_of(measure, max(score, 0.0))


def _columns(
    predicted: npt.ArrayLike, true: npt.ArrayLike, failed: npt.ArrayLike | None
) -> tuple[BoolArray, BoolArray, BoolArray]:
    answers = np.asarray(predicted, dtype=np.bool_)
    truths = np.asarray(true, dtype=np.bool_)
    lost = np.zeros_like(answers) if failed is None else np.asarray(failed, dtype=np.bool_)
    for name, column in (("true", truths), ("failed", lost)):
        if column.shape != answers.shape or column.ndim != 1:
            raise ValueError(f"{name}: expected shape {list(answers.shape)} like predicted, got {list(column.shape)}")
    return answers, truths, lost

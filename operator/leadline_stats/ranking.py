"""Losses of scores that should put one class above another: the area under the ROC curve.

The area is the probability that a random positive gets a higher score than a random negative, ties counted half (Hanley
and McNeil, 1982). So each positive is held against negatives that no other was held against: its loss is the share of
them that it does not outrank, whose mean is 1 - AUC whatever their number. Rows are used once, in the order in which they
come, and which are put together does not depend on their scores; so the losses are as good for `betting` as any, and the
cut of the stream into fetches changes nothing.

Must not use a row twice: the same row in two comparisons is no second observation.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import checks

FloatArray = npt.NDArray[np.float64]

NEGATIVES_MAX: Final = 10
"""Negatives that one positive is held against: more make its loss hardly steadier."""
WAITING_MAX: Final = 1_000
"""Rows of a class that wait for the other one; the oldest are forgotten beyond."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that have not been compared yet, oldest first; `EMPTY` to begin with, `fold` to add. One of both is empty."""

    positives: tuple[tuple[float, ...], ...]
    """Scores of each row, one per revision."""
    negatives: tuple[tuple[float, ...], ...]


EMPTY: Final = Waiting(positives=(), negatives=())
"""No row waits."""


def fold(waiting: Waiting, scores: npt.ArrayLike, true: npt.ArrayLike) -> tuple[Waiting, FloatArray, list[int]]:
    """Return the rows that wait now, the losses of the positives that could be compared, and when.

    Args:
        waiting: What came before, for as many revisions.
        scores: Shape (n, revisions), of the same rows; (n,) for one revision. Where one failed, -inf for a positive and
            inf for a negative, so that it outranks nothing and is outranked by nothing.
        true: Shape (n,), whether the row is a positive.

    Returns:
        What waits; the losses: shape (m, revisions), each in [0, 1], in the order in which positives were compared; and of
        each the row with which it could be.

    Raises:
        ValueError: The lengths differ, or a score is NaN.
    """
    columns = np.asarray(scores, dtype=np.float64)
    columns = columns[:, np.newaxis] if columns.ndim == 1 else columns
    truths = np.asarray(true, dtype=np.bool_)
    if columns.ndim != 2 or truths.shape != columns.shape[:1]:
        raise ValueError(f"true: expected shape [{len(columns)}] like scores, got {list(truths.shape)}")
    if np.isnan(columns).any():
        raise ValueError(f"scores[{int(np.isnan(columns).any(axis=1).argmax())}]: expected a number, got nan")
    positives, negatives = deque(waiting.positives, WAITING_MAX), deque(waiting.negatives, WAITING_MAX)
    found: list[list[float]] = []
    places: list[int] = []
    for place, (row, is_positive) in enumerate(zip(map(tuple, columns.tolist()), truths.tolist(), strict=True)):
        (positives if is_positive else negatives).append(row)
        if positives and negatives:
            others = [negatives.popleft() for _ in range(min(NEGATIVES_MAX, len(negatives)))]
            found.append(_losses(positives.popleft(), others))
            places.append(place)
    shape = (len(found), columns.shape[1])
    return Waiting(tuple(positives), tuple(negatives)), np.array(found, dtype=np.float64).reshape(shape), places


def to_plain(waiting: Waiting) -> dict[str, object]:
    """Return what `from_plain` makes the same of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "positives": [[score.hex() for score in row] for row in waiting.positives],
        "negatives": [[score.hex() for score in row] for row in waiting.negatives],
    }


def from_plain(record: Mapping[str, object]) -> Waiting:
    """Return what `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the rows again.
    """
    checks.version(record, _VERSION)
    waiting = Waiting(_rows(record, "positives"), _rows(record, "negatives"))
    if waiting.positives and waiting.negatives:
        raise ValueError("negatives: expected none where positives wait")
    return waiting


def _losses(positive: tuple[float, ...], negatives: list[tuple[float, ...]]) -> list[float]:
    """Return for each revision the share of negatives that a positive does not outrank, ties half."""
    return [
        sum(0.0 if score > other[place] else 0.5 if score == other[place] else 1.0 for other in negatives)
        / len(negatives)
        for place, score in enumerate(positive)
    ]


def _rows(record: Mapping[str, object], name: str) -> tuple[tuple[float, ...], ...]:
    stored = checks.field(record, name, list)
    assert isinstance(stored, list)
    if len(stored) > WAITING_MAX:
        raise ValueError(f"{name}: expected at most {WAITING_MAX} rows, got {len(stored)}")
    try:
        rows = tuple(tuple(float.fromhex(score) for score in row) for row in stored)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: expected rows of hexadecimal floats") from None
    if len({len(row) for row in rows}) > 1 or any(math.isnan(score) for row in rows for score in row):
        raise ValueError(f"{name}: expected as many scores in each row, and no nan")
    return rows

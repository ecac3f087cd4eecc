"""Compare the converted model's answers with the original's, row by row.

A label may differ only where the original is itself undecided: its two best scores are as good as equal, and either
answer is its answer. Scores and values may differ by rounding only. Next step: `packaging` refuses what is not equal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_cli.trained import Answers

Bools = npt.NDArray[np.bool_]

TOLERANCE: Final = 1e-4
"""Difference of two scores that counts as rounding, per unit of the larger one where that is above 1: 32-bit arithmetic
over thousands of terms stays below it, and a wrong conversion does not. Of values, the same per standard deviation."""
_VALUE_TOLERANCE: Final = 1e-5
"""The same of values, per unit of the value: a hundred roundings of 32 bits."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the answers of two models differ."""

    rows: int
    different: tuple[int, ...]
    """Rows whose label differs although the original was decided."""
    ties: tuple[int, ...]
    """Rows whose label differs where the original was undecided."""
    scores_off: tuple[int, ...]
    """Rows with a score or value that differs by more than rounding, undecided ones left out."""
    largest_difference: float
    """Between two scores or values, 0 where there are none; no unit."""
    scores_name: str = "scores"
    only_missing: bool = False
    """All rows that differ have missing numbers, and others do not differ."""

    @property
    def equal(self) -> int:
        """Return the number of rows that both models answer alike."""
        return self.rows - len({*self.different, *self.ties, *self.scores_off})

    def trouble(self) -> str | None:
        """Return why the conversion cannot be used; None where it can."""
        if not (self.different or self.scores_off):
            return None
        if self.only_missing:
            todo = (
                "every one of them has missing numbers (NaN), which the converted model sends another way: fill them "
                "before training, e.g. with sklearn.impute.SimpleImputer"
            )
        elif self.different:
            todo = "the runtime computes in 32 bits: train on numpy.float32 values, and scale large numbers before training"
        else:
            todo = "train on numpy.float32 values, and scale large numbers before training"
        if self.different:
            return (
                f"the converted model answers {len(self.different):,} of {self.rows:,} rows differently (first: row "
                f"{self.different[0]}); {todo}"
            )
        return (
            f"the converted model gives other {self.scores_name} on {len(self.scores_off):,} of {self.rows:,} rows (first: "
            f"row {self.scores_off[0]}; largest difference {self.largest_difference:.2g}, tolerance {TOLERANCE:g}"
            f"{' standard deviations' if self.scores_name == 'values' else ''}); {todo}"
        )


def compare(original: Answers, converted: Answers, *, missing: Bools | None = None) -> Comparison:
    """Compare two models' answers to the same rows.

    Args:
        original: What the model itself says.
        converted: What the converted model says.
        missing: Which rows have missing numbers, shape (n,); None: none has.
    """
    if original.labels is None or converted.labels is None:
        return _compare_values(original, converted, missing)
    differs = original.labels.astype(str) != converted.labels.astype(str)
    off: Bools = np.zeros(len(differs), dtype=bool)
    largest = 0.0
    if original.scores is not None and converted.scores is not None:
        if original.scores.shape == converted.scores.shape:
            distance = np.abs(original.scores - converted.scores)
            # A score that is no number is off, and NaN compares as false.
            off = ~np.all(distance <= TOLERANCE * np.maximum(1.0, np.abs(original.scores)), axis=1)
            largest = float(distance.max())
        else:
            off, largest = ~off, float("inf")
    undecided = _undecided(original.scores, len(differs))
    return Comparison(
        rows=len(differs),
        different=_places(differs & ~undecided),
        ties=_places(differs & undecided),
        scores_off=_places(off & ~undecided),
        largest_difference=largest,
        only_missing=_only(missing, (differs | off) & ~undecided),
    )


def _compare_values(original: Answers, converted: Answers, missing: Bools | None) -> Comparison:
    assert original.scores is not None
    assert converted.scores is not None
    said, again = original.scores[:, 0], converted.scores[:, 0]
    distance = np.abs(said - again)
    off = ~(distance <= TOLERANCE * float(np.std(said)) + _VALUE_TOLERANCE * np.abs(said))
    return Comparison(
        rows=len(said),
        different=(),
        ties=(),
        scores_off=_places(off),
        largest_difference=float(distance.max()),
        scores_name="values",
        only_missing=_only(missing, off),
    )


def _only(missing: Bools | None, wrong: Bools) -> bool:
    return missing is not None and bool(wrong.any() and not (wrong & ~missing).any())


def _undecided(scores: npt.NDArray[np.float64] | None, rows: int) -> Bools:
    if scores is None or scores.shape[1] < 2:
        return np.zeros(rows, dtype=bool)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    return np.asarray(first - second <= TOLERANCE * np.maximum(1.0, np.abs(first)))


def _places(found: Bools) -> tuple[int, ...]:
    return tuple(int(place) for place in np.flatnonzero(found))

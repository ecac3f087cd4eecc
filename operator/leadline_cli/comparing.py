"""Compare the converted model's answers with the original's, row by row.

A label may differ only where the original is itself undecided: its two best scores are as good as equal, and either
answer is its answer. Scores may differ by rounding only. Next step: `packaging` refuses what is not equal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_cli.conversion import Answers

TOLERANCE: Final = 1e-4
"""Difference of two scores that counts as rounding, per unit of the larger one where that is above 1: 32-bit arithmetic
over thousands of terms stays below it, and a wrong conversion does not."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the answers of two models differ."""

    rows: int
    different: tuple[int, ...]
    """Rows whose label differs although the original was decided."""
    ties: tuple[int, ...]
    """Rows whose label differs where the original was undecided."""
    scores_off: tuple[int, ...]
    """Rows with a score that differs by more than rounding, undecided ones left out."""
    largest_difference: float
    """Between two scores, 0 where there are none; no unit."""

    def trouble(self) -> str | None:
        """Return why the conversion cannot be used; None where it can."""
        if self.different:
            return (
                f"the converted model answers {len(self.different):,} of {self.rows:,} rows differently (first: row "
                f"{self.different[0]}); the runtime computes in 32 bits: train on numpy.float32 values, and scale "
                "large numbers before training"
            )
        if self.scores_off:
            return (
                f"the converted model gives other scores on {len(self.scores_off):,} of {self.rows:,} rows (first: row "
                f"{self.scores_off[0]}; largest difference {self.largest_difference:.2g}, tolerance {TOLERANCE:g}); "
                "train on numpy.float32 values, and scale large numbers before training"
            )
        return None


def compare(original: Answers, converted: Answers) -> Comparison:
    """Compare two models' answers to the same rows."""
    differs = original.labels.astype(str) != converted.labels.astype(str)
    off: npt.NDArray[np.bool_] = np.zeros(len(differs), dtype=bool)
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
    )


def _undecided(scores: npt.NDArray[np.float64] | None, rows: int) -> npt.NDArray[np.bool_]:
    if scores is None or scores.shape[1] < 2:
        return np.zeros(rows, dtype=bool)
    second, first = np.sort(scores, axis=1)[:, -2:].T
    return np.asarray(first - second <= TOLERANCE * np.maximum(1.0, np.abs(first)))


def _places(found: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(place) for place in np.flatnonzero(found))

"""Times as a table has them, in texts, as milliseconds since the epoch.

Must not know what happened at them.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_cli import errors

IntArray = npt.NDArray[np.int64]

_LATEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999."""
_UNITS: Final = ((1e11, 1_000.0, "seconds"), (1e14, 1.0, "milliseconds"), (1e17, 1e-3, "microseconds"))
"""Numbers below the first are of this unit, which has so many milliseconds; the first number of a file decides."""


class Times:
    """Reads times: ISO 8601, or numbers since the epoch whose unit the first one tells."""

    def __init__(self, path: Path, column: str) -> None:
        self.notes: list[str] = []
        self._path = path
        self._column = column
        self._per_unit = 0.0
        """Milliseconds of one; 0: not numbers."""
        self._begun = False

    def read(self, texts: Sequence[str], before: int) -> IntArray:
        """Return times in milliseconds.

        Args:
            texts: Of rows that follow one another.
            before: Rows before them.

        Raises:
            Refused: One is no time; the message gives its row.
        """
        if not self._begun:
            self._begin(texts[0].strip())
        one = self._number if self._per_unit else _iso
        found: list[int] = []
        try:
            found = [one(text) for text in texts]
        except (ValueError, OverflowError):
            for place, text in enumerate(texts):
                self._check(one, text, before + place + 1)
        return np.array(found, dtype=np.int64)

    def _begin(self, first: str) -> None:
        self._begun = True
        try:
            number = abs(float(first))
        except ValueError:
            if _is_naive(first):
                self.notes.append("times without a zone are read as UTC")
            return
        unit = next((each for each in _UNITS if number < each[0]), None)
        if unit is not None:
            self._per_unit = unit[1]
            self.notes.append(f"times are read as {unit[2]} since 1970")

    def _number(self, text: str) -> int:
        milliseconds = round(float(text) * self._per_unit)
        if not 0 <= milliseconds <= _LATEST_MS:
            raise ValueError("no time")
        return milliseconds

    def _check(self, one: Callable[[str], int], text: str, row: int) -> None:
        try:
            one(text)
        except (ValueError, OverflowError) as error:
            expected = (
                "a number as in the rows before"
                if self._per_unit
                else "ISO 8601, such as 2026-05-01T13:30:00Z, or a number of seconds or milliseconds since 1970"
            )
            raise errors.Refused(
                f"{self._path}: row {row:,}: column {self._column!r}: expected a time, {expected}; got {text[:60]!r}"
            ) from error


def _iso(text: str) -> int:
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    milliseconds = round(moment.timestamp() * 1000)
    if milliseconds < 0:
        raise ValueError("before 1970")
    return milliseconds


def _is_naive(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False

"""Values of a regression as a table has them, in texts.

An empty cell or NaN is no value: such a row is left out. Must not judge predictions.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from leadline_wire import predictions

from leadline_cli import errors

FloatArray = npt.NDArray[np.float64]


def read(path: Path, column: str, texts: Sequence[str], before: int) -> FloatArray:
    """Return values; NaN where there is none.

    Args:
        path: For messages.
        column: Its name.
        texts: Of rows that follow one another.
        before: Rows before them.

    Raises:
        Refused: One is no number; the message gives its row.
    """
    try:
        return np.array([float(text or "nan") for text in texts], dtype=np.float64)
    except ValueError:
        return np.array(
            [_number(path, column, text, before + place) for place, text in enumerate(texts, 1)], dtype=np.float64
        )


def word(value: float) -> str:
    """Return a prediction as the ledger has it: of an infinite one, that it is none."""
    return predictions.of_value(value) if math.isfinite(value) else predictions.failure("nan")


def _number(path: Path, column: str, text: str, row: int) -> float:
    try:
        return float(text.strip() or "nan")
    except ValueError as error:
        raise errors.Refused(
            f"{path}: row {row:,}: column {column!r}: expected a number such as 12.5, got {text[:60]!r}; classes are "
            "replayed with --metric accuracy, precision, recall or f1"
        ) from error

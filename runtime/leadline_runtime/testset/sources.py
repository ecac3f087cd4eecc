"""A test set's file as named columns, whatever its format.

Which format it is shows in its first bytes, for a URI's suffix may say anything. `parquet`, `text` and `npz` each give a
`Source`; `fitting` makes the model's inputs of its columns. Runs in the reader's own process, apart from what serves.
Must not know the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from leadline_runtime.oip import datatypes

Array = np.ndarray[Any, np.dtype[Any]]

ROWS_MAX: Final = 65_536
"""Keeps bitmap, memory and time of a run bounded."""
VALUES_MAX: Final = (1 << 30) // 8
"""Numbers or texts of one input, all rows together: 1 GiB as arrays."""
FORMATS: Final = "a Parquet file, an .npz archive, or CSV in UTF-8 with a header line, gzipped or not"
_LOOK_BYTES: Final = 4_096


class UnusableError(Exception):
    """The file cannot serve as test set of this model; the message says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """As what a column is wanted."""

    kind: datatypes.Kind | None
    """None: the true answers, of whatever kind they are."""
    is_nested: bool = False
    """Each row should hold more than one value."""


class Source(Protocol):
    """An open file."""

    @property
    def names(self) -> Sequence[str]:
        """Of its columns, in the file's order."""

    @property
    def rows(self) -> int:
        """Known once `wish` was called."""

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """Prepare these columns; the others are not read."""

    def is_scalar(self, name: str) -> bool:
        """Tell whether a column holds one value per row, as far as can be seen without reading it."""

    def column(self, name: str) -> Array:
        """Return a column: shape (rows, ...), of kind b, i, u, f or U; missing numbers are NaN.

        Raises:
            UnusableError: It holds something else, or nothing where something has to be.
        """

    def close(self) -> None:
        """Close the file."""


def kind_of(path: Path) -> str:
    """Return the format that a file's first bytes show: `parquet`, `npz`, `csv` or `csv.gz`.

    Raises:
        UnusableError: None of these.
    """
    with path.open("rb") as file:
        head = file.read(_LOOK_BYTES)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "npz"
    if head.startswith(b"\x1f\x8b"):
        return "csv.gz"
    if not head:
        raise UnusableError(f"is empty; expected {FORMATS}")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnusableError("is text in UTF-16; expected UTF-8 (export it as 'CSV UTF-8')")
    if head.startswith(b"\x93NUMPY"):
        raise UnusableError("is one array (.npy), which has no name; expected an .npz archive with named arrays")
    if b"\0" in head:
        raise UnusableError(f"begins with {head[:8]!r}; expected {FORMATS}")
    return "csv"


def place(name: str, row: int | None = None) -> str:
    """Say where something is: `column "age", row 3`; rows are counted from 1, a header is none."""
    return f'column "{name}"' if row is None else f'column "{name}", row {row + 1}'


def check_rows(rows: int) -> int:
    """Return the number of rows if a test set may have so many.

    Raises:
        UnusableError: It has none, or too many.
    """
    if not rows:
        raise UnusableError("has no rows; expected at least one")
    if rows > ROWS_MAX:
        raise UnusableError(f"has {rows} rows; expected at most {ROWS_MAX}")
    return rows


def check_values(name: str, count: int) -> None:
    """Refuse a column that would fill the memory.

    Raises:
        UnusableError: It has too many values.
    """
    if count > VALUES_MAX:
        raise UnusableError(f"{place(name)} holds {count} values; expected at most {VALUES_MAX}")

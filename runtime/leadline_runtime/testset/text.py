"""Columns of a CSV file, gzipped or not.

pyarrow reads it block by block into numbers. Where a cell is none, the file is read once more as text, cell by cell: that
gives either what was meant (`1.0` for a whole number) or the exact place of what cannot be meant. The delimiter is a
comma; a semicolon or a tab where the header has that and no comma.
"""

import csv
import gzip
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import csv as pacsv

from leadline_runtime.oip import datatypes
from leadline_runtime.testset import sources
from leadline_runtime.testset.sources import Array, UnusableError, Wish

_HEADER_BYTES_MAX: Final = 4 << 20
_TEXT_BYTES_MAX: Final = 1 << 30
"""Unpacked: a small gzip file can hold very much."""
_BLOCK_BYTES: Final = 4 << 20
_MISSING: Final = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>"})
"""What is no number, and no mistake: what spreadsheets and data frame libraries write for a missing one."""
_TRUE: Final = frozenset({"true", "1", "1.0"})
_FALSE: Final = frozenset({"false", "0", "0.0"})
_SHORT_ROW: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


class Text:
    """An open CSV file."""

    def __init__(self, path: Path, *, is_packed: bool) -> None:
        self._path = path
        self._is_packed = is_packed
        with self._open() as file:
            line = _header(file)
        self._delimiter = next((mark for mark in ",;\t" if mark in line), ",")
        self.names: list[str] = next(csv.reader([line], delimiter=self._delimiter), [])
        self.rows = 0
        self._columns: dict[str, Array] = {}

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """Read these columns in one pass."""
        for name in wishes:
            if self.names.count(name) > 1:
                raise UnusableError(f"{sources.place(name)} is there {self.names.count(name)} times; expected once")
        try:
            self._columns = self._read({name: _arrow(wish) for name, wish in wishes.items()})
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error) or "UTF8" in str(error):
                raise UnusableError(_explained(error)) from error
            texts = self._read(dict.fromkeys(wishes, pa.string()))
            self._columns = {name: _numbers(name, cells, wishes[name]) for name, cells in texts.items()}
        for name, wish in wishes.items():
            if wish.kind is None:
                _refuse_missing_truth(name, self._columns[name])
            elif wish.is_nested:
                self._columns[name] = _lists(name, self._columns[name])
            elif (
                wish.kind in {datatypes.Kind.INTEGER, datatypes.Kind.BOOLEAN} and self._columns[name].dtype.kind == "f"
            ):
                _refuse_gaps(name, self._columns[name], wish.kind)

    def is_scalar(self, name: str) -> bool:  # noqa: ARG002  # the protocol's signature
        """Return True: a cell is one value, unless it is asked for as a list."""
        return True

    def column(self, name: str) -> Array:
        """Return one column."""
        return self._columns.pop(name)

    def close(self) -> None:
        """Do nothing: nothing is open between two passes."""

    def _open(self) -> "_Bounded":
        return _Bounded(cast("BinaryIO", gzip.open(self._path) if self._is_packed else self._path.open("rb")))

    def _read(self, types: dict[str, Any]) -> dict[str, Array]:
        parts: dict[str, list[Array]] = {name: [] for name in types}
        rows = 0
        for batch in self._batches(types):
            rows += batch.num_rows
            if rows > sources.ROWS_MAX:
                raise UnusableError(f"has more than {sources.ROWS_MAX} rows; expected at most {sources.ROWS_MAX}")
            for name, found in parts.items():
                found.append(_plain(batch.column(name)))
        self.rows = sources.check_rows(rows)
        return {name: np.concatenate(parts.pop(name)) for name in types}

    def _batches(self, types: dict[str, Any]) -> Iterator[Any]:
        with self._open() as file:
            reader = pacsv.open_csv(
                file,
                read_options=pacsv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=list(types),
                    column_types=types,
                    null_values=list(_MISSING),
                    true_values=["true", "True", "TRUE", "1"],
                    false_values=["false", "False", "FALSE", "0"],
                    strings_can_be_null=False,
                    check_utf8=True,
                ),
            )
            yield from reader


class _Bounded(io.RawIOBase):
    """A file that ends in an error where it is longer than a test set may be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _TEXT_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise UnusableError(f"holds more than {_TEXT_BYTES_MAX} bytes of text")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _header(file: "_Bounded") -> str:
    raw = io.BufferedReader(file).readline(_HEADER_BYTES_MAX)
    try:
        line = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UnusableError(f"its first line is not UTF-8 (byte {error.start}); expected {sources.FORMATS}") from error
    if "\r" in line and '"' not in line:
        raise UnusableError("has lines that end in CR alone; expected LF or CRLF")
    if not line.strip():
        raise UnusableError("its first line is empty; expected the columns' names")
    return line


def _arrow(wish: Wish) -> Any:
    if wish.kind is datatypes.Kind.FLOAT and not wish.is_nested:
        return pa.float64()
    if wish.kind is datatypes.Kind.INTEGER and not wish.is_nested:
        return pa.int64()
    if wish.kind is datatypes.Kind.BOOLEAN and not wish.is_nested:
        return pa.bool_()
    return pa.string()


def _plain(column: Any) -> Array:
    values = column.to_numpy(zero_copy_only=False)
    if pa.types.is_string(column.type):
        return np.asarray(values.astype(str))
    if values.dtype.kind == "O":
        return np.array([np.nan if value is None else float(value) for value in values])
    return np.asarray(values)


def _numbers(name: str, cells: Array, wish: Wish) -> Array:
    """Return what text means, cell by cell; used where pyarrow found a cell that it does not take."""
    if wish.kind in {None, datatypes.Kind.TEXT} or wish.is_nested:
        return cells
    found: list[Any] = []
    for row, cell in enumerate(cells.tolist()):
        text = cell.strip()
        if text in _MISSING:
            found.append(math.nan)
            continue
        value = _value(text, wish.kind)
        if value is None:
            raise UnusableError(f"{sources.place(name, row)} holds {cell[:60]!r}; expected {_EXPECTED[wish.kind]}")
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise UnusableError(f"{sources.place(name, row)} holds {value}; expected a whole number of at most 64 bits")
        found.append(value)
    if any(isinstance(value, float) for value in found):
        return np.array(found, dtype=np.float64)
    if wish.kind is datatypes.Kind.INTEGER:
        return _integers(found)
    return np.array(found)


def _integers(found: list[int]) -> Array:
    """Return whole numbers exactly: beside small ones, numpy would make floats of those that 63 bits do not hold."""
    if max(found) < 2**63:
        return np.array(found, dtype=np.int64)
    return np.array(found, dtype=np.uint64 if min(found) >= 0 else object)


_EXPECTED: Final[dict[datatypes.Kind | None, str]] = {
    datatypes.Kind.FLOAT: "a number",
    datatypes.Kind.INTEGER: "a whole number",
    datatypes.Kind.BOOLEAN: "true or false",
}


def _value(text: str, kind: datatypes.Kind | None) -> float | int | bool | None:
    if kind is datatypes.Kind.BOOLEAN:
        lower = text.lower()
        return True if lower in _TRUE else False if lower in _FALSE else None
    lower = text.lower()
    if lower in {"true", "false"}:
        return int(lower == "true")
    try:
        if kind is datatypes.Kind.INTEGER:
            return int(text)
        return float(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number.is_integer() else None


def _lists(name: str, cells: Array) -> Array:
    """Return cells that hold lists, written as JSON: `[0.5, 1]`."""
    rows = []
    for row, cell in enumerate(cells.tolist()):
        try:
            rows.append(np.array(msgspec.json.decode(cell, type=list)))
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnusableError(
                f"{sources.place(name, row)} holds {cell[:60]!r}; expected a list of the same length in each row, like "
                f'[0.5, 1], or one column per element: "{name}[0]", "{name}[1]" and so on'
            ) from error
        if rows[-1].shape != rows[0].shape or rows[-1].dtype.kind not in "biufU":
            raise UnusableError(
                f"{sources.place(name, row)} has lists of different lengths or kinds; expected the same in each row"
            )
    array = np.array(rows)
    sources.check_values(name, array.size)
    return array


def _refuse_missing_truth(name: str, cells: Array) -> None:
    empty = np.flatnonzero(cells == "")
    if empty.size:
        raise UnusableError(f"{sources.place(name, int(empty[0]))} is empty; expected the true answer")


def _refuse_gaps(name: str, values: Array, kind: datatypes.Kind) -> None:
    gaps = np.flatnonzero(np.isnan(values))
    if gaps.size:
        raise UnusableError(f"{sources.place(name, int(gaps[0]))} is empty; expected {_EXPECTED[kind]}")


def _explained(error: Exception) -> str:
    """Return pyarrow's message in our words where it is of the usual kind."""
    short = _SHORT_ROW.search(str(error))
    if short is not None:
        return f"line {short[1]} has {short[3]} cells; expected {short[2]}, as the header has"
    if "UTF8" in str(error):
        return f"is not UTF-8 everywhere ({error}); expected {sources.FORMATS}"
    return f"not readable as CSV: {error}"

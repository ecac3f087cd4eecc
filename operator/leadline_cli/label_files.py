"""Labelled rows from files, as the lines of JSON that the ledger takes: Parquet, CSV, or JSON lines as they are.

What a CSV cell holds is told by how it is written, for nobody knows here what the model takes. Must not talk to anybody.
"""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from leadline_wire import labels, ledger

from leadline_cli import errors

CALL_BYTES_MAX: Final = ledger.INTAKE_BYTES_MAX - 1_024
_MISSING: Final = frozenset({"", "NA", "NaN", "nan", "null", "NULL"})
_MAGIC: Final = b"PAR1"
_WORDS: Final = {"true": True, "false": False}


def calls(path: Path, truth: str) -> Iterator[bytes]:
    """Yield the rows of a file, as many at once as one call takes.

    Raises:
        Refused: The file cannot be read, or a row is no labelled row; the message says which.
        ModuleNotFoundError: Parquet without what reads it.
    """
    lines: list[bytes] = []
    size = 0
    for number, row in enumerate(_rows(path), 1):
        try:
            labels.row(row, truth)
        except labels.BadLabelError as error:
            raise errors.Refused(f"{path}: row {number}: {error}") from error
        line = json.dumps(_plain(row), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        if len(line) > CALL_BYTES_MAX:
            raise errors.Refused(f"{path}: row {number} has {len(line)} bytes, expected at most {CALL_BYTES_MAX}")
        if len(lines) >= ledger.LABELS_MAX or size + len(line) > CALL_BYTES_MAX:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if not lines:
        raise errors.Refused(f"{path}: holds no rows")
    yield b"".join(lines)


def _rows(path: Path) -> Iterator[Any]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                for cells in csv.DictReader(file, strict=True):
                    if None in cells or None in cells.values():
                        raise errors.Refused(f"{path}: a row has another number of cells than the header line")
                    yield {name: _cell(cell) for name, cell in cells.items()}
        elif suffix in {".ndjson", ".jsonl"}:
            with path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.strip())
        else:
            raise errors.Refused(f"{path}: expected a file that ends in .parquet, .csv, .ndjson or .jsonl")
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise errors.Refused(f"{path}: cannot be read: {error}") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    from arro3.io import read_parquet  # noqa: PLC0415 - where a Parquet file is read alone

    _check_whole(path)
    try:
        reader = read_parquet(path)
        names = reader.schema.names
        for batch in reader:
            columns = [batch.column(name).to_pylist() for name in names]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))
    except Exception as error:
        raise errors.Refused(f"{path}: not a readable Parquet file: {error}") from error


def _check_whole(path: Path) -> None:
    """Refuse what does not begin and end as Parquet does: its reader ends in a panic there."""
    with path.open("rb") as file:
        begin = file.read(len(_MAGIC))
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - len(_MAGIC)))
        end = file.read()
    if not begin == end == _MAGIC or size < 3 * len(_MAGIC):
        raise errors.Refused(f"{path}: not a readable Parquet file: it is damaged, or cut off")


def _cell(text: str) -> Any:
    """Return what a cell of CSV holds; what is no number as it stands in JSON stays text."""
    stripped = text.strip()
    if stripped in _MISSING:
        return None
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    if stripped[:1] == "[" or stripped[:1].isdigit() or stripped[:1] == "-":
        try:
            return json.loads(stripped)
        except json.JSONDecodeError:
            return text
    return text


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: null for what is no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value

"""JSON lines of outcomes as a file of the format that is asked for.

Lines are kept in a file first: only once all are there is it known of which type a column is. Must not hold more of them
than a batch, and must not know where they come from.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from leadline_wire import outcome_files, outcome_rows

FORMATS: Final = ("parquet", "csv", "ndjson")
_decode: Final = msgspec.json.Decoder(outcome_rows.Row).decode
_encode: Final = msgspec.json.Encoder().encode


def require(format_: str) -> None:
    """Import what a format needs, before anything is fetched.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if format_ == "parquet":
        outcome_files.require()


def write(lines: Path, into: Path, *, format_: str, kinds: set[outcome_rows.Kind], metadata: Mapping[str, str]) -> None:
    """Write a file, and bring it to the disk.

    Args:
        lines: File of lines.
        into: File to be written.
        format_: One of `FORMATS`.
        kinds: Of all predictions and true answers.
        metadata: Goes into a file that can hold it.

    Raises:
        OSError: It cannot be written.
        ModuleNotFoundError: Parquet without arro3.
    """
    with into.open("xb") as file:
        if format_ == "parquet":
            kind = outcome_rows.one_kind(kinds)
            batches = _batches(lines, as_text=kind == "string" and kinds != {"string"})
            outcome_files.write(batches, lambda content: _all(file, content), kind=kind, metadata=metadata)
        elif format_ == "csv":
            for table in _tables(lines):
                file.write(table)
        else:
            with lines.open("rb") as source:
                while block := source.read(1 << 20):
                    file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _all(file: io.BufferedWriter, content: bytes) -> None:
    file.write(content)


def _batches(lines: Path, *, as_text: bool) -> Iterator[bytes]:
    with lines.open("rb") as source:
        batch: list[bytes] = []
        for line in source:
            batch.append(_as_text(line) if as_text else line)
            if len(batch) == outcome_files.BATCH_ROWS:
                yield b"".join(batch)
                batch.clear()
        if batch:
            yield b"".join(batch)


def _as_text(line: bytes) -> bytes:
    row = _decode(line)
    prediction, truth = (None if each is None else str(each) for each in (row.prediction, row.truth))
    return outcome_files.line(msgspec.structs.replace(row, prediction=prediction, truth=truth))


def _tables(lines: Path) -> Iterator[bytes]:
    """Yield CSV: a head, then rows; what is not known is empty, tags are JSON."""
    names = outcome_rows.Row.__struct_fields__
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    with lines.open("rb") as source:
        for line in source:
            row = _decode(line)
            writer.writerow([_cell(getattr(row, name)) for name in names])
            if text.tell() > 1 << 16:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
    yield text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return _encode(value).decode() if value else ""
    return value

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
from leadline_wire import capture_files, outcome_files, outcome_rows

FORMATS: Final = ("parquet", "csv", "ndjson")
_BATCH_BYTES: Final = 4 << 20
"""Of lines with large inputs."""
_encode: Final = msgspec.json.Encoder().encode


def require(format_: str) -> None:
    """Import what a format needs, before anything is fetched.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if format_ == "parquet":
        outcome_files.require()


def write(
    lines: Path,
    into: Path,
    *,
    format_: str,
    kinds: set[outcome_rows.Kind],
    metadata: Mapping[str, str],
    captured: capture_files.Described | None = None,
) -> None:
    """Write a file, and bring it to the disk.

    Args:
        lines: File of lines.
        into: File to be written.
        format_: One of `FORMATS`.
        kinds: Of all predictions and true answers.
        metadata: Goes into a file that can hold it.
        captured: What the columns of inputs are; None: there are none.

    Raises:
        OSError: It cannot be written.
        ModuleNotFoundError: Parquet without arro3.
    """
    inputs = captured.columns if captured is not None else {}
    with into.open("xb") as file:
        if format_ == "parquet":
            kind = outcome_rows.one_kind(kinds)
            batches = _batches(lines, as_text=kind == "string" and kinds != {"string"})
            outcome_files.write(
                batches,
                lambda content: _all(file, content),
                kind=kind,
                metadata=metadata,
                inputs=inputs,
                row_bytes=captured.row_bytes if captured is not None else 0,
            )
        elif format_ == "csv":
            for table in _tables(lines, [f"{outcome_files.INPUT_PREFIX}{name}" for name in inputs]):
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
        size = 0
        for line in source:
            batch.append(_as_text(line) if as_text else line)
            size += len(line)
            if len(batch) == outcome_files.BATCH_ROWS or size >= _BATCH_BYTES:
                yield b"".join(batch)
                batch.clear()
                size = 0
        if batch:
            yield b"".join(batch)


def _as_text(line: bytes) -> bytes:
    row = msgspec.json.decode(line)
    for name in ("prediction", "truth"):
        row[name] = None if row[name] is None else str(row[name])
    return _encode(row) + b"\n"


def _tables(lines: Path, inputs: list[str]) -> Iterator[bytes]:
    """Yield CSV: a head, then rows; what is not known is empty, tags and lists are JSON."""
    names = [*outcome_rows.Row.__struct_fields__, *inputs]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    with lines.open("rb") as source:
        for line in source:
            row = msgspec.json.decode(line)
            writer.writerow([_cell(row.get(name)) for name in names])
            if text.tell() > 1 << 16:
                yield text.getvalue().encode()
                text.seek(0)
                text.truncate()
    yield text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return _encode(value).decode() if value else ""
    return value

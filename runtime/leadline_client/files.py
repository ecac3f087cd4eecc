"""Outcomes from files: Parquet, CSV, or JSON lines, with columns named as the fields of `Outcome`. Must not talk to anybody."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from leadline_client import errors, outcomes

BATCH_ROWS: Final = 4_000
"""Reported at once, and some more, so that rows of one prediction that stand together stay together."""
_NAMES: Final = tuple(field.name for field in fields(outcomes.Outcome))
_TEXTS: Final = frozenset({"key", "receipt", "id", "wanted"})
_MISSING: Final = frozenset({"", "NA", "NaN", "nan", "null", "NULL"})
_TRUE: Final = frozenset({"true", "1"})
_FALSE: Final = frozenset({"false", "0"})
_BATCH: Final = 8_192


def batches(path: Path, columns: dict[str, str]) -> Iterator[list[tuple[int, outcomes.Outcome]]]:
    """Yield the outcomes of a file with their rows' numbers, from 1 on; rows without an answer are left out.

    Args:
        path: Ends in .parquet, .csv, .ndjson or .jsonl.
        columns: Names of the file's columns by the field that they are, where they are called otherwise.

    Raises:
        InputError: The file cannot be read, or a row is no outcome; the message says which.
    """
    batch: list[tuple[int, outcomes.Outcome]] = []
    texts = frozenset(columns.get(name, name) for name in _TEXTS)
    correct = columns.get("correct", "correct")
    for number, row in enumerate(_rows(path, texts, correct), 1):
        told = {name: _plain(row.get(columns.get(name, name))) for name in _NAMES}
        if all(told[name] is None for name in outcomes.ANSWERS):
            continue
        try:
            outcome = outcomes.outcome_of({name: value for name, value in told.items() if value is not None}, "")
        except errors.InputError as error:
            raise errors.InputError(f"{path}: row {number}: {error}") from error
        if len(batch) >= BATCH_ROWS and _prediction(batch[-1][1]) != _prediction(outcome):
            yield batch
            batch = []
        batch.append((number, outcome))
    if batch:
        yield batch


def _prediction(outcome: outcomes.Outcome) -> tuple[str | None, ...]:
    return outcome.key, outcome.receipt, outcome.id


def _rows(path: Path, texts: frozenset[str], correct: str) -> Iterator[dict[str, Any]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from _parquet(path)
        elif suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                for cells in csv.DictReader(file, strict=True):
                    yield {
                        name: _cell(cell, is_text=name in texts, is_correct=name == correct)
                        for name, cell in cells.items()
                        if name is not None
                    }
        elif suffix in {".ndjson", ".jsonl"}:
            with path.open(encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    row = json.loads(line) if line.strip() else {}
                    if not isinstance(row, dict):
                        raise errors.InputError(f"{path}: line {number}: expected an object")
                    yield row
        else:
            raise errors.InputError(f"{path}: expected a file that ends in .parquet, .csv, .ndjson or .jsonl")
    except OSError as error:
        raise errors.InputError(f"{path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise errors.InputError(f"{path}: cannot be read: {error}") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - for Parquet alone
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise errors.InputError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow, or give CSV") from error
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise errors.InputError(f"{path}: not a readable Parquet file: {error}") from error


def _plain(value: Any) -> Any:
    """Return a value without what stands for none."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(text: str | None, *, is_text: bool, is_correct: bool) -> Any:
    """Return what a cell of CSV holds: identifiers stay as they are written, whatever they look like."""
    stripped = (text or "").strip()
    if stripped in _MISSING:
        return None
    if is_text:
        return stripped
    if is_correct:
        lowered = stripped.lower()
        return True if lowered in _TRUE else False if lowered in _FALSE else stripped
    try:
        return int(stripped)
    except ValueError:
        pass
    try:
        found = float(stripped)
    except ValueError:
        return stripped
    return found if math.isfinite(found) else stripped

"""Histories on disk: what was predicted by which revision, and what was true, one prediction a row.

Answers are classes or, of a regression, values. Read in pieces; kept are some 40 bytes a row. Next step: `history_entries` makes of it what the ledger would have held. Must
not judge predictions.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_cli import errors, history_values
from leadline_cli.history_classes import Classes, classes_of
from leadline_cli.history_files import Columns, chunks
from leadline_cli.history_times import Times
from leadline_cli.history_values import FloatArray

IntArray = npt.NDArray[np.int64]

REVISIONS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class History:
    """Rows in the order of their times, those without a true answer left out."""

    name: str
    """Of the file."""
    rows: IntArray
    """Shape (n,): number in the file, the first below the header is 1."""
    times_ms: IntArray
    """Shape (n,): since the epoch."""
    revisions: IntArray
    """Shape (n,): places in `revision_names`."""
    revision_names: tuple[str, ...]
    predictions: IntArray | FloatArray
    """Shape (n,): places in `classes`, or values; infinite: no usable answer."""
    truths: IntArray | FloatArray
    """Shape (n,): places in `classes`, or finite values."""
    classes: Classes | None
    """None: they are values."""
    ids: IntArray | None
    """Shape (n,): hashes of the requests' ids, 0 where a row has none; None: there is no such column."""
    entities: IntArray | None
    """Shape (n,): hashes; None: not asked for."""
    notes: tuple[str, ...]
    """What was read otherwise than it stands there."""


def read(path: Path, columns: Columns, *, of_values: bool = False) -> History:
    """Read a history.

    Args:
        path: The file.
        columns: How its columns are called.
        of_values: Whether predictions and true answers are numbers (a regression), and not classes.

    Raises:
        Refused: It cannot be read or used; the message names the column and the row.
    """
    if path.is_dir() or not path.exists():
        what = "is a folder; expected a CSV or Parquet file" if path.is_dir() else "there is no such file"
        raise errors.Refused(f"{path}: {what}")
    reading = _Reading(path, columns, of_values=of_values)
    try:
        for header, rows in chunks(path, columns):
            reading.take(header, rows)
    except UnicodeDecodeError as error:
        raise errors.Refused(f"{path}: expected UTF-8 text; {error.reason} after row {reading.count}") from error
    except (csv.Error, OSError, EOFError) as error:
        raise errors.Refused(f"{path}: cannot be read after row {reading.count} ({error})") from error
    return reading.history()


class _Codes(dict[str, int]):
    """Gives each text the next number."""

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self)
        return code


class _Reading:
    """Collects columns as numbers."""

    def __init__(self, path: Path, columns: Columns, *, of_values: bool) -> None:
        self.count = 0
        self._path = path
        self._columns = columns
        self._of_values = of_values
        self._revisions, self._classes = _Codes(), _Codes()
        self._parts: list[tuple[IntArray | FloatArray, ...]] = []
        self._times = Times(path, columns.time)
        self._has_ids = False

    def take(self, header: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        """Go on through more rows, given column by column."""
        columns, place = self._columns, {name: number for number, name in enumerate(header)}
        identifier = columns.id or ("id" if "id" in place else None)
        self._has_ids = identifier is not None
        length = len(cells[0])
        times = self._times.read(cells[place[columns.time]], self.count)
        revisions = [self._revisions[text.strip()] for text in cells[place[columns.revision]]]
        if len(self._revisions) > REVISIONS_MAX:
            raise errors.Refused(
                f"{self._path}: column {columns.revision!r} has more than {REVISIONS_MAX:,} different revisions, the "
                f"first {next(iter(self._revisions))!r}; name the right column by --revision"
            )
        answers = (self._answers(name, cells[place[name]]) for name in (columns.prediction, columns.truth))
        part = [times, _array(revisions), *answers]
        for name in (identifier, columns.entity):
            texts = cells[place[name]] if name is not None else ()
            part.append(_array([hash(text) if text else 0 for text in texts]))
        self._parts.append(tuple(part))
        self.count += length

    def _answers(self, column: str, texts: Sequence[str]) -> IntArray | FloatArray:
        if self._of_values:
            return history_values.read(self._path, column, texts, self.count)
        return _array([self._classes[text] for text in texts])

    def history(self) -> History:
        """Return what was read.

        Raises:
            Refused: There are no rows, or none that can be used.
        """
        columns, path = self._columns, self._path
        if not self.count:
            raise errors.Refused(f"{path}: has no rows; expected one for each prediction")
        whole = [np.concatenate(part) for part in zip(*self._parts, strict=True)]
        self._parts.clear()
        times, revisions, predicted, true, ids, entities = whole
        notes = list(self._times.notes)
        raw = list(self._classes)
        if self._of_values:
            usable = ~np.isnan(predicted) & np.isfinite(true)
        else:
            usable = _filled(raw)[predicted] & _filled(raw)[true]
        usable &= _filled(list(self._revisions))[revisions]
        if left := int((~usable).sum()):
            notes.append(f"{left:,} rows without a revision, a prediction or a true answer are left out")
        if not usable.any():
            raise errors.Refused(
                f"{path}: no row has {columns.revision!r}, {columns.prediction!r} and {columns.truth!r} filled in"
            )
        order = np.flatnonzero(usable)
        if (np.diff(times[order]) < 0).any():
            notes.append("rows were not in order of time: they are taken in that order")
            order = order[np.argsort(times[order], kind="stable")]
        predicted, true, classes = predicted[order], true[order], None
        if not self._of_values:
            names = (columns.prediction, columns.truth)
            classes, predicted, true = classes_of(path, names, raw, predicted, true)
            notes += classes.notes
        return History(
            name=path.name,
            rows=order + 1,
            times_ms=times[order],
            revisions=revisions[order],
            revision_names=tuple(self._revisions),
            predictions=predicted,
            truths=true,
            classes=classes,
            ids=ids[order] if self._has_ids else None,
            entities=entities[order] if columns.entity is not None else None,
            notes=tuple(notes),
        )


def _filled(texts: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.array([bool(text.strip()) for text in texts], dtype=np.bool_)


def _array(numbers: Iterable[int]) -> IntArray:
    return np.array(list(numbers), dtype=np.int64)

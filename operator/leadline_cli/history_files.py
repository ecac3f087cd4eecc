"""Tables of past predictions as files: CSV (also gzipped, with commas, semicolons or tabs) or Parquet, in pieces.

Next step: `histories` makes numbers of the texts. Must not know what they mean.
"""

import csv
import gzip
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leadline_cli import errors

_CHUNK_ROWS: Final = 50_000
_HEAD_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Columns:
    """How the columns are called."""

    time: str = "time"
    revision: str = "revision"
    prediction: str = "prediction"
    truth: str = "truth"
    id: str | None = None
    """Of the request; None: `id`, where the file has it."""
    entity: str | None = None
    """Whom the prediction is about; None: nobody in particular."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Those that must be there."""
        named = tuple(name for name in (self.id, self.entity) if name is not None)
        return (self.time, self.revision, self.prediction, self.truth, *named)


def is_history(path: Path, columns: Columns) -> bool:
    """Tell whether a file is a table of predictions, by its name or its first line, and not a log of the ledger."""
    name = path.name.lower()
    if name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")):
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if head.startswith((b"PAR1", b"\x1f\x8b")):
        return True
    first = head.decode("utf-8-sig", "replace").partition("\n")[0]
    return not first.lstrip().startswith(("{", "[")) and {columns.time, columns.revision} <= set(_cells(first))


def chunks(path: Path, columns: Columns) -> Iterator[tuple[Sequence[str], Sequence[Sequence[str]]]]:
    """Yield the header with rows, column by column."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        yield from _parquet(path, columns)
        return
    opened: Any = gzip.open if magic.startswith(b"\x1f\x8b") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as text:
        first = text.readline()
        if not first.strip():
            raise errors.Refused(f"{path}: is empty; expected a header with the columns {_shown(columns.needed)}")
        delimiter = _delimiter(first)
        header = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
        _check_header(path, header, columns)
        reader = csv.reader(text, delimiter=delimiter)
        done = 0
        while rows := [row for row in itertools.islice(reader, _CHUNK_ROWS) if row]:
            try:
                cells = list(zip(*rows, strict=True))
            except ValueError:
                cells = []
            if len(cells) != len(header):
                _ragged(path, rows, len(header), done)
            yield header, cells
            done += len(rows)


def _parquet(path: Path, columns: Columns) -> Iterator[tuple[Sequence[str], Sequence[Sequence[str]]]]:
    import pyarrow as pa  # noqa: PLC0415 - 150 MB that only Parquet needs
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        with pq.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            _check_header(path, header, columns)
            wanted = [*columns.needed, *(["id"] if columns.id is None and "id" in header else [])]
            for batch in file.iter_batches(batch_size=_CHUNK_ROWS, columns=list(dict.fromkeys(wanted))):
                if batch.num_rows:
                    texts = [[_text(each) for each in column.to_pylist()] for column in batch.columns]
                    yield batch.schema.names, texts
    except pa.ArrowException as error:
        raise errors.Refused(f"{path}: is no Parquet file that can be read ({error})") from error


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _check_header(path: Path, header: Sequence[str], columns: Columns) -> None:
    for field, name in zip(("time", "revision", "prediction", "truth", "", ""), columns.needed, strict=False):
        if header.count(name) > 1:
            raise errors.Refused(f"{path}: has the column {name!r} {header.count(name)} times; expected it once")
        if name not in header:
            how = f"; name it by --{field}" if field else ""
            raise errors.Refused(f"{path}: has no column {name!r}{how} (columns: {_shown(header)})")


def _ragged(path: Path, rows: Sequence[Sequence[str]], width: int, done: int) -> None:
    for number, row in enumerate(rows, done + 1):
        if len(row) != width:
            raise errors.Refused(f"{path}: row {number:,}: expected {width} cells, as the header has; got {len(row)}")


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=_delimiter(line)), [])]
    except csv.Error:
        return []


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _shown(names: Sequence[str], most: int = 12) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

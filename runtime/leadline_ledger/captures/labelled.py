"""Makes a test set out of outcomes: captured inputs with the true answers that came for them, from the test side of the split.

Which rows are in it is drawn by a hash of what they are: so a set that grows keeps its rows until there are enough, is a fair
sample of all there are whenever it is made, and the same rows make the same bytes. Left out is what would not be fair: what was
asked for because two revisions differ, what repeats, and what was not told by its true answer.

Does no I/O but what it is given to read a file with.
"""

import hashlib
import heapq
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from leadline_wire import capture_files, captures, ledger, outcome_rows, predictions

from leadline_ledger.captures import joining, naming

LABELS_MAX: Final = 100_000
"""Outcomes that inputs are looked for; of more those with the lowest hashes."""
_BYTES_MAX: Final = 64 << 20
"""Of the rows in memory: large inputs make fewer rows."""


@dataclass(slots=True)
class Labels:
    """True answers by prediction and row, of outcomes that may be in a test set."""

    test_percent: int
    _lowest: list[tuple[int, joining.Key, predictions.Value]] = field(default_factory=list)

    def add(self, entry: ledger.Entry) -> None:
        """Take an entry of the log, if it is one of those."""
        if not isinstance(entry, ledger.OutcomeEntry) or entry.wanted or entry.repeats or not entry.truth:
            return
        if outcome_rows.side_of(entry, self.test_percent) != "test":
            return
        try:
            truth = predictions.read(entry.truth)
        except predictions.BadWordError:
            return
        if isinstance(truth, float):
            return  # no class: what is measured on a test set is the share of right classes
        key = (entry.id, entry.row)
        each = (-_drawn(key), key, truth)
        if len(self._lowest) < LABELS_MAX:
            heapq.heappush(self._lowest, each)
        elif each > self._lowest[0]:
            heapq.heapreplace(self._lowest, each)

    def found(self) -> dict[joining.Key, predictions.Value]:
        """Return them; all of one kind, the more frequent one."""
        texts = sum(isinstance(truth, str) for _, _, truth in self._lowest)
        kind = str if 2 * texts > len(self._lowest) else int
        return {key: truth for _, key, truth in self._lowest if isinstance(truth, kind)}


@dataclass(frozen=True, slots=True)
class Made:
    """A test set."""

    content: bytes
    rows: int


def made(
    labels: dict[joining.Key, predictions.Value],
    files: Iterable[naming.File],
    read: Callable[[naming.File], bytes | None],
    *,
    size: int,
) -> Made | None:
    """Return a test set of at most so many rows, in the columns that are captured today; None: there are none.

    Args:
        labels: The true answers.
        files: All that was captured.
        read: Returns a file's bytes; None: it is gone.
        size: Most rows.
    """
    from arro3 import core  # noqa: PLC0415 - 35 MB
    from arro3 import io as parquet  # noqa: PLC0415

    places, row_bytes = _places(labels, sorted(files, key=lambda file: file.last_ms, reverse=True), read)
    most = min(size, _BYTES_MAX // max(1, row_bytes))
    chosen = sorted(places, key=lambda key: (_drawn(key), key))[:most]
    parts: dict[str, tuple[naming.File, list[joining.Key]]] = {}
    for key in chosen:
        file = places[key]
        parts.setdefault(file.path, (file, []))[1].append(key)
    batches, keys = [], []
    for file, wanted in parts.values():
        reader = joining.reader_of(file, read(file))
        if reader is not None:
            batch, there = reader.taken(wanted)
            batches.append(batch)
            keys += there
    if not keys:
        return None
    whole = core.Table.from_batches(batches).combine_chunks().to_batches()[0]
    order = sorted(range(len(keys)), key=lambda place: (_drawn(keys[place]), keys[place]))
    truths = [labels[keys[place]] for place in order]
    kind = core.DataType.utf8() if isinstance(truths[0], str) else core.DataType.int64()
    ordered = whole.take(core.Array(order, core.DataType.uint32()))
    inputs = [each for each in whole.schema.names if each not in capture_files.OUR_COLUMNS]
    table = core.Table.from_arrays(
        [*(ordered.column(each) for each in inputs), core.Array(truths, kind)],
        schema=core.Schema(
            [*(_plain(core, whole.schema.field(each)) for each in inputs), core.Field(captures.GROWN_TRUTH, kind)]
        ),
    )
    into = io.BytesIO()
    parquet.write_parquet(table, into, compression="zstd(3)", created_by="leadline")
    return Made(into.getvalue(), len(truths))


def _places(
    labels: dict[joining.Key, predictions.Value],
    files: list[naming.File],
    read: Callable[[naming.File], bytes | None],
) -> tuple[dict[joining.Key, naming.File], int]:
    """Return which file has each labelled row, of those with today's columns, and how large a row is."""
    found: dict[joining.Key, naming.File] = {}
    columns, row_bytes = "", 0
    for file in files:
        if columns and file.columns != columns:
            continue
        reader = joining.reader_of(file, read(file))
        if reader is None:
            continue
        columns = columns or file.columns
        row_bytes = max(row_bytes, reader.row_bytes)
        for key in reader.keys & labels.keys():
            found.setdefault(key, file)
    return found, row_bytes


def _drawn(key: joining.Key) -> int:
    """Return the number that says who comes first."""
    return int.from_bytes(hashlib.sha256(f"{key[0]}:{key[1]}".encode()).digest()[:8], "big")


def _plain(core: Any, found: Any) -> Any:
    return core.Field(found.name, found.type, nullable=False)

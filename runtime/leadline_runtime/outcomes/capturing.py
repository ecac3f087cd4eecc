"""Inputs of a share of the predictions, on their way to the ledger: best effort, after the answers.

A prediction with a receipt is drawn when it was answered; the bytes of its inputs are copied into a bounded buffer, dropped
columns left out. Once there is a chunk of them, or some time has passed, it is brought to the ledger, which makes files of it.
What finds no room, and what the ledger does not take, is dropped and counted: capturing never delays an answer, and what is
missing was not missing because of what it held.

Must not know connections, and must not decide who gets a receipt.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np
from leadline_wire import captures, exchange, receipts

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.oip.datatypes import Kind
from leadline_runtime.oip.signature import Tensor
from leadline_runtime.outcomes.intake import target_of
from leadline_runtime.outcomes.minting import Stamp
from leadline_runtime.worker.links import Answer, Job, Link
from leadline_runtime.worker.pool import Pool

Array = np.ndarray[Any, np.dtype[Any]]

BUFFER_BYTES_MAX: Final = 16 << 20
"""Of inputs that wait, per worker; what comes beyond it is dropped."""
CHUNK_BYTES: Final = 1 << 20
"""Brought at once as soon as there is so much: a few milliseconds to put together."""
CHUNK_ROWS: Final = 16_384
_PIECE_BYTES: Final = 200
"""Counted for each piece beside its bytes: what Python needs for it."""
_ROW_BYTES: Final = 40
"""The same for each row: its id."""
_TEXT_BYTES: Final = 60
"""The same for each text: the object that holds it."""
_ENVELOPE_BYTES: Final = 64 << 10
_TIMEOUT_SECONDS: Final = 30.0
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 5.0


class _Piece:
    """Rows that were captured together, all of the same inner shapes."""

    __slots__ = ("columns", "ids", "rows", "shapes", "size_bytes")

    def __init__(
        self, ids: bytes, rows: Sequence[int], columns: list[bytes | list[str]], shapes: tuple[tuple[int, ...], ...]
    ) -> None:
        self.ids = ids
        self.rows = rows
        self.columns = columns
        self.shapes = shapes
        size = _PIECE_BYTES + _ROW_BYTES * len(rows)
        for column in columns:
            size += len(column) if isinstance(column, bytes) else sum(map(len, column)) + _TEXT_BYTES * len(column)
        self.size_bytes = size


class Capturer:
    """One worker's captured inputs."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, counters: Counters, token: Callable[[], bytes], path: str
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._token = token
        self._path = path.encode()
        self._host = self._base = b""
        self._pool = Pool("ledger", loop, links_max=1, queue_max=1, make=Link[Job])
        self._settings = exchange.CaptureSettings()
        self._tensors: list[Tensor] = []
        self._fraction = 0.0
        self._skip = 0
        self._pieces: deque[_Piece] = deque()
        self._waiting_bytes = 0
        self._waiting_rows = 0
        self._under_way = False
        self._timer: asyncio.TimerHandle | None = None
        self._noted = ""

    def aim(self, ledger_url: str, settings: exchange.CaptureSettings, inputs: Sequence[Tensor]) -> bool:
        """Capture these inputs for the ledger at this URL from now on; return whether there is anything to be captured."""
        tensors = [tensor for tensor in inputs if tensor.name not in settings.drop]
        clash = [tensor.name for tensor in tensors if tensor.name in captures.OUR_COLUMNS]
        if clash:
            logs.warning("no inputs are captured: files have a column of that name", input=clash[0])
            tensors = []
        if tensors != self._tensors:
            self._forget()
        target = target_of(ledger_url)
        self._host = urlsplit(ledger_url).netloc.rpartition("@")[2].encode() if target is not None else b""
        self._base = urlsplit(ledger_url).path.rstrip("/").encode() if target is not None else b""
        self._pool.aim(target)
        self._settings = settings
        if tensors != self._tensors:
            self._tensors = tensors
        fraction = min(1.0, settings.share / receipts.WHOLE_SHARE)
        if fraction != self._fraction:
            self._fraction = fraction
            self._skip = self._gap()
        return target is not None and bool(tensors) and fraction > 0.0

    def stop(self) -> None:
        """Capture nothing from now on, and forget what waits: it may be what is to be dropped now."""
        self._forget()
        self._fraction = 0.0

    def close(self) -> None:
        """End everything that is under way."""
        self.stop()
        self._pool.close()

    def rows(self, stamp: Stamp, count: int, arrays: Mapping[str, Array], places: Sequence[int] | None) -> None:
        """Take answered requests of one row each.

        Args:
            stamp: Has the ids of the predictions, by row.
            count: Rows.
            arrays: Their inputs, rows first; they may change after this.
            places: Rows whose answer has a receipt; None: all.
        """
        drawn = self._drawn(count if places is None else len(places))
        if not drawn:
            return
        ids = stamp.ids(count)
        if places is not None:
            drawn = [places[place] for place in drawn]
        if len(drawn) == len(ids):
            self._add(b"".join(ids), [0] * len(ids), arrays)
            return
        chosen = list(drawn)
        parts = {tensor.name: arrays[tensor.name][chosen] for tensor in self._tensors}
        self._add(b"".join([ids[place] for place in chosen]), [0] * len(chosen), parts)

    def is_drawn(self) -> bool:
        """Tell whether the next prediction is captured."""
        return bool(self._drawn(1))

    def request(self, identifier: bytes, arrays: Mapping[str, Array], rows: Sequence[int]) -> None:
        """Take one answered request that was drawn.

        Args:
            identifier: Of the prediction.
            arrays: Its inputs, rows first; they may change after this.
            rows: Those that its receipt has.
        """
        chosen = list(rows)
        parts = {tensor.name: arrays[tensor.name][chosen] for tensor in self._tensors}
        self._add(identifier * len(chosen), chosen, parts)

    # Inside

    def _gap(self) -> int:
        """Return how many predictions are passed over before the next one is taken: as if each had been drawn."""
        if not 0.0 < self._fraction < 1.0:
            return 0
        return int(math.log(1.0 - random.random()) / math.log(1.0 - self._fraction))  # noqa: S311  # a sample, no secret

    def _drawn(self, count: int) -> Sequence[int]:
        if self._fraction >= 1.0:
            return range(count)
        if self._fraction <= 0.0:
            return ()
        skip = self._skip
        found: list[int] = []
        while skip < count:
            found.append(skip)
            skip += 1 + self._gap()
        self._skip = skip - count
        return found

    def _add(self, ids: bytes, rows: list[int], arrays: Mapping[str, Array]) -> None:
        columns: list[bytes | list[str]] = []
        shapes = []
        for tensor in self._tensors:
            array = arrays[tensor.name]
            shapes.append(array.shape[1:])
            if tensor.datatype.kind is Kind.TEXT:
                columns.append(array.reshape(-1).tolist())
            else:
                columns.append((array.astype(np.float32) if array.dtype == np.float16 else array).tobytes())
        piece = _Piece(ids, rows, columns, tuple(shapes))
        most = captures.CHUNK_BYTES_MAX - _ENVELOPE_BYTES
        if piece.size_bytes > most or self._waiting_bytes + piece.size_bytes > BUFFER_BYTES_MAX:
            self._drop(len(rows), "too large" if piece.size_bytes > most else "the ledger is behind")
            return
        self._pieces.append(piece)
        self._waiting_bytes += piece.size_bytes
        self._waiting_rows += len(rows)
        if self._waiting_bytes >= CHUNK_BYTES or self._waiting_rows >= CHUNK_ROWS:
            if not self._under_way:
                self._under_way = True
                # After the answers of this turn of the event loop.
                self._loop.call_soon(self._send)
        elif self._timer is None:
            self._timer = self._loop.call_later(self._settings.gather_ms / 1_000, self._timed)

    def _timed(self) -> None:
        self._timer = None
        if not self._under_way:
            self._under_way = True
            self._send()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._counters.capture_dropped += self._waiting_rows
        self._pieces.clear()
        self._waiting_bytes = self._waiting_rows = 0

    def _drop(self, rows: int, why: str) -> None:
        self._counters.capture_dropped += rows
        if why != self._noted:
            self._noted = why
            logs.warning("captured inputs are dropped", reason=why)

    def _send(self) -> None:
        pieces: list[_Piece] = []
        size = rows = 0
        while self._pieces and size < CHUNK_BYTES and rows < CHUNK_ROWS:
            piece = self._pieces[0]
            if pieces and size + piece.size_bytes > captures.CHUNK_BYTES_MAX - _ENVELOPE_BYTES:
                break
            pieces.append(self._pieces.popleft())
            size += piece.size_bytes
            rows += len(piece.rows)
        self._waiting_bytes -= size
        self._waiting_rows -= rows
        if not pieces:
            self._under_way = False
            return
        try:
            body = msgspec.msgpack.encode(_chunk(self._tensors, pieces))
        except UnicodeEncodeError:
            body = b""
        if not body or len(body) > captures.CHUNK_BYTES_MAX:
            self._drop(rows, "text that is not UTF-8, or too much of it, in one chunk")
            self._answered(sent=False)
            return
        self._try(body, rows, 1)

    def _try(self, body: bytes, rows: int, attempt: int) -> None:
        token = self._token()
        request = b"POST %b%b?keep_ms=%d&max_bytes=%d HTTP/1.1\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
            self._base,
            self._path,
            self._settings.keep_ms,
            self._settings.max_bytes,
            self._host,
            b"authorization: Bearer %b\r\n" % token if token else b"",
            len(body),
            body,
        )

        def done(answer: Answer | None) -> None:
            if answer is not None and 200 <= answer.status < 300:
                self._counters.captured += rows
                self._noted = ""
                self._answered(sent=True)
            elif self._fraction <= 0.0 or attempt >= _TRIES or (answer is not None and answer.status < 500):
                why = f"the ledger answered {answer.status}" if answer is not None else "the ledger does not answer"
                self._drop(rows, why)
                self._answered(sent=False)
            else:
                self._loop.call_later(_PAUSE_SECONDS, again)

        def again() -> None:
            if self._tensors is tensors:
                self._try(body, rows, attempt + 1)
            else:
                # It holds what is to be dropped now.
                self._counters.capture_dropped += rows
                self._answered(sent=False)

        tensors = self._tensors

        if not self._pool.send(Job(request, self._loop.time() + _TIMEOUT_SECONDS, done)):
            done(None)

    def _answered(self, *, sent: bool) -> None:
        """Go on with what gathered meanwhile; where nothing was taken, after a while."""
        self._under_way = False
        if not self._pieces:
            return
        if sent and (self._waiting_bytes >= CHUNK_BYTES or self._waiting_rows >= CHUNK_ROWS):
            self._under_way = True
            self._loop.call_soon(self._send)
        elif self._timer is None:
            seconds = self._settings.gather_ms / 1_000
            self._timer = self._loop.call_later(seconds if sent else max(seconds, _PAUSE_SECONDS), self._timed)


def _chunk(tensors: Sequence[Tensor], pieces: Sequence[_Piece]) -> captures.Chunk:
    """Put pieces together."""
    columns = []
    for place, tensor in enumerate(tensors):
        parts = [piece.columns[place] for piece in pieces]
        shapes = {piece.shapes[place] for piece in pieces}
        declared = tensor.row_shape
        varies = -1 in declared or len(shapes) > 1 or (len(shapes) == 1 and next(iter(shapes)) != declared)
        lengths = [math.prod(piece.shapes[place]) for piece in pieces for _ in piece.rows] if varies else []
        is_text = tensor.datatype.kind is Kind.TEXT
        columns.append(
            captures.Column(
                name=tensor.name,
                datatype=_SENT_AS.get(tensor.datatype.name, tensor.datatype.name),
                shape=[-1] if varies else list(declared),
                data=b"" if is_text else b"".join(parts),  # type: ignore[arg-type]  # of numbers all are bytes
                texts=[text for part in parts for text in part] if is_text else [],  # type: ignore[misc]  # of text none is
                lengths=lengths,
            )
        )
    rows = [row for piece in pieces for row in piece.rows]
    return captures.Chunk(
        ids=b"".join(piece.ids for piece in pieces).decode(), columns=columns, rows=rows if any(rows) else []
    )


_SENT_AS: Final = {"FP16": "FP32", "BF16": "FP32"}

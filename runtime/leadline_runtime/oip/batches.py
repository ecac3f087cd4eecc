"""The kinds of batch: rows packed into one buffer, arrays put together, and one request alone.

Each knows the connections it must answer and prints their answers with the model's `Encoder`. `engine.batching` decides
when they run. Must not check requests.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from leadline_wire import predictions

from leadline_runtime import errors, logs
from leadline_runtime.oip import decoding, encoding, signature
from leadline_runtime.outcomes.recording import Recorder
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

Array = np.ndarray[Any, np.dtype[Any]]

Run = Callable[[Mapping[str, Array]], list[Array]]

_FREE_BATCHES_MAX: Final = 4
_NOT_FINITE: Final = "the model answered with a number that is not finite (NaN or infinite), which JSON cannot carry"


_TEXT: Final = b"text/plain"


class Origin(enum.Enum):
    """For whom a request is answered; requests of different origins never share a batch."""

    CLIENT = "client"
    """Its answer may get a receipt."""
    ASIDE = "aside"
    """Somebody who asks this revision by itself: no receipt, for the answer is nobody's prediction."""
    COPY = "copy"
    """Another revision's pod: the answer is the prediction in words, and nothing is counted as a client's."""


class RowLayout:
    """How one row of a model with a single packable input lies in a buffer."""

    __slots__ = ("bytes", "name", "pack_into", "row_shape", "tensor", "width")

    def __init__(self, tensor: signature.Tensor, width: int) -> None:
        # Standard size ("<"), not native: it is as fast and refuses numbers that overflow instead of making them infinite.
        packer = struct.Struct(f"<{width}{tensor.datatype.pack}")
        self.tensor = tensor
        self.name = tensor.name
        self.width = width
        self.row_shape = tensor.row_shape
        self.bytes = packer.size
        self.pack_into: Callable[..., None] = packer.pack_into


class RowBatch:
    """Requests of one row each, packed into one buffer as they are read."""

    __slots__ = (
        "_encoder",
        "_free",
        "_input",
        "_recorder",
        "_views",
        "buffer",
        "connections",
        "created",
        "identifiers",
        "origin",
        "rows",
    )

    def __init__(
        self,
        layout: RowLayout,
        max_rows: int,
        encoder: encoding.Encoder,
        recorder: Recorder,
        free: list[RowBatch],
    ) -> None:
        self.buffer = bytearray(layout.bytes * max_rows)
        self.rows = 0
        self.created = 0.0
        self.connections: list[Connection] = []
        self.identifiers: dict[int, bytes] = {}
        """Ids as JSON, by row; most requests have none."""
        self.origin = Origin.CLIENT
        self._encoder = encoder
        self._recorder = recorder
        self._input = layout.name
        self._free = free
        array = np.frombuffer(self.buffer, layout.tensor.datatype.numpy).reshape(max_rows, *layout.row_shape)
        self._views = [array[:rows] for rows in range(max_rows + 1)]

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return self.rows

    @property
    def is_counted(self) -> bool:
        """Tell whether its requests are clients'."""
        return self.origin is not Origin.COPY

    def run(self, model: Run) -> list[Array]:
        """Run the packed rows, without a copy."""
        return model({self._input: self._views[self.rows]})

    def finish(self, outputs: list[Array]) -> int:
        """Answer each row; return how many could not be."""
        recorder, connections = self._recorder, self.connections
        if self.origin is Origin.COPY:
            return self._finish_copies(outputs)
        given = recorder.rows(outputs, self.rows) if self.origin is Origin.CLIENT else None
        answers = None if self.identifiers else self._encoder.row_answers(outputs, self.rows, given)
        bodies = None
        if given is not None and recorder.copier is not None:
            # An answered connection has dropped its own.
            bodies = [connection.body for connection in connections]
        bad: set[int] = set()
        if answers is None:
            bad = self._finish_each(outputs, given.receipts if given is not None else None)
        else:
            for connection, answer in zip(connections, answers, strict=True):
                connection.answer(answer)
        if given is not None:
            recorder.took(given, bodies, self.identifiers, bad)
        return len(bad)

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for connection in self.connections:
            _refuse_failed(self._recorder, self.origin, connection, _failed(error))
        return self.rows

    def turn_away(self, status: int, message: str) -> None:
        """Refuse all without a run."""
        for connection in self.connections:
            connection.refuse(status, message)

    def release(self) -> None:
        """Empty the batch and give it back."""
        self.connections = []
        self.identifiers = {}
        self.rows = 0
        if len(self._free) < _FREE_BATCHES_MAX:
            self._free.append(self)

    def _finish_copies(self, outputs: list[Array]) -> int:
        _, bad = self._encoder.row_texts(outputs, self.rows)
        words = self._recorder.copied(outputs, self.rows)
        for row, connection in enumerate(self.connections):
            if row in bad:
                connection.refuse(500, _NOT_FINITE)
            else:
                connection.answer(responses.content(words[row], _TEXT))
        return len(bad)

    def _finish_each(self, outputs: list[Array], receipts: list[bytes | None] | None) -> set[int]:
        """Answer row by row; return the rows that could not be."""
        texts, bad = self._encoder.row_texts(outputs, self.rows)
        shapes = [(1, *array.shape[1:]) for array in outputs]
        for row, connection in enumerate(self.connections):
            if row in bad:
                connection.refuse(500, _NOT_FINITE)
                continue
            parts = [column[row] for column in texts]
            receipt = (receipts[row] if receipts is not None else None) or b""
            connection.answer(
                _filled(self._encoder, shapes, parts, self.identifiers.get(row, b""), None, receipt=receipt)
            )
        return bad


class ArrayBatch:
    """Requests of any number of rows and inputs, with the same inner shapes."""

    __slots__ = ("_encoder", "_max_rows", "_recorder", "created", "key", "members", "origin", "rows")

    def __init__(
        self,
        encoder: encoding.Encoder,
        recorder: Recorder,
        origin: Origin,
        key: tuple[tuple[int, ...], ...],
        max_rows: int,
    ) -> None:
        self.key = key
        """Inner shapes of the inputs."""
        self.rows = 0
        self.created = 0.0
        self.members: list[tuple[Connection, decoding.Request]] = []
        self.origin = origin
        self._encoder = encoder
        self._recorder = recorder
        self._max_rows = max_rows

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.members)

    @property
    def is_counted(self) -> bool:
        """Tell whether its requests are clients'."""
        return self.origin is not Origin.COPY

    def add(self, connection: Connection, request: decoding.Request) -> None:
        """Let a request join."""
        self.members.append((connection, request))
        self.rows += request.rows

    def run(self, model: Run) -> list[Array]:
        """Run the requests' arrays one after the other, cut where there are more rows than one run may have."""
        names = self.members[0][1].arrays
        whole = {
            name: np.concatenate([request.arrays[name] for _, request in self.members])
            if len(self.members) > 1
            else names[name]
            for name in names
        }
        if self.rows <= self._max_rows:
            return model(whole)
        starts = range(0, self.rows, self._max_rows)
        parts = [model({name: array[at : at + self._max_rows] for name, array in whole.items()}) for at in starts]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def finish(self, outputs: list[Array]) -> int:
        """Answer each request; return how many could not be."""
        texts, bad = self._encoder.row_texts(outputs, self.rows)
        recorder, origin = self._recorder, self.origin
        recording = recorder.recording(outputs, self.rows) if origin is Origin.CLIENT else None
        copied = recorder.copied(outputs, self.rows) if origin is Origin.COPY else []
        failures = start = 0
        for place, (connection, request) in enumerate(self.members):
            end = start + request.rows
            if bad and not bad.isdisjoint(range(start, end)):
                failures += 1
                _refuse_failed(recorder, origin, connection, _NOT_FINITE)
            elif origin is Origin.COPY:
                connection.answer(_words_of_copy(copied[start:end]))
            else:
                shapes = [(request.rows, *array.shape[1:]) for array in outputs]
                parts = [b",".join(column[start:end]) for column in texts]
                receipt = b""
                if recording is not None:
                    receipt = recording.receipt(
                        place, range(start, end), connection.body, request.identifier, request.parameters
                    )
                connection.answer(
                    _filled(
                        self._encoder,
                        shapes,
                        parts,
                        request.identifier,
                        request.outputs,
                        receipt=receipt,
                        is_row=request.rows == 1,
                    )
                )
            start = end
        return failures

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for connection, _ in self.members:
            _refuse_failed(self._recorder, self.origin, connection, _failed(error))
        return len(self.members)

    def turn_away(self, status: int, message: str) -> None:
        """Refuse all without a run."""
        for connection, _ in self.members:
            connection.refuse(status, message)

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


class LoneBatch:
    """One request to a model that has no rows."""

    __slots__ = ("_connection", "_encoder", "_recorder", "_request", "created", "origin", "rows")

    def __init__(
        self,
        encoder: encoding.Encoder,
        recorder: Recorder,
        origin: Origin,
        connection: Connection,
        request: decoding.Request,
    ) -> None:
        self.rows = 1
        self.created = 0.0
        self.origin = origin
        self._recorder = recorder
        self._encoder = encoder
        self._connection = connection
        self._request = request

    @property
    def requests(self) -> int:
        """One."""
        return 1

    @property
    def is_counted(self) -> bool:
        """Tell whether its request is a client's."""
        return self.origin is not Origin.COPY

    def run(self, model: Run) -> list[Array]:
        """Run the request's arrays."""
        return model(self._request.arrays)

    def finish(self, outputs: list[Array]) -> int:
        """Answer the request; return 1 if it could not be."""
        texts, finite = self._encoder.whole_texts(outputs)
        recorder, connection, request = self._recorder, self._connection, self._request
        if not finite:
            _refuse_failed(recorder, self.origin, connection, _NOT_FINITE)
            return 1
        if self.origin is Origin.COPY:
            connection.answer(_words_of_copy(recorder.copied(outputs, 1)))
            return 0
        receipt = b""
        recording = recorder.recording(outputs, 1) if self.origin is Origin.CLIENT else None
        if recording is not None:
            receipt = recording.receipt(0, range(1), connection.body, request.identifier, request.parameters)
        shapes = [tuple(np.shape(array)) for array in outputs]
        connection.answer(_filled(self._encoder, shapes, texts, request.identifier, request.outputs, receipt=receipt))
        return 0

    def fail(self, error: Exception) -> int:
        """Answer with 500."""
        _log_failure(error)
        _refuse_failed(self._recorder, self.origin, self._connection, _failed(error))
        return 1

    def turn_away(self, status: int, message: str) -> None:
        """Refuse it without a run."""
        self._connection.refuse(status, message)

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


def _filled(
    encoder: encoding.Encoder,
    shapes: list[tuple[int, ...]],
    parts: list[bytes],
    identifier: bytes,
    places: tuple[int, ...] | None,
    *,
    receipt: bytes,
    is_row: bool = True,
) -> bytes:
    template = encoder.template(shapes, places=places, with_id=bool(identifier), with_receipt=bool(receipt))
    chosen = parts if places is None else [parts[place] for place in places]
    if receipt:
        chosen = [receipt, *chosen]
    if identifier:
        chosen = [identifier, *chosen]
    if receipt and is_row:
        return template.signed % (receipt, template.empty_bytes + sum(map(len, chosen)), *chosen)
    return template.whole % (template.empty_bytes + sum(map(len, chosen)), *chosen)


def _words_of_copy(words: list[bytes]) -> bytes:
    """Return the answer to a copy: all rows in words, or nothing where there are too many or one has none."""
    whole = len(words) <= predictions.ROWS_MAX and all(words)
    return responses.content(b"~".join(words) if whole else b"", _TEXT)


def _refuse_failed(recorder: Recorder, origin: Origin, connection: Connection, message: str) -> None:
    """Answer what the model failed on."""
    if origin is Origin.CLIENT:
        recorder.failed(connection.body)
    connection.refuse(500, message)


def _failed(error: Exception) -> str:
    return f"the model failed: {errors.shorten(str(error), 300)}"


def _log_failure(error: Exception) -> None:
    logs.error("model failed", error=errors.shorten(str(error), 500))

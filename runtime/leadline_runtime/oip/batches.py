"""The kinds of batch: rows packed into one buffer, arrays put together, and one request alone.

Each knows the connections it must answer and prints their answers with the model's `Encoder`. `engine.batching` decides
when they run. Must not check requests.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from leadline_runtime import errors, logs
from leadline_runtime.oip import decoding, encoding, signature
from leadline_runtime.web.connection import Connection

Array = np.ndarray[Any, np.dtype[Any]]

Run = Callable[[Mapping[str, Array]], list[Array]]

_FREE_BATCHES_MAX: Final = 4
_NOT_FINITE: Final = "the model answered with a number that is not finite (NaN or infinite), which JSON cannot carry"


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
        "_views",
        "buffer",
        "connections",
        "created",
        "identifiers",
        "rows",
    )

    def __init__(
        self,
        layout: RowLayout,
        max_rows: int,
        encoder: encoding.Encoder,
        free: list[RowBatch],
    ) -> None:
        self.buffer = bytearray(layout.bytes * max_rows)
        self.rows = 0
        self.created = 0.0
        self.connections: list[Connection] = []
        self.identifiers: dict[int, bytes] = {}
        """Ids as JSON, by row; most requests have none."""
        self._encoder = encoder
        self._input = layout.name
        self._free = free
        array = np.frombuffer(self.buffer, layout.tensor.datatype.numpy).reshape(max_rows, *layout.row_shape)
        self._views = [array[:rows] for rows in range(max_rows + 1)]

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return self.rows

    def run(self, model: Run) -> list[Array]:
        """Run the packed rows, without a copy."""
        return model({self._input: self._views[self.rows]})

    def finish(self, outputs: list[Array]) -> int:
        """Answer each row; return how many could not be."""
        answers = None if self.identifiers else self._encoder.row_answers(outputs, self.rows)
        if answers is None:
            return self._finish_each(outputs)
        for connection, answer in zip(self.connections, answers, strict=True):
            connection.answer(answer)
        return 0

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for connection in self.connections:
            connection.refuse(500, f"the model failed: {errors.shorten(str(error), 300)}")
        return self.rows

    def release(self) -> None:
        """Empty the batch and give it back."""
        self.connections = []
        self.identifiers = {}
        self.rows = 0
        if len(self._free) < _FREE_BATCHES_MAX:
            self._free.append(self)

    def _finish_each(self, outputs: list[Array]) -> int:
        texts, bad = self._encoder.row_texts(outputs, self.rows)
        shapes = [(1, *array.shape[1:]) for array in outputs]
        for row, connection in enumerate(self.connections):
            if row in bad:
                connection.refuse(500, _NOT_FINITE)
                continue
            parts = [column[row] for column in texts]
            connection.answer(_filled(self._encoder, shapes, parts, self.identifiers.get(row, b""), None))
        return len(bad)


class ArrayBatch:
    """Requests of any number of rows and inputs, with the same inner shapes."""

    __slots__ = ("_encoder", "_max_rows", "created", "key", "members", "rows")

    def __init__(self, encoder: encoding.Encoder, key: tuple[tuple[int, ...], ...], max_rows: int) -> None:
        self.key = key
        """Inner shapes of the inputs."""
        self.rows = 0
        self.created = 0.0
        self.members: list[tuple[Connection, decoding.Request]] = []
        self._encoder = encoder
        self._max_rows = max_rows

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.members)

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
        failures = start = 0
        for connection, request in self.members:
            end = start + request.rows
            if bad and not bad.isdisjoint(range(start, end)):
                failures += 1
                connection.refuse(500, _NOT_FINITE)
            else:
                shapes = [(request.rows, *array.shape[1:]) for array in outputs]
                parts = [b",".join(column[start:end]) for column in texts]
                connection.answer(_filled(self._encoder, shapes, parts, request.identifier, request.outputs))
            start = end
        return failures

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for connection, _ in self.members:
            connection.refuse(500, f"the model failed: {errors.shorten(str(error), 300)}")
        return len(self.members)

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


class LoneBatch:
    """One request to a model that has no rows."""

    __slots__ = ("_connection", "_encoder", "_request", "created", "rows")

    def __init__(self, encoder: encoding.Encoder, connection: Connection, request: decoding.Request) -> None:
        self.rows = 1
        self.created = 0.0
        self._encoder = encoder
        self._connection = connection
        self._request = request

    @property
    def requests(self) -> int:
        """One."""
        return 1

    def run(self, model: Run) -> list[Array]:
        """Run the request's arrays."""
        return model(self._request.arrays)

    def finish(self, outputs: list[Array]) -> int:
        """Answer the request; return 1 if it could not be."""
        texts, finite = self._encoder.whole_texts(outputs)
        if not finite:
            self._connection.refuse(500, _NOT_FINITE)
            return 1
        shapes = [tuple(np.shape(array)) for array in outputs]
        request = self._request
        self._connection.answer(_filled(self._encoder, shapes, texts, request.identifier, request.outputs))
        return 0

    def fail(self, error: Exception) -> int:
        """Answer with 500."""
        _log_failure(error)
        self._connection.refuse(500, f"the model failed: {errors.shorten(str(error), 300)}")
        return 1

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


def _filled(
    encoder: encoding.Encoder,
    shapes: list[tuple[int, ...]],
    parts: list[bytes],
    identifier: bytes,
    places: tuple[int, ...] | None,
) -> bytes:
    template = encoder.template(shapes, places=places, with_id=bool(identifier))
    chosen = parts if places is None else [parts[place] for place in places]
    if identifier:
        chosen = [identifier, *chosen]
    return template.whole % (template.empty_bytes + sum(map(len, chosen)), *chosen)


def _log_failure(error: Exception) -> None:
    logs.error("model failed", error=errors.shorten(str(error), 500))

"""The infer handler of one loaded model: reads a request, lets it join a batch.

The usual request (one input, one row, numbers) is checked and packed here without an object of its own; whatever this
short way does not know goes through `decoding`, which gives the exact message or accepts it. The short way must accept
nothing that `decoding` refuses: the property tests hold both against each other.
"""

import math
import struct
from typing import Final

import orjson
from leadline_wire import exchange

from leadline_runtime import errors
from leadline_runtime.engine import batching, counters
from leadline_runtime.oip import batches, decoding, encoding
from leadline_runtime.oip.batches import Origin
from leadline_runtime.outcomes.recording import Recorder
from leadline_runtime.web.connection import Connection

_BUFFER_BYTES_MAX: Final = 16 << 20
"""A row buffer larger than that is not kept; such requests go the general way."""
_WIDTH_MAX: Final = 65_536
_R: Final = ord("r")
_L: Final = ord("l")
"""Letters of `true` and `false` that none of the protocol's own names has. A byte is found by one memchr; asked for a
bytes object, CPython first raises and drops a TypeError, and a word takes eight times as long as a letter."""
_COPY: Final = exchange.COPY_HEADER.encode()
_FORWARDED: Final = exchange.FORWARDED_HEADER.encode()


class Inference:
    """Answers `infer` for one model; `pack_rows=False` takes the general way for every request."""

    def __init__(
        self,
        batcher: batching.Batcher,
        encoder: encoding.Encoder,
        recorder: Recorder | None = None,
        *,
        pack_rows: bool = True,
    ) -> None:
        self.public_origin = Origin.CLIENT
        """Of what comes to the public port; ASIDE while this revision is a candidate."""
        self._batcher = batcher
        self._encoder = encoder
        self._recorder = recorder or Recorder(counters.Counters())
        self._signature = batcher.model.signature
        self._max_rows = batcher.max_rows
        self._free: list[batches.RowBatch] = []
        """Batches that have been answered; their buffers are used again."""
        self._spare: batches.RowBatch | None = None
        """Taken for a first row that has not been accepted yet."""
        self._layout = layout = self._row_layout() if pack_rows else None
        if layout is not None:
            self._name = layout.name
            self._datatype = layout.tensor.datatype.name
            self._shape = [1, *layout.row_shape]
            self._pack_into = layout.pack_into
            self._row_bytes = layout.bytes
            self.infer = self._infer_row
        else:
            self.infer = self._infer_any

    def infer_own(self, connection: Connection) -> None:
        """Take a request that came to the revision's own port."""
        headers = connection.headers
        if _COPY in headers:
            self.infer(connection, Origin.COPY)
        else:
            self.infer(connection, Origin.CLIENT if _FORWARDED in headers else Origin.ASIDE)

    def _infer_row(self, connection: Connection, origin: Origin | None = None) -> None:
        """Take a request for one row of a single numeric input; anything else goes the general way."""
        if origin is None:
            origin = self.public_origin
        body = connection.body
        batcher = self._batcher
        if batcher.queue_rows >= batcher.max_queue_rows:
            self._refuse_full(connection)
            return
        waiting = batcher.waiting
        batch = waiting[-1] if waiting else None
        if not isinstance(batch, batches.RowBatch) or batch.rows >= self._max_rows or batch.origin is not origin:
            batch = self._spare
            if batch is None:
                batch = self._spare = self._free.pop() if self._free else self._new_batch()
        try:
            request = orjson.loads(body)
            (tensor,) = request["inputs"]
            data = tensor["data"]
            if len(data) == 1 and type(data[0]) is list:
                (data,) = data
            if (
                tensor["shape"] != self._shape
                or tensor["name"] != self._name
                or tensor["datatype"] != self._datatype
                or len(tensor) != 4
                or (len(request) > 1 and (len(request) > 2 or "id" not in request))
                # struct takes true for 1; strings with these words are rare enough to go the long way.
                or (_R in body and b"true" in body)
                or (_L in body and b"false" in body)
            ):
                self._infer_any(connection, origin)
                return
            if len(request) == 2:
                batch.identifiers[batch.rows] = decoding.encoded_id(request)
            self._pack_into(batch.buffer, batch.rows * self._row_bytes, *data)
        except (ValueError, KeyError, TypeError, IndexError, struct.error, OverflowError, errors.BadRequestError):
            batch.identifiers.pop(batch.rows, None)
            self._infer_any(connection, origin)
            return
        batch.connections.append(connection)
        batcher.queue_rows += 1
        batch.rows += 1
        if batch.rows == 1:
            self._spare = None
            batch.origin = origin
            batcher.add(batch)

    def _infer_any(self, connection: Connection, origin: Origin | None = None) -> None:
        """Take a request of any kind."""
        if origin is None:
            origin = self.public_origin
        try:
            request = decoding.decode(
                decoding.load(connection.body, connection.headers.get(b"content-encoding")),
                self._signature,
            )
        except errors.BadRequestError as error:
            if b"inference-header-content-length" in connection.headers:
                connection.refuse(415, "binary tensors are not offered; send data as JSON")
                return
            connection.refuse(error.status, str(error))
            return
        batcher = self._batcher
        if not batcher.has_room(request.rows):
            self._refuse_full(connection)
            return
        batcher.queue_rows += request.rows
        if not self._signature.has_rows:
            batcher.add(batches.LoneBatch(self._encoder, self._recorder, origin, connection, request))
            return
        key = tuple(array.shape[1:] for array in (request.arrays[tensor.name] for tensor in self._signature.inputs))
        last = batcher.waiting[-1] if batcher.waiting else None
        if (
            isinstance(last, batches.ArrayBatch)
            and last.key == key
            and last.rows + request.rows <= self._max_rows
            and last.origin is origin
        ):
            last.add(connection, request)
            return
        batch = batches.ArrayBatch(self._encoder, self._recorder, origin, key, self._max_rows)
        batch.add(connection, request)
        batcher.add(batch)

    def _refuse_full(self, connection: Connection) -> None:
        batcher = self._batcher
        connection.refuse(429, f"{batcher.queue_rows} rows wait for the model, limit {batcher.max_queue_rows}")

    def _row_layout(self) -> batches.RowLayout | None:
        """Return how rows are packed; None where the model is not of the usual kind."""
        model = self._signature
        if not model.has_rows or len(model.inputs) != 1:
            return None
        tensor = model.inputs[0]
        width = math.prod(tensor.row_shape)
        if not tensor.datatype.pack or -1 in tensor.row_shape or not 0 < width <= _WIDTH_MAX:
            return None
        layout = batches.RowLayout(tensor, width)
        return layout if layout.bytes * self._max_rows <= _BUFFER_BYTES_MAX else None

    def _new_batch(self) -> batches.RowBatch:
        assert self._layout is not None
        return batches.RowBatch(self._layout, self._max_rows, self._encoder, self._recorder, self._free)

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
from leadline_runtime.oip import batches, compression, decoding, encoding, forms, raw, signature
from leadline_runtime.oip.batches import Origin
from leadline_runtime.oip.forms import Caller, Form
from leadline_runtime.outcomes.recording import Recorder

_BUFFER_BYTES_MAX: Final = 16 << 20
"""A row buffer larger than that is not kept; such requests go the general way."""
_WIDTH_MAX: Final = 65_536
_JOINED_BYTES_MAX: Final = 128 << 10
"""Of arrays put together for a model that runs in the event loop: copying more takes longer than a run of its own."""
_HEADERS_MAX: Final = 64
"""JSON headers of binary requests that are known."""
_HEADER_BYTES_MAX: Final = 4_096
"""Longest of them, and of any before a raw row that goes the short way."""
_ELEMENT_BYTES: Final = 16
"""Of one number as JSON, about."""
_BODY_BYTES: Final = 8_192
"""Of one row's JSON beside its numbers: names, an id, blanks."""
_R: Final = ord("r")
_L: Final = ord("l")
"""Letters of `true` and `false` that none of the protocol's own names has. A byte is found by one memchr; asked for a
bytes object, CPython first raises and drops a TypeError, and a word takes eight times as long as a letter."""
_HEADER: Final = forms.HEADER
_CODING: Final = b"content-encoding"
_ACCEPTED: Final = b"accept-encoding"
_CODINGS: Final = compression.WINDOW_BITS
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
        max_body_bytes: int = 16 << 20,
    ) -> None:
        self.public_origin = Origin.CLIENT
        """Of what comes to the public port; ASIDE while this revision is a candidate."""
        self._batcher = batcher
        self._encoder = encoder
        self._recorder = recorder or Recorder(counters.Counters())
        self._signature = batcher.model.signature
        self._max_rows = batcher.max_rows
        self._max_body_bytes = max_body_bytes
        """Of a body once it is unpacked."""
        self._free: list[batches.RowBatch] = []
        """Batches that have been answered; their buffers are used again."""
        self._headers: dict[bytes, Form] = {}
        self._spare: batches.RowBatch | None = None
        """Taken for a first row that has not been accepted yet."""
        self.row_bytes = 0
        """Length of a row that `take_row` takes; 0: none, for this model is not of the usual kind."""
        self._layout = layout = self._row_layout() if pack_rows else None
        self._body_bytes = 0
        """Longest JSON of one row that is read the short way."""
        if layout is not None:
            self._body_bytes = _BODY_BYTES + 2 * _ELEMENT_BYTES * layout.width
            batcher.max_queue_rows = max(1, min(batcher.max_queue_rows, batcher.max_queue_bytes // layout.bytes))
            self._name = layout.name
            self._datatype = layout.tensor.datatype.name
            self._shape = [1, *layout.row_shape]
            self._pack_into = layout.pack_into
            self._pack_raw_into = layout.pack_raw_into
            self.row_bytes = layout.bytes
            self.infer = self._infer_large if _may_be_large(self._signature) else self._infer_row
        else:
            self.infer = self._infer_any

    def infer_own(self, caller: Caller) -> None:
        """Take a request that came to the revision's own port."""
        headers = caller.headers
        if _COPY in headers:
            self.infer(caller, Origin.COPY)
        else:
            self.infer(caller, Origin.CLIENT if _FORWARDED in headers else Origin.ASIDE)

    def take_row(self, caller: Caller, row: bytes, form: Form, identifier: str | None, origin: Origin) -> None:
        """Take a request for one row that came as a raw tensor.

        Only where `row_bytes` says how long a row is; the caller has checked name, datatype and shape.
        """
        batcher = self._batcher
        if batcher.queue_rows >= batcher.max_queue_rows:
            self._refuse_full(caller, origin)
            return
        waiting = batcher.waiting
        batch = waiting[-1] if waiting else None
        if not isinstance(batch, batches.RowBatch) or batch.rows >= self._max_rows or batch.origin is not origin:
            batch = self._spare
            if batch is None:
                batch = self._spare = self._free.pop() if self._free else self._new_batch()
        rows = batch.rows
        self._pack_raw_into(batch.buffer, rows * self.row_bytes, row)
        if identifier is not None:
            batch.identifiers[rows] = identifier
        raw_rows = batch.raw_rows
        if form in raw_rows:
            raw_rows[form].append(rows)
        else:
            raw_rows[form] = [rows]
        batch.callers.append(caller)
        batcher.queue_rows += 1
        batch.rows = rows + 1
        if not rows:
            self._spare = None
            batch.origin = origin
            batcher.add(batch)

    def take(self, caller: Caller, request: decoding.Request, form: Form, origin: Origin) -> None:
        """Take a checked request of any kind."""
        batcher = self._batcher
        input_bytes = request.input_bytes
        held_bytes = batches.held_bytes(caller, request)
        if not batcher.has_room(request.rows, held_bytes):
            self._refuse_full(caller, origin)
            return
        batcher.queue_rows += request.rows
        batcher.queue_bytes += held_bytes
        if not self._signature.has_rows:
            batcher.add(batches.LoneBatch(self._recorder, origin, caller, request, form))
            return
        key = tuple(array.shape[1:] for array in (request.arrays[tensor.name] for tensor in self._signature.inputs))
        last = batcher.waiting[-1] if batcher.waiting else None
        if (
            isinstance(last, batches.ArrayBatch)
            and last.key == key
            and last.rows + request.rows <= self._max_rows
            and last.origin is origin
            and not (batcher.inline and last.array_bytes + input_bytes > _JOINED_BYTES_MAX)
        ):
            last.add(caller, request, form)
            return
        batch = batches.ArrayBatch(self._recorder, origin, key, self._max_rows)
        batch.add(caller, request, form)
        batcher.add(batch)

    def _infer_row(self, caller: Caller, origin: Origin | None = None) -> None:
        """Take a request for one row of a single numeric input; anything else goes the general way."""
        if origin is None:
            origin = self.public_origin
        if _HEADER in caller.headers:
            self._infer_binary(caller, origin)
            return
        body = caller.body
        batcher = self._batcher
        if batcher.queue_rows >= batcher.max_queue_rows:
            self._refuse_full(caller, origin)
            return
        if len(body) > self._body_bytes:
            self._infer_any(caller, origin)  # which counts what waits by its bytes, too
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
                or (len(request) > 1 and (len(request) > 2 or type(request.get("id")) is not str))
                # struct takes true for 1; strings with these words are rare enough to go the long way.
                or (_R in body and b"true" in body)
                or (_L in body and b"false" in body)
            ):
                self._infer_any(caller, origin)
                return
            self._pack_into(batch.buffer, batch.rows * self.row_bytes, *data)
        except (ValueError, KeyError, TypeError, IndexError, struct.error, OverflowError):
            self._infer_any(caller, origin)
            return
        if len(request) == 2:
            batch.identifiers[batch.rows] = request["id"]
        batch.callers.append(caller)
        batcher.queue_rows += 1
        batch.rows += 1
        if batch.rows == 1:
            self._spare = None
            batch.origin = origin
            batcher.add(batch)

    def _infer_binary(self, caller: Caller, origin: Origin) -> None:
        """Take a request whose JSON is followed by raw tensors: one row, or anything else the general way."""
        body = caller.body
        at = len(body) - self.row_bytes
        if caller.headers[_HEADER] != b"%d" % at or type(body) is not bytes or at > _HEADER_BYTES_MAX:
            self._infer_any(caller, origin)
            return
        header = body[:at]
        form = self._headers.get(header)
        identifier = None
        if form is None:
            read = self._read_header(header)
            if read is None:
                self._infer_any(caller, origin)
                return
            form, identifier = read
        self.take_row(caller, body[at:], form, identifier, origin)

    def _read_header(self, header: bytes) -> tuple[Form, str | None] | None:
        """Return form and id of a request for one raw row by its JSON; None where the general way must look closer.

        Clients say the same each time, but for the id: what has none need not be read again.
        """
        try:
            request = decoding.load(header)
            (tensor,) = request["inputs"]
            parameters = request.get("parameters") or {}
            if (
                tensor["shape"] != self._shape
                or tensor["name"] != self._name
                or tensor["datatype"] != self._datatype
                or tensor["parameters"] != {"binary_data_size": self.row_bytes}
                or bool in map(type, (*tensor["shape"], *tensor["parameters"].values()))  # true is equal to 1
                or len(tensor) != 4
                or not parameters.keys() <= {"binary_data_output"}
            ):
                return None
            places, binary = decoding.outputs(request, self._signature)
        except (KeyError, TypeError, ValueError, AttributeError, errors.BadRequestError):
            return None
        identifier = request.get("id")
        form = self._encoder.form(places, binary)
        if identifier is None:
            if len(self._headers) >= _HEADERS_MAX:
                self._headers.clear()
            self._headers[header] = form
        return (form, identifier) if identifier is None or type(identifier) is str else None

    def _infer_any(self, caller: Caller, origin: Origin | None = None) -> None:
        """Take a request of any kind."""
        if origin is None:
            origin = self.public_origin
        coding = caller.headers.get(_CODING)
        if coding is None or self._unpack(caller, coding):
            self._infer_plain(caller, origin)

    def _unpack(self, caller: Caller, coding: bytes) -> bool:
        """Unpack a body, of which copies are made so as well; return False if it was refused.

        The headers stay as they came: they may be the next request's, too.
        """
        try:
            if coding.lower() != b"identity":
                caller.body = compression.unpacked(caller.body, coding, self._max_body_bytes)
        except errors.BadRequestError as error:
            caller.refuse(error.status, str(error))
            return False
        return True

    def _infer_plain(self, caller: Caller, origin: Origin) -> None:
        """Take a request of any kind, unpacked."""
        headers = caller.headers
        text: raw.Buffer = caller.body
        tail = None
        try:
            header_bytes = headers.get(_HEADER)
            if header_bytes is not None:
                text, tail = decoding.split(text, header_bytes)
            request = decoding.decode(decoding.load(text), self._signature, tail)
        except errors.BadRequestError as error:
            caller.refuse(error.status, str(error))
            return
        accepted = headers.get(_ACCEPTED)
        form = self._encoder.form(request.outputs, request.binary, accepted if accepted in _CODINGS else b"")
        self.take(caller, request, form, origin)

    def _infer_large(self, caller: Caller, origin: Origin | None = None) -> None:
        """Take a request whose answer may be large: one row, unless the client wants it packed."""
        if caller.headers.get(_ACCEPTED) in _CODINGS:
            self._infer_any(caller, origin)
        else:
            self._infer_row(caller, origin)

    def _refuse_full(self, caller: Caller, origin: Origin) -> None:
        batcher = self._batcher
        batcher.turned_away(is_counted=origin is not Origin.COPY)
        waiting = f"{batcher.queue_rows} rows wait for the model, limit {batcher.max_queue_rows}"
        if batcher.queue_bytes:
            waiting += f"; their inputs have {batcher.queue_bytes} bytes, limit {batcher.max_queue_bytes}"
        caller.refuse(429, waiting)

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
        return batches.RowBatch(self._layout, self._max_rows, self._encoder.usual, self._recorder, self._free)


def _may_be_large(model: signature.Signature) -> bool:
    """Tell whether the answer to one row may be worth packing."""
    return any(-1 in output.row_shape for output in model.outputs) or (
        sum(math.prod(output.row_shape) for output in model.outputs) * _ELEMENT_BYTES > compression.SMALLEST_BYTES
    )

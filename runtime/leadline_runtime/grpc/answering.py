"""From a model's outputs to ModelInferResponse messages: the forms of answers over gRPC.

A request that came raw is answered raw, one that came as typed contents gets those, as Triton does. What is the same in
all raw answers of one shape (names, datatypes, shapes, model and revision) is encoded once; an answer of one row is then
its pieces put together, without an object for it. Must not know calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from leadline_runtime.grpc import bare, framing, protocol
from leadline_runtime.oip import datatypes, raw, signature
from leadline_runtime.oip.forms import Array, Caller, Copyable, Headed
from leadline_runtime.outcomes.minting import Rows

_NO_ROWS: Final[frozenset[int]] = frozenset()
_TEMPLATES_MAX: Final = 64
"""Templates kept; a model with free lengths could have any number of shapes."""
_LINES: Final = b"content-type: %b\r\n" % bare.TYPE
CONTENTS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where typed elements of a datatype are; FP16 and BF16 have no place."""


class _Template:
    """All answers of one shape, but for id, receipt and the raw tensors themselves."""

    __slots__ = ("described", "raw_bytes", "start", "tensors")

    def __init__(self, start: bytes, described: bytes, sizes: Sequence[int]) -> None:
        self.start = start
        """Model and revision."""
        self.described = described
        """What stands in `outputs`."""
        heads = [b"\x32" + framing.varint(size) for size in sizes]
        self.raw_bytes = sum(map(len, heads)) + sum(sizes)
        self.tensors = b"".join(head.replace(b"%", b"%%") + b"%b" for head in heads)
        """Takes the raw tensors."""

    def begin(self, between: bytes) -> bytes:
        """Return frame and message up to the first raw tensor, with id and receipt in their place."""
        head = self.start + between + self.described
        return b"\0" + (len(head) + self.raw_bytes).to_bytes(4, "big") + head


class RawForm:
    """Answers with raw tensors."""

    protocol = "grpc"

    def __init__(self, outputs: Sequence[signature.Tensor], places: Sequence[int], name: str, revision: str) -> None:
        self._places = places
        self._outputs = [outputs[place] for place in places]
        self._start = _field(1, name.encode()) + _field(2, revision.encode())
        self._is_fixed = all(output.datatype.kind is not datatypes.Kind.TEXT for output in self._outputs)
        """The shape tells each tensor's size."""
        self._templates: dict[tuple[tuple[int, ...], ...], _Template] = {}
        self._inner: list[tuple[int, ...]] | None = None
        self._row = self._signed = b""
        self._template = _Template(b"", b"", ())
        self._begins: dict[int, bytes] = {}
        """Of answers of one row with a receipt, up to it, by its length."""

    def copyable(self, caller: Caller) -> Copyable:
        """Return the request's message with the header that says what it is."""
        return Headed(_LINES, caller.body)

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return each row's whole answer; each can be told."""
        if not self._is_fixed or identifiers:
            return self._each(outputs, count, given, identifiers), _NO_ROWS
        inner = []
        columns: list[list[bytes]] = []
        for place, output in zip(self._places, self._outputs, strict=True):
            array = outputs[place]
            inner.append(array.shape[1:])
            data = raw.of_array(array, output.datatype)
            width = len(data) // count
            columns.append([data[at : at + width] for at in range(0, len(data), width)] if width else [b""] * count)
        if inner != self._inner:
            self._prepare(inner)
        row = self._row
        if given is None:
            return [row % parts for parts in zip(*columns, strict=True)], _NO_ROWS
        begins, signed = self._begins, self._signed
        receipts: list[Any] = given.receipts
        answers = []
        for receipt, *parts in zip(receipts, *columns, strict=True):
            if receipt is None:
                answers.append(row % tuple(parts))
                continue
            begin = begins.get(len(receipt)) or self._begin(len(receipt))
            answers.append(signed % (begin, receipt, *parts))
        return answers, _NO_ROWS

    def whole(
        self,
        outputs: Sequence[Array],
        identifier: str | None,
        receipt: Callable[[], bytes],
        *,
        is_row: bool,  # noqa: ARG002  # forms have it
    ) -> bytes:
        """Return the whole answer."""
        return self._whole(outputs, identifier, receipt())

    def _whole(self, outputs: Sequence[Array], identifier: str | None, receipt: bytes) -> bytes:
        arrays = [outputs[place] for place in self._places]
        tensors = [raw.of_array(array, each.datatype) for array, each in zip(arrays, self._outputs, strict=True)]
        between = _field(3, identifier.encode()) if identifier else b""
        if receipt:
            between += _receipt_head(len(receipt)) + receipt
        shapes = tuple(array.shape for array in arrays)
        if self._is_fixed:
            template = self._templates.get(shapes)
            if template is None:
                template = self._keep(shapes, [len(tensor) for tensor in tensors])
        else:
            template = self._make(shapes, [len(tensor) for tensor in tensors])
        return template.begin(between) + template.tensors % tuple(tensors)

    def _each(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> list[bytes]:
        answers = []
        for row in range(count):
            receipt = (given.receipts[row] if given is not None else None) or b""
            one = [array[row : row + 1] for array in outputs]
            answers.append(self._whole(one, identifiers.get(row), receipt))
        return answers

    def _prepare(self, inner: list[tuple[int, ...]]) -> None:
        """Make what answers of one row of these shapes share."""
        self._inner = inner
        shapes = [(1, *shape) for shape in inner]
        sizes = [math.prod(shape) * output.datatype.bytes for shape, output in zip(shapes, self._outputs, strict=True)]
        self._template = template = self._make(shapes, sizes)
        self._row = template.begin(b"").replace(b"%", b"%%") + template.tensors
        self._signed = b"%b%b" + template.described.replace(b"%", b"%%") + template.tensors
        self._begins = {}

    def _begin(self, receipt_bytes: int) -> bytes:
        """Return frame and message up to a receipt of this length."""
        template, head = self._template, _receipt_head(receipt_bytes)
        size = len(template.start) + len(head) + receipt_bytes + len(template.described) + template.raw_bytes
        begin = b"\0" + size.to_bytes(4, "big") + template.start + head
        self._begins[receipt_bytes] = begin
        return begin

    def _keep(self, shapes: tuple[tuple[int, ...], ...], sizes: Sequence[int]) -> _Template:
        if len(self._templates) >= _TEMPLATES_MAX:
            self._templates.clear()
        template = self._templates[shapes] = self._make(shapes, sizes)
        return template

    def _make(self, shapes: Sequence[tuple[int, ...]], sizes: Sequence[int]) -> _Template:
        described = b"".join(
            _field(
                5,
                protocol.InferResponse.InferOutputTensor(
                    name=output.name, datatype=output.datatype.name, shape=shape
                ).SerializeToString(),
            )
            for output, shape in zip(self._outputs, shapes, strict=True)
        )
        return _Template(self._start, described, sizes)


class TypedForm:
    """Answers with typed contents, for requests that had those."""

    protocol = "grpc"

    def __init__(self, outputs: Sequence[signature.Tensor], places: Sequence[int], name: str, revision: str) -> None:
        self._places = places
        self._outputs = [outputs[place] for place in places]
        self._name = name
        self._revision = revision

    def copyable(self, caller: Caller) -> Copyable:
        """Return the request's message with the header that says what it is."""
        return Headed(_LINES, caller.body)

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return each row's whole answer; each can be told."""
        answers = []
        for row in range(count):
            receipt = (given.receipts[row] if given is not None else None) or b""
            one = [array[row : row + 1] for array in outputs]
            answers.append(self._whole(one, identifiers.get(row), receipt))
        return answers, _NO_ROWS

    def whole(
        self,
        outputs: Sequence[Array],
        identifier: str | None,
        receipt: Callable[[], bytes],
        *,
        is_row: bool,  # noqa: ARG002  # forms have it
    ) -> bytes:
        """Return the whole answer."""
        return self._whole(outputs, identifier, receipt())

    def _whole(self, outputs: Sequence[Array], identifier: str | None, receipt: bytes) -> bytes:
        answer = protocol.InferResponse(model_name=self._name, model_version=self._revision, id=identifier or "")
        if receipt:
            answer.parameters["receipt"].string_param = receipt.decode()
        for place, output in zip(self._places, self._outputs, strict=True):
            array = outputs[place]
            told = answer.outputs.add(name=output.name, datatype=output.datatype.name, shape=array.shape)
            elements = array.reshape(-1).tolist()
            if output.datatype.kind is datatypes.Kind.TEXT:
                elements = [element.encode() if isinstance(element, str) else element for element in elements]
            getattr(told.contents, CONTENTS[output.datatype.name]).extend(elements)
        return framing.framed(answer.SerializeToString())


def _field(number: int, value: bytes) -> bytes:
    """Return a field of bytes as protocol buffers have it."""
    return framing.varint(number << 3 | 2) + framing.varint(len(value)) + value


def _receipt_head(size: int) -> bytes:
    """Return the entry of `parameters` that a receipt of this length ends."""
    value = b"\x1a" + framing.varint(size)  # InferParameter.string_param
    entry = _field(1, b"receipt") + b"\x12" + framing.varint(len(value) + size) + value
    return b"\x22" + framing.varint(len(entry) + size) + entry

"""From a model's outputs to answers with the binary tensor data extension: a JSON header, then raw tensors.

The header is a template made once per shape, as in `encoding`; raw tensors are cut from the outputs' own bytes. An output
that was asked for as JSON stands in the header with its data. Must not know who asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import orjson

from leadline_runtime.oip import datatypes, forms, raw, signature, texts
from leadline_runtime.oip.forms import Array, Caller, Copyable
from leadline_runtime.outcomes.minting import Rows
from leadline_runtime.web import responses

_N: Final = ord("n")
_NO_ROWS: Final[frozenset[int]] = frozenset()
_TEMPLATES_MAX: Final = 64

_Parts = tuple[list[tuple[int, ...]], list[bytes], list[bytes]]


class _Template:
    """The answer of one shape; `whole % (header's length, body's length, *parts)` is all of it.

    The parts are id and receipt where there are some; what stands in the header of each output whose header differs
    (data as JSON, or the size of a tensor of texts); then the raw tensors. `signed` has the receipt in an HTTP header as
    well, as its first part.
    """

    __slots__ = ("header_bytes", "raw_bytes", "signed", "whole")

    def __init__(self, header: bytes, parts: int, raw_bytes: int, tensors: int) -> None:
        self.header_bytes = len(header % ((b"",) * parts))
        """Length of the header before parts are filled in."""
        self.raw_bytes = raw_bytes
        """Of all raw tensors whose size the shape tells."""
        self.whole = responses.BINARY_HEAD + header + b"%b" * tensors
        self.signed = responses.BINARY_RECEIPT_HEAD + header + b"%b" * tensors


class BinaryForm:
    """Answers with at least one binary tensor."""

    protocol = "rest_binary"

    def __init__(
        self,
        outputs: Sequence[signature.Tensor],
        places: tuple[int, ...] | None,
        binary: frozenset[int],
        start: bytes,
    ) -> None:
        self._places = tuple(range(len(outputs))) if places is None else places
        self._outputs = [outputs[place] for place in self._places]
        self._binary = [place in binary for place in self._places]
        self._start = start
        self._is_fixed = all(
            is_binary and output.datatype.kind is not datatypes.Kind.TEXT
            for output, is_binary in zip(self._outputs, self._binary, strict=True)
        )
        """All are raw tensors of sizes that their shapes tell."""
        self._templates: dict[tuple[Any, ...], _Template] = {}

    def copyable(self, caller: Caller) -> Copyable:
        """Return the request as another revision is asked it."""
        return forms.copyable(caller)

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return each row's whole answer, and the rows whose numbers an output asked for as JSON cannot carry."""
        if not self._is_fixed:
            return self._each(outputs, count, given, identifiers)
        shapes: list[tuple[int, ...]] = []
        columns: list[list[bytes]] = []
        for place, output in zip(self._places, self._outputs, strict=True):
            array = outputs[place]
            shapes.append((1, *array.shape[1:]))
            data = raw.of_array(array, output.datatype)
            width = len(data) // count
            columns.append([data[at : at + width] for at in range(0, len(data), width)] if width else [b""] * count)
        if identifiers:
            receipts: list[Any] = given.receipts if given is not None else [b""] * count
            return [
                self._filled((shapes, [], parts), identifiers.get(row), receipt or b"", is_row=True)
                for row, (receipt, *parts) in enumerate(zip(receipts, *columns, strict=True))
            ], _NO_ROWS
        template = self._template(shapes)
        header, size = template.header_bytes, template.header_bytes + template.raw_bytes
        if given is None:
            whole = template.whole
            return [whole % (header, size, *parts) for parts in zip(*columns, strict=True)], _NO_ROWS
        signed = self._template(shapes, with_receipt=True)
        told, bare = signed.signed, signed.header_bytes
        total = bare + signed.raw_bytes
        receipts = given.receipts
        return [
            template.whole % (header, size, *parts)
            if receipt is None
            else told % (receipt, bare + len(receipt), total + len(receipt), receipt, *parts)
            for receipt, *parts in zip(receipts, *columns, strict=True)
        ], _NO_ROWS

    def whole(
        self, outputs: Sequence[Array], identifier: str | None, receipt: Callable[[], bytes], *, is_row: bool
    ) -> bytes | None:
        """Return the whole answer; None where a number of an output asked for as JSON is not finite."""
        parts = self._parts(outputs)
        return None if parts is None else self._filled(parts, identifier, receipt(), is_row=is_row)

    def _each(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[list[bytes], set[int]]:
        """Answer row by row."""
        answers: list[bytes] = []
        bad: set[int] = set()
        for row in range(count):
            parts = self._parts([array[row : row + 1] for array in outputs])
            if parts is None:
                bad.add(row)
                answers.append(b"")
                continue
            receipt = (given.receipts[row] if given is not None else None) or b""
            answers.append(self._filled(parts, identifiers.get(row), receipt, is_row=True))
        return answers, bad

    def _parts(self, outputs: Sequence[Array]) -> _Parts | None:
        """Return shapes, what stands in the header, and raw tensors; None where JSON cannot carry a number."""
        shapes: list[tuple[int, ...]] = []
        told: list[bytes] = []
        tensors: list[bytes] = []
        for place, output, is_binary in zip(self._places, self._outputs, self._binary, strict=True):
            array = outputs[place]
            shapes.append(array.shape)
            if is_binary:
                data = raw.of_array(array, output.datatype)
                tensors.append(data)
                if output.datatype.kind is datatypes.Kind.TEXT:
                    told.append(b"%d" % len(data))
                continue
            text = texts.of_array(array)
            if output.datatype.kind is datatypes.Kind.FLOAT and _N in text:
                return None
            told.append(text)
        return shapes, told, tensors

    def _filled(self, parts: _Parts, identifier: str | None, receipt: bytes, *, is_row: bool) -> bytes:
        shapes, told, tensors = parts
        if receipt:
            told = [receipt, *told]
        if identifier is not None:
            told = [orjson.dumps(identifier), *told]
        template = self._template(shapes, with_id=identifier is not None, with_receipt=bool(receipt))
        header = template.header_bytes + sum(map(len, told))
        size = header + sum(map(len, tensors))
        if receipt and is_row:
            return template.signed % (receipt, header, size, *told, *tensors)
        return template.whole % (header, size, *told, *tensors)

    def _template(
        self, shapes: list[tuple[int, ...]], *, with_id: bool = False, with_receipt: bool = False
    ) -> _Template:
        key = (*shapes, with_id, with_receipt)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES_MAX:
                self._templates.clear()
            template = self._templates[key] = self._make(shapes, with_id=with_id, with_receipt=with_receipt)
        return template

    def _make(self, shapes: list[tuple[int, ...]], *, with_id: bool, with_receipt: bool) -> _Template:
        outputs: list[bytes] = []
        parts = with_id + with_receipt
        raw_bytes = 0
        for output, shape, is_binary in zip(self._outputs, shapes, self._binary, strict=True):
            if not is_binary:
                rest = b'"data":[%b]'
                parts += 1
            elif output.datatype.kind is datatypes.Kind.TEXT:
                rest = b'"parameters":{"binary_data_size":%b}'
                parts += 1
            else:
                size = math.prod(shape) * output.datatype.bytes
                raw_bytes += size
                rest = b'"parameters":{"binary_data_size":%d}' % size
            name, datatype = texts.escaped(output.name), output.datatype.name.encode()
            outputs.append(b'{"name":%b,"datatype":"%b","shape":%b,%b}' % (name, datatype, orjson.dumps(shape), rest))
        identifier = b',"id":%b' if with_id else b""
        receipt = b',"parameters":{"receipt":"%b"}' if with_receipt else b""
        header = b'%b%b%b,"outputs":[%b]}' % (self._start, identifier, receipt, b",".join(outputs))
        return _Template(header, parts, raw_bytes, sum(self._binary))

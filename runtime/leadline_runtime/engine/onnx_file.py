"""The few bytes of an ONNX file that are changed before it is loaded: ZipMap is taken out.

skl2onnx ends classifiers with ZipMap unless told not to: probabilities become a list of dictionaries, which no tensor
protocol carries and which costs more than the model. The node is replaced by Identity, so that the output keeps its name
and becomes the plain tensor. The `onnx` package would do it in 30 MB; this reads and writes protobuf's wire format, of
which the specification is a page. Files without ZipMap are passed on untouched. Must not judge a file: what it cannot
follow is left as it is, for onnxruntime to refuse.
"""

from collections.abc import Iterator
from typing import Final

_GRAPH: Final = 7
"""Field numbers of onnx.proto, which are frozen: ModelProto.graph; below GraphProto.node and .output, and so on."""
_GRAPH_NODE: Final = 1
_GRAPH_OUTPUT: Final = 12
_NODE_INPUT: Final = 1
_NODE_OUTPUT: Final = 2
_NODE_OP_TYPE: Final = 4
_VALUE_NAME: Final = 1
_VALUE_TYPE: Final = 2
_TYPE_TENSOR: Final = 1
_TENSOR_ELEMENT: Final = 1
_FLOAT: Final = 1
"""TensorProto.FLOAT: what ZipMap takes."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _MalformedError(Exception):
    pass


def without_zipmap(data: bytes) -> bytes:
    """Return the model without ZipMap nodes; the same object where there is none."""
    if b"ZipMap" not in data:
        return data
    try:
        return b"".join(
            _field(number, _graph(value)) if number == _GRAPH and isinstance(value, memoryview) else bytes(raw)
            for number, value, raw in _fields(memoryview(data))
        )
    except _MalformedError:
        return data


def _graph(graph: memoryview) -> bytes:
    parts: list[bytes] = []
    plain: set[bytes] = set()
    for number, value, raw in _fields(graph):
        if number == _GRAPH_NODE and isinstance(value, memoryview):
            identity = _identity(value)
            if identity is not None:
                node, output = identity
                plain.add(output)
                parts.append(_field(_GRAPH_NODE, node))
                continue
        parts.append(bytes(raw))
    return b"".join(
        _as_tensor(part, plain) if part[:1] == bytes([_GRAPH_OUTPUT << 3 | _BYTES]) else part for part in parts
    )


def _identity(node: memoryview) -> tuple[bytes, bytes] | None:
    """Return an Identity in the place of a ZipMap, and its output's name; None for any other node."""
    fields = list(_fields(node))
    if not any(number == _NODE_OP_TYPE and _bytes(value) == b"ZipMap" for number, value, _ in fields):
        return None
    kept = b"".join(bytes(raw) for number, _, raw in fields if number in {_NODE_INPUT, _NODE_OUTPUT})
    output = next((_bytes(value) for number, value, _ in fields if number == _NODE_OUTPUT), b"")
    return kept + _field(_NODE_OP_TYPE, b"Identity"), output


def _as_tensor(part: bytes, plain: set[bytes]) -> bytes:
    """Return a graph output as a float tensor of any shape if it was a ZipMap's."""
    ((_, value, _),) = _fields(memoryview(part))
    assert isinstance(value, memoryview)
    name = next((_bytes(field) for number, field, _ in _fields(value) if number == _VALUE_NAME), b"")
    if name not in plain:
        return part
    element = bytes([_TENSOR_ELEMENT << 3 | _VARINT, _FLOAT])
    tensor = _field(_VALUE_TYPE, _field(_TYPE_TENSOR, element))
    return _field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name) + tensor)


def _bytes(value: memoryview | int) -> bytes:
    return bytes(value) if isinstance(value, memoryview) else b""


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int, memoryview]]:
    """Yield number, value and raw bytes of each field."""
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        wire = tag & 7
        value: memoryview | int = 0
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            length, at = _varint(data, at)
            value = data[at : at + length]
            at += length
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            raise _MalformedError
        if at > len(data):
            raise _MalformedError
        yield tag >> 3, value, data[start:at]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _MalformedError
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _field(number: int, value: bytes) -> bytes:
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

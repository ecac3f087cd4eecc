"""Tensors of the Open Inference Protocol as bytes: from nested lists, and back. `arrays` does it for numpy.

Raw tensors are row-major and little-endian; they carry NaN and infinity, for which JSON has no word. Messages name the input.
"""

import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from leadline_client.errors import InputError

_CODES: Final = {
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "BOOL": "?",
}
"""Codes of `struct`, by datatype; BF16 and BYTES have none."""
_FLOATS: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
DATATYPES: Final = frozenset({*_CODES, "BF16", "BYTES"})


class Tensor(NamedTuple):
    """An input or output as the model's metadata has it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1: any length."""


def pack(tensor: Tensor, value: Any) -> tuple[list[int], bytes]:
    """Return shape and raw bytes of what is passed for an input.

    Args:
        tensor: Which input.
        value: Nested lists or tuples, of equal lengths at each depth. In floating-point numbers None is NaN.

    Raises:
        InputError: It is none of that, or its elements do not fit the datatype.
    """
    shape, flat = _flat(tensor, value)
    return shape, _packed(tensor, flat)


def unpack(datatype: str, shape: Sequence[int], raw: bytes) -> Any:
    """Return nested lists of a raw tensor.

    Raises:
        ValueError: These bytes are no such tensor.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        flat: Sequence[Any] = texts(raw)
    elif datatype == "BF16":
        halves = struct.unpack(f"<{len(raw) // 2}H", raw)
        flat = struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves)))
    elif datatype in _CODES:
        flat = [each[0] for each in struct.iter_unpack(f"<{_CODES[datatype]}", raw)]
    else:
        raise ValueError(f"datatype {datatype!r} is not known")
    if len(flat) != count:
        raise ValueError(f"{len(flat)} elements, expected {count} for shape {list(shape)}")
    return _nested(flat, list(shape))


def texts(raw: bytes) -> list[str]:
    """Return the strings of a raw tensor of BYTES: each has its length in four bytes before it."""
    found, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + size > len(raw):
            raise ValueError("the last string ends too early")
        found.append(raw[at : at + size].decode())
        at += size
    return found


def packed_texts(where: str, flat: Sequence[Any]) -> bytes:
    """Return strings as a raw tensor of BYTES.

    Raises:
        InputError: One is none.
    """
    parts = []
    for place, element in enumerate(flat):
        if not isinstance(element, str | bytes):
            raise InputError(f"{where}: element {place}: expected a string for BYTES, got {shown(element)}")
        text = element.encode() if isinstance(element, str) else element
        parts += [struct.pack("<I", len(text)), text]
    return b"".join(parts)


def where(tensor: Tensor) -> str:
    """Return how messages name an input."""
    return f'inputs["{tensor.name}"]'


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _flat(tensor: Tensor, value: Any) -> tuple[list[int], Sequence[Any]]:
    if not isinstance(value, list | tuple):
        return [], [value]
    shape, level = [len(value)], value
    while level and isinstance(level[0], list | tuple):
        width = len(level[0])
        for place, part in enumerate(level):
            if not isinstance(part, list | tuple) or len(part) != width:
                found = f"{len(part)} elements" if isinstance(part, list | tuple) else shown(part)
                raise InputError(
                    f"{where(tensor)}: expected {width} elements at each place of depth {len(shape)}, as at place 0; "
                    f"got {found} at place {place}"
                )
        shape.append(width)
        level = list(itertools.chain.from_iterable(level))
    return shape, level


def _packed(tensor: Tensor, flat: Sequence[Any]) -> bytes:
    datatype = tensor.datatype
    if datatype == "BYTES":
        return packed_texts(where(tensor), flat)
    if datatype not in _CODES and datatype != "BF16":
        raise InputError(f"{where(tensor)}: datatype {datatype} is not known to this client; use a newer one")
    if datatype == "BOOL":
        place = next((place for place, each in enumerate(flat) if not isinstance(each, bool)), None)
        if place is not None:
            raise _misfit(tensor, place, flat[place])
    if datatype in _FLOATS and None in flat:
        flat = [math.nan if each is None else each for each in flat]
    code = _CODES.get(datatype, "f")
    try:
        raw = struct.pack(f"<{len(flat)}{code}", *flat)
    except (struct.error, OverflowError, TypeError, ValueError) as error:
        raise _misfit(tensor, *_first_misfit(code, flat)) from error
    return _halved(raw) if datatype == "BF16" else raw


def _first_misfit(code: str, flat: Sequence[Any]) -> tuple[int, Any]:
    for place, element in enumerate(flat):
        try:
            struct.pack(f"<{code}", element)
        except (struct.error, OverflowError, TypeError, ValueError):
            return place, element
    return 0, flat[0]


def _misfit(tensor: Tensor, place: int, element: object) -> InputError:
    kind = (
        "a number" if tensor.datatype in _FLOATS else "true or false" if tensor.datatype == "BOOL" else "a whole number"
    )
    return InputError(
        f"{where(tensor)}: element {place}: expected {kind} that {tensor.datatype} holds, got {shown(element)}"
    )


def _halved(raw: bytes) -> bytes:
    """Return the upper halves of FP32 numbers, rounded to the nearest, ties to even; NaN stays NaN."""
    halves = []
    for (bits,) in struct.iter_unpack("<I", raw):
        is_nan = bits & 0x7FFFFFFF > 0x7F800000
        halves.append((bits >> 16) | 0x40 if is_nan else (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return struct.pack(f"<{len(halves)}H", *halves)


def _nested(flat: Sequence[Any], shape: list[int]) -> Any:
    if not shape:
        return flat[0]
    level: Sequence[Any] = flat
    for depth in range(len(shape) - 1, 0, -1):
        width = shape[depth]
        level = [list(level[width * place : width * (place + 1)]) for place in range(math.prod(shape[:depth]))]
    return list(level)

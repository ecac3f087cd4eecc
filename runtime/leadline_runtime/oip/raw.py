"""Raw tensors: an array's elements in row-major order, little-endian, as the binary tensor data extension and gRPC have them.

Texts are elements of a length in four bytes and so many bytes of UTF-8; BF16 is the upper half of FP32, and is held as
FP32 everywhere else. A raw tensor is looked at where it lies, without a copy, unless it lies askew for its datatype.
Must not know how a tensor came.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np

from leadline_runtime import errors
from leadline_runtime.oip import datatypes

Array = np.ndarray[Any, np.dtype[Any]]
Buffer = bytes | bytearray | memoryview

_LENGTH: Final = struct.Struct("<I")


def to_array(data: Buffer, datatype: datatypes.Datatype, shape: tuple[int, ...], where: str) -> Array:
    """Return the array that a raw tensor holds.

    Args:
        data: The whole tensor's bytes; the array may share them.
        datatype: Its.
        shape: Its.
        where: For messages, e.g. `input "x"`.

    Raises:
        BadRequestError: There are too many bytes or too few, or they are none of this datatype.
    """
    count = math.prod(shape)
    if datatype.kind is datatypes.Kind.TEXT:
        return _texts(data, count, where).reshape(shape)
    size = len(data)
    if size != count * datatype.bytes:
        raise errors.BadRequestError(
            f"{where}: expected {count * datatype.bytes} bytes for shape {list(shape)} of {datatype.name}, got {size}"
        )
    if datatype is datatypes.BF16:
        return bf16_array(np.frombuffer(data, "<u2")).reshape(shape)
    if datatype.kind is datatypes.Kind.BOOLEAN:
        octets: Array = np.frombuffer(data, np.uint8)
        if octets.size and octets.max() > 1:
            place = int(np.flatnonzero(octets > 1)[0])
            raise errors.BadRequestError(f"{where}: element {place}: expected 0 or 1 for BOOL, got {octets[place]}")
        return octets.view(np.bool_).reshape(shape)
    array: Array = np.frombuffer(data, datatype.numpy)
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def of_array(array: Array, datatype: datatypes.Datatype) -> bytes:
    """Return an array as a raw tensor."""
    if datatype.kind is datatypes.Kind.TEXT:
        pieces: list[bytes] = []
        for element in array.ravel().tolist():
            text = element if isinstance(element, bytes) else str(element).encode()
            pieces += (_LENGTH.pack(len(text)), text)
        return b"".join(pieces)
    if datatype is datatypes.BF16:
        return bf16_bits(array).tobytes()
    return array.tobytes()


def bf16_array(bits: Array) -> Array:
    """Return BF16 as FP32, given as its 16 bits."""
    array: Array = (bits.astype("<u4") << 16).view("<f4")
    return array


def to_bf16(array: Array) -> Array:
    """Return each FP32 as the nearest number that BF16 has."""
    return bf16_array(bf16_bits(array))


def bf16_bits(array: Array) -> Array:
    """Return the 16 bits of the nearest BF16 to each FP32; what is not a number stays so."""
    bits = np.asarray(array, np.float32, order="C").view(np.uint32)  # a scalar stays one
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(array), quiet, rounded).astype(np.uint16)


def _texts(data: Buffer, count: int, where: str) -> Array:
    """Return the texts in a raw tensor."""
    size, at = len(data), 0
    texts: list[str] = []
    view = memoryview(data)
    while at < size:
        if at + 4 > size:
            raise errors.BadRequestError(f"{where}: element {len(texts)}: expected 4 bytes of length, got {size - at}")
        (length,) = _LENGTH.unpack_from(view, at)
        at += 4
        if at + length > size:
            raise errors.BadRequestError(
                f"{where}: element {len(texts)}: expected {length} bytes as its length says, got {size - at}"
            )
        try:
            texts.append(str(view[at : at + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise errors.BadRequestError(
                f"{where}: element {len(texts)}: expected UTF-8, for tensors of ONNX hold text; {error.reason}"
            ) from error
        at += length
        if len(texts) > count:
            break
    if len(texts) != count:
        got = f"more than {count}" if len(texts) > count else str(len(texts))
        raise errors.BadRequestError(f"{where}: expected {count} elements for its shape, got {got}")
    array: Array = np.empty(count, object)
    array[:] = texts
    return array

"""The same for numpy's arrays; imported only where numpy is."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from leadline_client import tensors
from leadline_client.errors import InputError

_DTYPES: Final = {
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "BOOL": "?",
}


def pack(tensor: tensors.Tensor, value: Any) -> tuple[list[int], bytes]:
    """Return shape and raw bytes of an array.

    Floating-point numbers are rounded to the input's datatype, whole numbers may become any kind of number that holds them;
    nothing else is converted.

    Raises:
        InputError: It does not fit.
    """
    array = np.asarray(value)
    shape = list(array.shape)
    where = tensors.where(tensor)
    datatype = tensor.datatype
    if datatype == "BYTES":
        return shape, tensors.packed_texts(where, array.ravel().tolist())
    if array.dtype.kind == "O":
        # A table with mixed columns, missing values or Python's numbers: element by element, as lists are.
        _, raw = tensors.pack(tensor, array.ravel().tolist())
        return shape, raw
    name = _DTYPES.get(datatype, "<f4")
    kind = np.dtype(name).kind
    fits = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[kind]
    if array.dtype.kind not in fits:
        raise InputError(f"{where}: expected an array for {datatype}, got one of {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(name, order="C")
        is_wrong = converted != array if kind in "iu" else np.isinf(converted) & np.isfinite(array)
    if kind != "b" and bool(is_wrong.any()):
        place = int(np.flatnonzero(is_wrong)[0])
        raise InputError(
            f"{where}: element {place}: expected a number that {datatype} holds, got {array.ravel()[place]}"
        )
    if datatype == "BF16":
        return shape, _halved(converted)
    return shape, converted.tobytes()


def unpack(datatype: str, shape: Sequence[int], raw: bytes) -> Any:
    """Return an array of a raw tensor; BF16 as FP32, BYTES as objects.

    Raises:
        ValueError: These bytes are no such tensor.
    """
    if datatype == "BYTES":
        found = np.array(tensors.texts(raw), dtype=object)
    elif datatype == "BF16":
        found = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    elif datatype in _DTYPES:
        found = np.frombuffer(raw, _DTYPES[datatype]).copy()  # the buffer cannot be written to
    else:
        raise ValueError(f"datatype {datatype!r} is not known")
    return found.reshape(shape)


def _halved(numbers: Any) -> bytes:
    bits = numbers.view("<u4")
    rounded = (bits.astype("u8") + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return bytes(np.where(np.isnan(numbers), (bits >> 16) | 0x40, rounded).astype("<u2").tobytes())

"""Arrays as JSON text without brackets, the whole or row by row. Must not judge what the numbers are."""

from typing import Any, Final

import numpy as np
import orjson

Array = np.ndarray[Any, np.dtype[Any]]

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


def escaped(text: str) -> bytes:
    """Return a string as JSON inside a template of `%`."""
    return orjson.dumps(text).replace(b"%", b"%%")


def of_array(array: Array) -> bytes:
    """Return all elements in row-major order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == object:
        return orjson.dumps(flat.tolist())[1:-1]
    return orjson.dumps(flat, option=_NUMPY)[1:-1]


def of_rows(array: Array, rows: int) -> list[bytes]:
    """Return the elements of each row; the first dimension is `rows`."""
    if array.dtype == object:
        return [orjson.dumps(row)[1:-1] for row in array.reshape(rows, -1).tolist()]
    if array.ndim == 1:
        return orjson.dumps(array, option=_NUMPY)[1:-1].split(b",")
    if array.ndim > 2:
        array = array.reshape(rows, -1)
    return orjson.dumps(array, option=_NUMPY)[2:-2].split(b"],[")

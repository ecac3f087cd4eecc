"""From a Parquet file to one .npy file per column that is needed.

Runs as a process of its own (`python -m leadline_runtime.testset.columns`), so that neither supervisor nor worker ever
holds pyarrow's memory and a file that crashes its reader crashes nothing that serves. Takes an `orders.Order` as JSON on
standard input, answers a `Result` as JSON on standard output. Next step: `testset.runner` reads the files.
"""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from leadline_wire import exchange

from leadline_runtime.oip import datatypes
from leadline_runtime.testset import orders
from leadline_runtime.testset.orders import Order, Result

Array = np.ndarray[Any, np.dtype[Any]]

ROWS_MAX: Final = 65_536
"""Keeps bitmap, memory and time of a run bounded."""
_VALUES_BYTES_MAX: Final = 1 << 30
"""Of one column, as arrays."""


class _UnusableError(Exception):
    """The file cannot serve as test set of this model; the message says why."""


def read(order: Order) -> Result:
    """Write the columns' files."""
    try:
        with pq.ParquetFile(order.path) as file:
            return Result(rows=_write(order, file))
    except _UnusableError as error:
        return Result(trouble=f"test set {order.uri}: {error}")
    except (pa.ArrowException, OSError, ValueError) as error:
        return Result(trouble=f"test set {order.uri}: not a readable Parquet file: {error}")


def _write(order: Order, file: Any) -> int:
    names = file.schema_arrow.names
    rows: int = file.metadata.num_rows
    if not rows:
        raise _UnusableError("has no rows; expected at least one")
    if rows > ROWS_MAX:
        raise _UnusableError(f"has {rows} rows; expected at most {ROWS_MAX}")
    _require(order.truth, names, "spec.quality.testSet.truth")
    for tensor in order.inputs:
        _require(tensor.name, names, "one column per model input")
    folder = Path(order.folder)
    np.save(folder / orders.TRUTH_FILE, _truth(file, order.truth), allow_pickle=False)
    for place, tensor in enumerate(order.inputs):
        np.save(folder / orders.input_file(place), _input(file, tensor, rows), allow_pickle=False)
    return rows


def _require(name: str, names: list[str], why: str) -> None:
    if name not in names:
        raise _UnusableError(f'column "{name}" not found ({why}); it has {", ".join(names)}')


def _column(file: Any, name: str) -> Any:
    column = file.read(columns=[name]).column(name).combine_chunks()
    if column.null_count:
        raise _UnusableError(f'column "{name}" has {column.null_count} empty cells; expected none')
    return column


def _truth(file: Any, name: str) -> Array:

    column = _column(file, name)
    kind = pa.types
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_integer(column.type) or kind.is_floating(column.type) or kind.is_boolean(column.type):
        return _numpy(column)
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return _numpy(column).astype(str)
    raise _UnusableError(f'column "{name}" has type {column.type}; expected whole numbers, text or booleans')


def _input(file: Any, tensor: exchange.TensorInfo, rows: int) -> Array:

    column = _column(file, tensor.name)
    where = f'column "{tensor.name}"'
    # The first dimension is the rows'; a scalar input has none, and takes one value per row.
    inner = tensor.shape[1:]
    found: list[int] = []
    while pa.types.is_nested(column.type):
        if not _is_list(column.type):
            raise _UnusableError(f"{where} has type {column.type}; expected numbers or lists of them")
        flat = column.flatten()
        parts = len(column)
        if len(flat) % parts or not _even(column, len(flat) // parts):
            raise _UnusableError(
                f"{where} has lists of different lengths; expected {_shown(inner)} elements in each row"
            )
        found.append(len(flat) // parts)
        column = flat
    count = 1
    for length in found:
        count *= length
    if count * rows * 8 > _VALUES_BYTES_MAX:
        raise _UnusableError(f"{where} holds {count * rows} values; expected at most {_VALUES_BYTES_MAX // 8}")
    shape = _fit(inner, found, where)
    datatype = datatypes.BY_NAME[tensor.datatype]
    values = _numpy(column)
    if (values.dtype.kind in "OU") is not (datatype.kind is datatypes.Kind.TEXT):
        raise _UnusableError(f"{where} holds {column.type}; expected {datatype.kind.value} for {tensor.datatype}")
    if column.null_count:
        raise _UnusableError(f"{where} has empty elements; expected none")
    typed = values.astype(str) if datatype.kind is datatypes.Kind.TEXT else values.astype(datatype.numpy)
    return typed.reshape(rows, *shape)


def _is_list(column_type: Any) -> bool:

    kind = pa.types
    return bool(kind.is_list(column_type) or kind.is_large_list(column_type) or kind.is_fixed_size_list(column_type))


def _even(column: Any, length: int) -> bool:

    lengths = pc.min_max(pc.list_value_length(column))
    return bool(lengths["min"].as_py() == length == lengths["max"].as_py())


def _fit(inner: list[int], found: list[int], where: str) -> list[int]:
    """Return the shape of one row: nested as the input is, or flat with as many elements."""
    if len(found) == len(inner) and all(want in {-1, have} for want, have in zip(inner, found, strict=True)):
        return found
    count = have = 1
    for length in found:
        have *= length
    for length in inner:
        count *= length
    if -1 not in inner and len(found) <= 1 and have == count:
        return inner
    raise _UnusableError(f"{where} has {_shown(found)} elements in each row; expected {_shown(inner)}")


def _shown(shape: list[int]) -> str:
    return " x ".join("any number of" if length == -1 else str(length) for length in shape) or "1"


def _numpy(column: Any) -> Array:
    array: Array = column.to_numpy(zero_copy_only=False)
    return array


def main() -> None:
    """Answer the order on standard input."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(read(order)))


if __name__ == "__main__":
    main()

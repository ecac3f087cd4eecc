"""Test sets on disk: a Parquet file with one list column, the model's input, and one column of true answers.

The runtime reads the same form. Next step: `packaging`. Must not judge answers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leadline_cli import errors


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows that the model has never seen, with their true answers."""

    input_name: str
    rows: npt.NDArray[Any]
    """Shape (n, k), as precise as they came: float32 or float64."""
    truth_name: str
    truths: npt.NDArray[Any]
    """Shape (n,), whole numbers or strings."""


def read(path: Path, *, truth: str, input_name: str | None = None) -> Examples:
    """Read a test set.

    Args:
        path: A Parquet file.
        truth: Column with the true answers.
        input_name: List column that is the model's input; None: the only one.

    Raises:
        Refused: The file cannot be read or used; the message names the column.
    """
    if not path.is_file():
        raise errors.Refused(f"{path}: No such file")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise errors.Refused(f"{path}: is no Parquet file ({error})") from error
    if table.num_rows == 0:
        raise errors.Refused(f"{path}: has no rows; expected 500 or more, so that the test can see a drop")
    columns = ", ".join(table.column_names)
    if truth not in table.column_names:
        raise errors.Refused(f"{path}: has no column {truth!r} with true answers; it has: {columns}")
    lists = [field.name for field in table.schema if _is_list(field.type) and field.name != truth]
    name = input_name or (lists[0] if len(lists) == 1 else None)
    if name is None:
        raise errors.Refused(
            f"{path}: expected one column of number lists as the model's input, found {len(lists)}; name it by --input "
            f"(columns: {columns})"
        )
    if name not in lists:
        raise errors.Refused(f"{path}: expected a column {name!r} of number lists; it has: {columns}")
    return Examples(name, _rows(path, name, table.column(name)), truth, _truths(path, truth, table.column(truth)))


def write(path: Path, examples: Examples) -> None:
    """Write a test set as the runtime reads it: 32-bit numbers in fixed-size lists."""
    width = examples.rows.shape[1]
    flat = pa.array(np.ascontiguousarray(examples.rows, dtype=np.float32).reshape(-1))
    table = pa.table(
        {
            examples.input_name: pa.FixedSizeListArray.from_arrays(flat, width),
            examples.truth_name: pa.array(examples.truths.tolist()),
        }
    )
    pq.write_table(table, path, compression="zstd")


def _rows(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    array = column.combine_chunks()
    if array.null_count:
        raise errors.Refused(f"{path}: column {name!r} has {array.null_count} empty rows")
    values = array.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise errors.Refused(f"{path}: column {name!r}: expected lists of numbers, got {values.type}")
    if values.null_count:
        raise errors.Refused(f"{path}: column {name!r} has lists with empty places")
    lengths = sorted(pc.unique(pc.list_value_length(array)).to_pylist())
    if len(lengths) != 1:
        raise errors.Refused(f"{path}: column {name!r}: expected lists of one length, got {lengths[:5]}")
    numbers = values.to_numpy(zero_copy_only=False)
    numbers = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise errors.Refused(f"{path}: column {name!r} has NaN or infinite numbers")
    return np.asarray(numbers.reshape(len(array), -1))


def _truths(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    if column.null_count:
        raise errors.Refused(f"{path}: column {name!r} has {column.null_count} rows without a true answer")
    if not (
        pa.types.is_integer(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ):
        raise errors.Refused(f"{path}: column {name!r}: expected whole numbers or strings, got {column.type}")
    return np.asarray(column.to_pylist())


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))

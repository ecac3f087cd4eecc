"""Test sets on disk, and as arrays: rows that the model has never seen, with their true answers.

Read from Parquet, CSV or npz: one column of number lists that is the model's input, or one column for each of its
numbers. Written as Parquet with one list column, which the runtime reads. Next step: `packaging`. Must not judge answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from leadline_cli import errors

INPUT: Final = "input"
"""Name of the input where the file has a column for each number."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows that the model has never seen, with their true answers."""

    input_name: str
    rows: npt.NDArray[Any]
    """Shape (n, ...), as precise as they came: float32 or float64; NaN where a number is missing."""
    truth_name: str
    truths: npt.NDArray[Any]
    """Shape (n,), whole numbers, strings or numbers."""


def check_is_file(path: Path) -> None:
    """Refuse what is none.

    Raises:
        Refused: It is not there, or a folder.
    """
    if path.is_dir():
        raise errors.Refused(f"{path}: is a folder; expected a Parquet, CSV or npz file")
    if not path.exists():
        raise errors.Refused(f"{path}: there is no such file")


def read(path: Path, *, truth: str, input_name: str | None = None, features: Sequence[str] = ()) -> Examples:
    """Read a test set.

    Args:
        path: A Parquet, CSV or npz file.
        truth: Column with the true answers.
        input_name: List column that is the model's input; None: the only one, or all other columns.
        features: Names of the columns that the model was trained on, in its order; empty: not known.

    Raises:
        Refused: The file cannot be read or used; the message names the column.
    """
    check_is_file(path)
    table = _table(path)
    if table.num_rows == 0:
        raise errors.Refused(f"{path}: has no rows; expected 500 or more, so that the test can see a drop")
    columns = _shown(table.column_names)
    if truth not in table.column_names:
        raise errors.Refused(f"{path}: has no column {truth!r} with true answers; it has: {columns}")
    truths = _truths(path, truth, table.column(truth))
    lists = [field.name for field in table.schema if _is_list(field.type) and field.name != truth]
    if not lists and input_name is None:
        return Examples(INPUT, _scalars(path, table, truth, features), truth, truths)
    name = input_name or (lists[0] if len(lists) == 1 else None)
    if name is None:
        raise errors.Refused(
            f"{path}: expected one column of number lists as the model's input, found {len(lists)}; name it by --input "
            f"(columns: {columns})"
        )
    if name not in lists:
        raise errors.Refused(f"{path}: expected a column {name!r} of number lists; it has: {columns}")
    return Examples(name, _rows(path, name, table.column(name)), truth, truths)


def of_arrays(rows: Any, truths: Any, *, input_name: str = INPUT, truth_name: str = "truth") -> Examples:
    """Return a test set that is in memory: arrays, lists, or tables with one column for each number.

    Raises:
        Refused: They are no numbers, or do not fit each other.
    """
    try:
        numbers = np.asarray(rows)
        numbers = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise errors.Refused(f"rows: expected numbers, shape (n, k); {error}") from error
    answers = np.asarray(truths)
    if answers.dtype == object and all(isinstance(answer, str) for answer in answers.ravel()):
        answers = answers.astype(str)
    if numbers.ndim < 2 or not len(numbers):
        raise errors.Refused(f"rows: expected shape (n, k) with at least one row, got {list(numbers.shape)}")
    if answers.shape not in {(len(numbers),), (len(numbers), 1)}:
        raise errors.Refused(f"truths: expected shape [{len(numbers)}], one for each row, got {list(answers.shape)}")
    if answers.dtype.kind not in "iufUb":
        raise errors.Refused(f"truths: expected numbers or strings, got {answers.dtype}")
    if answers.dtype.kind == "b":
        answers = answers.astype(np.int64)
    return Examples(input_name, numbers, truth_name, answers.reshape(-1))


def write(path: Path, examples: Examples) -> None:
    """Write a test set as the runtime reads it: 32-bit numbers in fixed-size lists."""
    width = int(np.prod(examples.rows.shape[1:]))
    flat = pa.array(np.ascontiguousarray(examples.rows, dtype=np.float32).reshape(-1))
    table = pa.table(
        {
            examples.input_name: pa.FixedSizeListArray.from_arrays(flat, width),
            examples.truth_name: pa.array(examples.truths.tolist()),
        }
    )
    pq.write_table(table, path, compression="zstd")


def _table(path: Path) -> Any:
    kind = {".csv": "CSV", ".npz": "npz"}.get(path.suffix.lower(), "Parquet")
    try:
        match kind:
            case "CSV":
                return pv.read_csv(path)
            case "npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return pa.table({name: _column(arrays[name]) for name in arrays.files})
        return pq.read_table(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise errors.Refused(f"{path}: is no {kind} file that can be read ({error})") from error


def _column(array: npt.NDArray[Any]) -> Any:
    if array.ndim < 2:
        return pa.array(array)
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(array.shape[1:])))


def _scalars(path: Path, table: Any, truth: str, features: Sequence[str]) -> npt.NDArray[Any]:
    """Return the columns of single numbers, in the order that the model knows, side by side."""
    names = list(features) or [name for name in table.column_names if name != truth]
    for name in names:
        if name not in table.column_names:
            raise errors.Refused(
                f"{path}: has no column {name!r}, which the model was trained on; it has: {_shown(table.column_names)}"
            )
    if not names:
        raise errors.Refused(f"{path}: has no column but {truth!r}; expected the model's input as well")
    kinds = {name: table.schema.field(name).type for name in names}
    for name, kind in kinds.items():
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise errors.Refused(f"{path}: column {name!r}: expected numbers, got {kind}; leave it out or encode it")
    dtype = np.float32 if set(kinds.values()) == {pa.float32()} else np.float64
    arrays = [
        table.column(name).cast(pa.float64() if dtype is np.float64 else pa.float32(), safe=False) for name in names
    ]
    rows = np.column_stack([array.to_numpy().astype(dtype) for array in arrays])
    _check_finite(path, names, rows)
    return rows


def _check_finite(path: Path, names: Sequence[str], rows: npt.NDArray[Any]) -> None:
    infinite = np.isinf(rows).any(axis=0)
    if infinite.any():
        name = names[int(np.flatnonzero(infinite)[0])] if len(names) > 1 else names[0]
        raise errors.Refused(f"{path}: column {name!r} has infinite numbers")


def _rows(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    array = column.combine_chunks()
    if array.null_count:
        raise errors.Refused(f"{path}: column {name!r} has {array.null_count} empty rows")
    values = array.flatten()
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise errors.Refused(f"{path}: column {name!r}: expected lists of numbers, got {values.type}")
    if values.null_count:
        raise errors.Refused(f"{path}: column {name!r} has lists with empty places; put NaN where a number is missing")
    lengths = sorted(pc.unique(pc.list_value_length(array)).to_pylist())
    if len(lengths) != 1:
        raise errors.Refused(f"{path}: column {name!r}: expected lists of one length, got {lengths[:5]}")
    numbers = values.to_numpy(zero_copy_only=False)
    numbers = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
    _check_finite(path, [name], numbers)
    return np.asarray(numbers.reshape(len(array), -1))


def _truths(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    if column.null_count:
        raise errors.Refused(f"{path}: column {name!r} has {column.null_count} rows without a true answer")
    if pa.types.is_dictionary(column.type):
        column = column.combine_chunks().dictionary_decode()
    kind = column.type
    if pa.types.is_boolean(kind):
        return np.asarray(column.to_pylist(), dtype=np.int64)
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise errors.Refused(f"{path}: column {name!r}: expected numbers or strings, got {kind}")
    return np.asarray(column.to_pylist())


def _shown(names: Sequence[str], most: int = 12) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))

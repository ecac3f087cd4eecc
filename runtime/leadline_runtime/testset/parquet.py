"""Columns of a Parquet file, by pyarrow, one after the other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leadline_runtime.testset import sources
from leadline_runtime.testset.sources import Array, UnusableError, Wish


class Parquet:
    """An open Parquet file."""

    def __init__(self, path: Path) -> None:
        self._file: Any = pq.ParquetFile(path)
        self._types = {field.name: field.type for field in self._file.schema_arrow}
        self._wishes: Mapping[str, Wish] = {}
        self.names: list[str] = list(self._file.schema_arrow.names)
        self.rows = 0

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """Note what is wanted, and refuse what is too large before it is read."""
        self._wishes = wishes
        self.rows = sources.check_rows(self._file.metadata.num_rows)
        counts: dict[str, int] = {}
        for group in range(self._file.metadata.num_row_groups):
            found = self._file.metadata.row_group(group)
            for number in range(found.num_columns):
                chunk = found.column(number)
                name = _column_of(chunk.path_in_schema, self._types)
                counts[name] = counts.get(name, 0) + chunk.num_values
        for name in wishes:
            sources.check_values(name, counts.get(name, 0))

    def is_scalar(self, name: str) -> bool:
        """Tell by the column's type."""
        return not pa.types.is_nested(self._types[name])

    def column(self, name: str) -> Array:
        """Return one column, lists unfolded into dimensions."""
        column = self._file.read(columns=[name]).column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        wish = self._wishes[name]
        if wish.kind is None and pa.types.is_nested(column.type):
            raise UnusableError(
                f"{sources.place(name)} has type {column.type}; expected whole numbers, text or booleans"
            )
        shape = [len(column)]
        while pa.types.is_nested(column.type):
            if not _is_list(column.type):
                raise UnusableError(
                    f"{sources.place(name)} has type {column.type}; expected numbers or lists of them, one per row"
                )
            _refuse_missing(column, name, shape)
            column, length = _unfolded(column, name)
            shape.append(length)
        return _array(column, name, shape, wish)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _column_of(path: str, names: Mapping[str, Any]) -> str:
    """Return the column that a path in the schema belongs to: `X.list.element` to `X`."""
    while path and path not in names:
        path = path.rpartition(".")[0]
    return path


def _unfolded(column: Any, name: str) -> tuple[Any, int]:
    lengths = pc.min_max(pc.list_value_length(column))
    least, most = lengths["min"].as_py(), lengths["max"].as_py()
    if least != most:
        raise UnusableError(
            f"{sources.place(name)} has lists of different lengths, {least} to {most}; expected the same in each row"
        )
    return column.flatten(), most


def _array(column: Any, name: str, shape: list[int], wish: Wish) -> Array:
    kind = pa.types
    plain = kind.is_integer(column.type) or kind.is_boolean(column.type)
    is_text = kind.is_string(column.type) or kind.is_large_string(column.type)
    if kind.is_binary(column.type) or kind.is_large_binary(column.type):
        try:
            column, is_text = column.cast(pa.string()), True
        except pa.ArrowInvalid as error:
            raise UnusableError(f"{sources.place(name)} holds bytes that are not UTF-8; expected text") from error
    if not (plain or is_text or kind.is_floating(column.type)):
        raise UnusableError(f"{sources.place(name)} has type {column.type}; expected numbers, text or booleans")
    if column.null_count and (plain or is_text or wish.kind is None) and not _takes_missing(column, wish):
        _refuse_missing(column, name, shape)
    values = column.to_numpy(zero_copy_only=False)
    if is_text:
        values = values.astype(str)
    elif values.dtype.kind == "O":  # booleans with gaps
        values = np.array([np.nan if value is None else float(value) for value in values])
    return np.asarray(values.reshape(shape))


def _takes_missing(column: Any, wish: Wish) -> bool:
    """Tell whether a gap can be NaN: numbers that become floating-point numbers."""
    is_number = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
    return is_number and wish.kind is not None and wish.kind.name == "FLOAT"


def _refuse_missing(column: Any, name: str, shape: list[int]) -> None:
    if not column.null_count:
        return
    first = pc.index(column.is_null(), True).as_py()
    for length in shape[1:]:
        first //= length
    what = "is empty" if len(shape) == 1 else "has empty elements"
    raise UnusableError(f"{sources.place(name, first)} {what} ({column.null_count} such cells); expected none")


def _is_list(column_type: Any) -> bool:
    kind = pa.types
    return bool(kind.is_list(column_type) or kind.is_large_list(column_type) or kind.is_fixed_size_list(column_type))

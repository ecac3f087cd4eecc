"""Captured inputs as Parquet: a column per input, as test sets have them, beside `prediction_id` and `row`.

A file is what one chunk held; `Reader` finds rows of it again by prediction. arro3 writes and reads it, as it does exports; it is
imported at the first use.
"""

import datetime as dt
import io
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

import msgspec

from leadline_wire import captures

OUR_COLUMNS: Final = captures.OUR_COLUMNS
DATATYPE_KEY: Final = "leadline.datatype"
GROUP_ROWS: Final = 8_192
_MAGIC: Final = b"PAR1"
_LEAST_BYTES: Final = 12
_CODES: Final[dict[str, Any]] = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
"""Of `memoryview.cast`."""


class Kind(NamedTuple):
    """Of which type an input's column is."""

    datatype: str
    is_list: bool


MIXED: Final = Kind(captures.TEXT, is_list=False)
"""Of a column in which not all are of one kind: text, the JSON of each."""


class Described(msgspec.Struct, frozen=True):
    """What is captured of a ModelDeployment: the answer of `GET .../captures`."""

    rows: int
    files: int
    bytes: int
    columns: dict[str, Kind] = {}
    """Of a table with all of it."""
    row_bytes: int = 0
    """Of one row in memory, about, where it is largest."""


def parquet(chunk: captures.Chunk) -> bytes:
    """Return a chunk that has no `captures.problem` as a Parquet file.

    Raises:
        ModuleNotFoundError: There is no arro3.
    """
    from arro3 import core  # noqa: PLC0415 - 35 MB
    from arro3 import io as files  # noqa: PLC0415

    count, size = chunk.count, captures.ID_CHARACTERS
    ids = [chunk.ids[at : at + size] for at in range(0, len(chunk.ids), size)]
    arrays = [core.Array(ids, core.DataType.utf8()), core.Array(chunk.rows or [0] * count, core.DataType.int32())]
    fields = [
        core.Field("prediction_id", core.DataType.utf8(), nullable=False),
        core.Field("row", core.DataType.int32(), nullable=False),
    ]
    for column in chunk.columns:
        array = _array(core, column)
        arrays.append(array)
        fields.append(core.Field(column.name, array.type, nullable=False, metadata={DATATYPE_KEY: column.datatype}))
    table = core.Table.from_arrays(arrays, schema=core.Schema(fields))
    into = io.BytesIO()
    files.write_parquet(table, into, compression="zstd(3)", created_by="leadline", max_row_group_size=GROUP_ROWS)
    return into.getvalue()


def _array(core: Any, column: captures.Column) -> Any:
    if column.datatype == captures.TEXT:
        values = core.Array(column.texts, core.DataType.utf8())
    elif column.datatype == "BOOL":
        values = core.Array([byte != 0 for byte in column.data], core.DataType.bool())
    else:
        # Both sides are little-endian: nobody runs this on another machine.
        values = core.Array.from_buffer(memoryview(column.data).cast(_CODES[column.datatype]))
    if not column.shape:
        return values
    if column.size > 0:
        return core.fixed_size_list_array(values, column.size)
    offsets = [0]
    for length in column.lengths:
        offsets.append(offsets[-1] + length)
    return core.list_array(core.Array(offsets, core.DataType.int32()), values)


class Reader:
    """One captured file in memory, its rows found by prediction."""

    def __init__(self, content: bytes) -> None:
        """Read it.

        Raises:
            ValueError: It is no such file.
        """
        from arro3 import io as files  # noqa: PLC0415

        # What is torn is told here, for arro3 0.9 panics where there is no footer, with a report on standard error.
        if len(content) < _LEAST_BYTES or content[:4] != _MAGIC or content[-4:] != _MAGIC:
            raise ValueError(f"no Parquet file: {len(content)} bytes")
        try:
            table = files.read_parquet(io.BytesIO(content)).read_all()
            ids, rows = (table.column(name).to_pylist() for name in captures.OUR_COLUMNS)
        except BaseException as error:
            # A panic is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"no file of captured inputs: {error}") from error
        self.size_bytes = len(content) + int(table.nbytes) + 150 * len(ids)
        self.kinds = {
            name: _kind(table.schema.field(name)) for name in table.schema.names if name not in captures.OUR_COLUMNS
        }
        self.row_bytes = int(table.nbytes) // max(1, len(ids))
        self._table = table
        self._places = {found: place for place, found in enumerate(zip(ids, rows, strict=True))}

    @property
    def keys(self) -> AbstractSet[tuple[str, int]]:
        """Prediction and row of each."""
        return self._places.keys()

    def taken(self, keys: Iterable[tuple[str, int]]) -> tuple[Any, list[tuple[str, int]]]:
        """Return these rows as a batch of their own, and which of them are here, in its order."""
        from arro3 import core  # noqa: PLC0415

        there = [key for key in keys if key in self._places]
        places = core.Array([self._places[key] for key in there], core.DataType.uint32())
        return self._table.combine_chunks().to_batches()[0].take(places), there

    def inputs(self, key: tuple[str, int]) -> dict[str, Any] | None:
        """Return the inputs of a prediction's row, by input; None: it is not here."""
        place = self._places.get(key)
        if place is None:
            return None
        return {name: self._table.column(name).slice(place, 1).to_pylist()[0] for name in self.kinds}


def _kind(field: Any) -> Kind:
    datatype = (field.metadata or {}).get(DATATYPE_KEY.encode(), b"")
    return Kind(bytes(datatype).decode(), "List" in str(field.type))


def schema_type(core: Any, kind: Kind) -> Any:
    """Return the type of an input's column in a table of outcomes."""
    types = core.DataType
    made = {
        "BOOL": types.bool,
        "INT8": types.int8,
        "INT16": types.int16,
        "INT32": types.int32,
        "INT64": types.int64,
        "UINT8": types.uint8,
        "UINT16": types.uint16,
        "UINT32": types.uint32,
        "UINT64": types.uint64,
        "FP32": types.float32,
        "FP64": types.float64,
    }
    element = made.get(kind.datatype, types.utf8)()
    return types.list(core.Field("element", element)) if kind.is_list else element


def merged(found: Iterable[Mapping[str, Kind]]) -> dict[str, Kind]:
    """Return the columns of a table that holds all of these; what is of several kinds is text, the JSON of its values."""
    kinds: dict[str, Kind] = {}
    for each in found:
        for name, kind in each.items():
            kinds[name] = kind if kinds.get(name, kind) == kind else MIXED
    return kinds


def day_of(milliseconds: int) -> str:
    """Return the day in UTC, as `2026-11-27`."""
    return dt.datetime.fromtimestamp(milliseconds // 1_000, dt.UTC).strftime("%Y-%m-%d")

"""Captured inputs on their way to the ledger: a chunk of rows, column by column, as msgpack.

    POST /v1/namespaces/NAMESPACE/models/NAME/captures?keep_ms=N&max_bytes=N   runtime: Chunk -> 204, once it is kept

    GET  /v1/namespaces/NAMESPACE/models/NAME/captures                         people: capture_files.Described

    POST /v1/namespaces/NAMESPACE/models/NAME/test-set?size=N&test_percent=    operator: GrownSet, a blob by then

The ledger makes Parquet of it. The same body told again is the same chunk. Numbers travel as their little-endian bytes, so that
a runtime copies memory and converts nothing. Fields are only ever added, with defaults.
"""

import math
from typing import Final

import msgspec

PATH: Final = "captures"
CHUNK_BYTES_MAX: Final = 8 << 20
"""Of one body; a single row that is larger is not captured."""
CHUNK_ROWS_MAX: Final = 65_536
ID_CHARACTERS: Final = 32
OUR_COLUMNS: Final = ("prediction_id", "row")
"""Of a captured file, beside one per input; an input of such a name cannot be captured."""
ITEM_BYTES: Final = {
    "BOOL": 1,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "FP32": 4,
    "FP64": 8,
}
"""By datatype of the Open Inference Protocol. FP16 and BF16 travel as FP32, which holds each of their numbers exactly."""
TEXT: Final = "BYTES"


TEST_SET_ROWS_MAX: Final = 65_536
GROWN_TRUTH: Final = "leadline.truth"
"""Column with the true answers of a test set out of outcomes."""


class GrownSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """A test set that was made out of outcomes."""

    rows: int
    """0: there are none yet."""
    digest: str = ""
    """`sha256:<hex>` of a blob of the namespace; its true answers are in the column `GROWN_TRUTH`."""


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input of all rows."""

    name: str
    datatype: str
    """One of `ITEM_BYTES`, or `TEXT`."""
    shape: list[int] = []
    """Of one row; -1 where rows differ; empty: a single value."""
    data: bytes = b""
    """All rows' elements one after the other."""
    texts: list[str] = []
    """The same where they are text."""
    lengths: list[int] = []
    """Elements of each row, where `shape` has a -1."""

    @property
    def size(self) -> int:
        """Elements of a row; -1: they differ."""
        return -1 if -1 in self.shape else math.prod(self.shape)


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows of predictions that have a receipt."""

    ids: str
    """UUIDv7s of the predictions, 32 hexadecimal digits each, one after the other."""
    columns: list[Column]
    rows: list[int] = []
    """Which row of its prediction each is; empty: the first, of every one."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.ids) // ID_CHARACTERS


def problem(chunk: Chunk) -> str:
    """Say why a chunk cannot be meant, in one line; empty: it can."""
    count = chunk.count
    if len(chunk.ids) % ID_CHARACTERS or set(chunk.ids) - set("0123456789abcdef"):
        return f"ids: expected {ID_CHARACTERS} lowercase hexadecimal digits for each row"
    if not 0 < count <= CHUNK_ROWS_MAX:
        return f"ids: {count} rows, expected 1 to {CHUNK_ROWS_MAX}"
    if chunk.rows and (len(chunk.rows) != count or not all(0 <= row < 1 << 31 for row in chunk.rows)):
        return f"rows: expected {count} row numbers, got {len(chunk.rows)}"
    names = [column.name for column in chunk.columns]
    if not names or len(set(names)) < len(names) or set(names) & set(OUR_COLUMNS) or not all(names):
        return f"columns: expected different names other than {' and '.join(OUR_COLUMNS)}"
    return next((said for column in chunk.columns if (said := _problem_of(column, count))), "")


def _problem_of(column: Column, count: int) -> str:
    where = f'column "{column.name[:80]}"'
    item = ITEM_BYTES.get(column.datatype)
    if item is None and column.datatype != TEXT:
        return f"{where}: datatype {column.datatype[:20]!r}, expected one of {', '.join(ITEM_BYTES)}, {TEXT}"
    if column.size < 0 and (len(column.lengths) != count or min(column.lengths) < 0):
        return f"{where}: {len(column.lengths)} lengths, expected {count}"
    elements = sum(column.lengths) if column.size < 0 else column.size * count
    found = len(column.texts) if item is None else len(column.data)
    expected = elements * (item or 1)
    return "" if found == expected else f"{where}: {found} texts or bytes, expected {expected}"

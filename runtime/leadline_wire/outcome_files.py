"""Parquet of rows of outcomes, written as they come: a row group is all that is in memory.

arro3 (Arrow and Parquet in Rust, 35 MB) and not pyarrow (170 MB): the ledger shares the operator's image, and its pod is
small. It makes columns of JSON lines by itself, maps and times included. It is imported by the first file alone.

It holds Python's lock while it encodes, so it is given little at a time: some milliseconds each.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, Final, cast

import msgspec

from leadline_wire import capture_files
from leadline_wire.outcome_rows import Kind, Row

PARQUET_TYPE: Final = "application/vnd.apache.parquet"
NDJSON_TYPE: Final = "application/x-ndjson"
BATCH_ROWS: Final = 500
"""Encoded at once: some 2 milliseconds."""
GROUP_ROWS: Final = 32_768
"""Rows of a row group: some megabytes."""
_PREFIX: Final = "leadline."
_encode: Final = msgspec.json.Encoder().encode


INPUT_PREFIX: Final = "input."
"""Of columns that hold inputs, so that none is called as another column."""
_GROUP_BYTES: Final = 32 << 20
"""Of a row group with inputs in it, about."""


def line(row: Row, inputs: Mapping[str, Any] | None = None) -> bytes:
    """Return a row as one line of JSON; with its inputs by their names, where there are columns for them."""
    if not inputs:
        return _encode(row) + b"\n"
    named = {f"{INPUT_PREFIX}{name}": value for name, value in inputs.items()}
    return b"%b,%b\n" % (_encode(row)[:-1], _encode(named)[1:])


def require() -> None:
    """Import what writes Parquet.

    Raises:
        ModuleNotFoundError: There is no arro3.
    """
    import arro3.core  # noqa: PLC0415 - 35 MB
    import arro3.io  # noqa: F401, PLC0415


def write(
    batches: Iterable[bytes],
    send: Callable[[bytes], None],
    *,
    kind: Kind,
    metadata: Mapping[str, str],
    inputs: Mapping[str, capture_files.Kind] | None = None,
    row_bytes: int = 0,
) -> None:
    """Write a Parquet file.

    Args:
        batches: Lines of rows, up to `BATCH_ROWS` in each; asked for one after the other. Prediction and truth are of one kind.
        send: Takes the file's bytes in their order.
        kind: Of prediction and truth.
        metadata: Goes into the file, each name with `leadline.` before it.
        inputs: Kinds of the inputs' columns, by input.
        row_bytes: Of one row's inputs, about.

    Raises:
        ModuleNotFoundError: There is no arro3.
        BaseException: What `batches` or `send` raised, which ends the file there.
    """
    from arro3 import core  # noqa: PLC0415 - 35 MB
    from arro3 import io as files  # noqa: PLC0415

    named = {f"{_PREFIX}{name}": value for name, value in metadata.items()}
    schema = _schema(core, kind, named, inputs or {})
    sink = _Sink(send)
    group_rows = max(1, min(GROUP_ROWS, _GROUP_BYTES // max(1, row_bytes)))

    def columns() -> Iterator[Any]:
        try:
            for lines in batches:
                sink.check()
                yield from files.read_json(io.BytesIO(lines), schema, batch_size=BATCH_ROWS)
        except BaseException as error:
            sink.fail(error)
            raise

    try:
        files.write_parquet(
            core.RecordBatchReader.from_batches(schema, columns()),
            cast("IO[bytes]", sink),
            compression="zstd(3)",
            # Of readers that know nothing of Arrow, DuckDB and Spark, some look here.
            key_value_metadata=named,
            created_by="leadline",
            data_page_row_count_limit=min(BATCH_ROWS, group_rows),
            max_row_group_size=group_rows,
        )
    except Exception:
        # What was raised went through Rust, and is another one now.
        sink.check()
        raise
    sink.check()


class _Sink(io.RawIOBase):
    """What a file's bytes are written to; they go on in their order, and are never gone back to.

    It never raises: arro3 0.9 panics where a file does, with a report on standard error. So it takes the rest for nothing, and
    what went wrong is raised at the next batch. Can go when arro3 returns such an error.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        """Set up."""
        super().__init__()
        self._send = send
        self._sent_bytes = 0
        self._trouble: BaseException | None = None

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        if self._trouble is not None:
            raise self._trouble

    def fail(self, error: BaseException) -> None:
        """Send nothing more, for the file will not be whole."""
        self._trouble = self._trouble or error

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, content: Any) -> int:
        """Pass bytes on."""
        raw = bytes(content)
        self._sent_bytes += len(raw)
        if self._trouble is None:
            try:
                self._send(raw)
            except BaseException as error:  # noqa: BLE001 - raised by `check`
                self.fail(error)
        return len(raw)

    def tell(self) -> int:
        """Return how many bytes went on."""
        return self._sent_bytes


def _schema(core: Any, kind: Kind, metadata: Mapping[str, str], inputs: Mapping[str, capture_files.Kind]) -> Any:
    types = core.DataType
    text, double, truth, time = types.utf8(), types.float64(), types.bool(), types.timestamp("ms", tz="UTC")
    answer = {"integer": types.int64(), "string": text, "double": double}[kind]
    tags = types.map(core.Field("key", text, nullable=False), core.Field("value", text), keys_sorted=False)
    columns = {
        "seq": types.int64(),
        "prediction_id": text,
        "row": types.int32(),
        "client_id": text,
        "predicted_at": time,
        "came_at": time,
        "revision": text,
        "prediction": answer,
        "truth": answer,
        "prediction_score": double,
        "correct": truth,
        "score": double,
        "share": double,
        "entity": text,
        "tags": tags,
        "repeats": truth,
        "wanted": truth,
        "wanted_against": text,
        "agreements": double,
        "failed": truth,
        "split": text,
        "source": text,
    }
    always = {"seq", "prediction_id", "row", "revision", "share", "tags", "repeats", "wanted", "failed", "split"}
    fields = [core.Field(name, type_, nullable=name not in always) for name, type_ in columns.items()]
    fields += [
        core.Field(f"{INPUT_PREFIX}{name}", capture_files.schema_type(core, found)) for name, found in inputs.items()
    ]
    return core.Schema(fields, metadata=dict(metadata))

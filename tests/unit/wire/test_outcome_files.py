"""Parquet of rows: every value comes back, and what goes wrong while it is written ends the file."""

import io
import math
import subprocess
import sys

import msgspec
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_wire import outcome_files, outcome_rows, predictions

from tests.unit.wire.outcomes import ENTRIES, NAMES, entry

CLASSES = {
    "integer": st.integers(-(2**63), 2**63 - 1).map(predictions.of_class),
    "string": NAMES.map(predictions.of_class),
    "double": st.floats(allow_nan=False, allow_infinity=False).map(predictions.of_value),
}


def table(batches, kind, metadata=None):
    content = bytearray()
    outcome_files.write(batches, content.extend, kind=kind, metadata=metadata or {})
    return pyarrow.parquet.ParquetFile(io.BytesIO(bytes(content)))


def as_row(found):
    """Return a row of pyarrow as it was before it was written."""
    for name in ("predicted_at", "came_at"):
        if found[name] is not None:
            found[name] = found[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return found | {"tags": dict(found["tags"])}


@pytest.mark.parametrize("kind", list(CLASSES))
@settings(max_examples=25)
@given(data=st.data())
def test_every_value_comes_back(kind, data):
    entries = st.builds(
        lambda found, prediction, truth: msgspec.structs.replace(found, prediction=prediction, truth=truth),
        ENTRIES,
        CLASSES[kind],
        CLASSES[kind],
    )
    rows = [outcome_rows.row_of(each, 20) for each in data.draw(st.lists(entries, max_size=5))]
    found = table([b"".join(map(outcome_files.line, rows))], kind).read().to_pylist()
    assert [as_row(each) for each in found] == [msgspec.to_builtins(row) for row in rows]


def test_number_that_is_none_is_null():
    row = outcome_rows.row_of(entry(prediction=predictions.of_value(math.nan), truth=predictions.of_value(1.0)), 20)
    (found,) = table([outcome_files.line(row)], "double").read().to_pylist()
    assert (found["prediction"], found["truth"]) == (None, 1.0)


def test_file_without_rows_has_all_columns_and_its_metadata():
    found = table([], "integer", {"cursor": "5"})
    assert found.read().num_rows == 0
    assert found.schema_arrow.names == list(outcome_rows.Row.__struct_fields__)
    assert found.metadata.metadata[b"leadline.cursor"] == b"5"
    assert found.schema_arrow.metadata == {b"leadline.cursor": b"5"}


def test_rows_go_on_while_they_come_in_groups_of_a_bounded_size():
    line = outcome_files.line(outcome_rows.row_of(entry(), 20))
    sent, at = [], []

    def batches():
        for _ in range(2 * outcome_files.GROUP_ROWS // outcome_files.BATCH_ROWS + 2):
            at.append(sum(map(len, sent)))
            yield line * outcome_files.BATCH_ROWS

    outcome_files.write(batches(), sent.append, kind="integer", metadata={})
    found = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(sent)))
    sizes = [found.metadata.row_group(group).num_rows for group in range(found.num_row_groups)]
    assert sizes[:2] == [outcome_files.GROUP_ROWS] * 2
    assert 0 < at[len(at) * 3 // 4] < at[-1], "a group goes on before the next one comes"


class OddError(Exception):
    """Something that the library does not know."""


@pytest.mark.parametrize("kind", [OddError, ConnectionResetError, KeyboardInterrupt])
@pytest.mark.parametrize("batches_before", [0, 1, 70])
def test_reader_that_fails_ends_the_file_with_its_own_error(kind, batches_before, capfd):
    line = outcome_files.line(outcome_rows.row_of(entry(), 20))

    def batches():
        for _ in range(batches_before):
            yield line * outcome_files.BATCH_ROWS
        raise kind("gone")

    sent = bytearray()
    with pytest.raises(kind, match=r"^gone$"):
        outcome_files.write(batches(), sent.extend, kind="integer", metadata={})
    assert bytes(sent[-4:]) != b"PAR1" or len(sent) == 4
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", [OddError, ConnectionResetError, KeyboardInterrupt])
@pytest.mark.parametrize("sends_before", [0, 1, 5])
def test_receiver_that_fails_ends_the_file_with_its_own_error(kind, sends_before, capfd):
    line = outcome_files.line(outcome_rows.row_of(entry(), 20))
    sent = []

    def send(content):
        if len(sent) == sends_before:
            raise kind("gone")
        sent.append(content)

    asked = []

    def batches():
        for number in range(1_000):
            asked.append(number)
            yield line * outcome_files.BATCH_ROWS

    with pytest.raises(kind, match=r"^gone$"):
        outcome_files.write(batches(), send, kind="integer", metadata={})
    assert len(sent) == sends_before
    assert len(asked) < 200, "what cannot be sent is not read"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("module", ["leadline_ledger.app", "leadline_cli.main", "leadline_cli.exporting"])
def test_what_writes_parquet_is_not_loaded_before_a_file_is_written(module):
    code = f"import {module}, sys; print([name for name in sys.modules if name.startswith(('arro3', 'pyarrow'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"

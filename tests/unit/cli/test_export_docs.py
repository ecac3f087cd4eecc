"""Files of exports as people read them: what docs/export.md shows runs as it is there, by pandas, polars and DuckDB.

Spark needs a JVM: the file's own types are held against those that its documentation maps to Spark's.
"""

import re
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow.parquet
import pytest
from leadline_cli import export_files
from leadline_wire import outcome_files, outcome_rows, predictions
from leadline_wire.ledger import OutcomeEntry

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
AT_MS = 1_780_000_000_000
ROWS = 400


def entry(seq):
    """Return an outcome: right six times in seven, one in three with an entity, every fifth rare, every ninth wanted."""
    return OutcomeEntry(
        seq=seq,
        model="shop/fraud",
        id=f"{AT_MS + seq:012x}70008000000000000000",
        row=0,
        revision="fraud-a",
        prediction=predictions.of_class("fraud" if seq % 5 == 0 else "fine"),
        truth=predictions.of_class("fraud" if (seq % 5 == 0) != (seq % 7 == 0) else "fine"),
        came_at_ms=AT_MS + seq + 60_000,
        share=250_000 if seq % 5 else 1_000_000,
        entity=f"{seq % 50:016x}" if seq % 3 == 0 else "",
        client_id=f"order {seq}" if seq % 2 else "",
        tags={"country": "de"} if seq % 2 else {},
        wanted="fraud-b" if seq % 9 == 0 else "",
    )


ENTRIES = [entry(seq) for seq in range(1, ROWS + 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two files of outcomes, and the inputs of all."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "outcomes").mkdir()
    for entries in (ENTRIES[:100], ENTRIES[100:]):
        lines = folder / "lines"
        lines.write_bytes(b"".join(outcome_files.line(outcome_rows.row_of(each, 20)) for each in entries))
        into = folder / "outcomes" / f"fraud-{entries[-1].seq:03}.parquet"
        export_files.write(lines, into, format_="parquet", kinds={"string"}, metadata={"cursor": "100"})
    inputs = [{"prediction_id": each.id, "row": each.row, "amount": each.seq / 2} for each in ENTRIES]
    pd.DataFrame(inputs).astype({"row": "int32"}).to_parquet(folder / "inputs.parquet")
    return folder


def blocks():
    return re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text(encoding="utf-8"))


def printed(number, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(blocks()[number], str(PAGE), "exec"), {})
    return capsys.readouterr().out.split()


def sides():
    return [outcome_rows.side_of(each, 20) for each in ENTRIES]


@pytest.mark.parametrize("number", [0, 1, 2], ids=["pandas", "polars", "DuckDB"])
def test_readers_of_the_page_find_the_same_share_of_right_answers(folder, monkeypatch, capsys, number):
    known = [each for each, side in zip(ENTRIES, sides(), strict=True) if side == "test" and not each.wanted]
    weights = [1_000_000 / each.share for each in known]
    right = sum(weight for each, weight in zip(known, weights, strict=True) if each.prediction == each.truth)
    (said,) = printed(number, folder, monkeypatch, capsys)
    assert float(said) == pytest.approx(right / sum(weights), abs=1e-12)
    assert 0.5 < float(said) < 1


def test_inputs_are_joined_as_the_page_shows(folder, monkeypatch, capsys):
    assert printed(3, folder, monkeypatch, capsys) == [str(sides().count(side)) for side in ("train", "test")]


def test_split_is_recomputed_as_the_page_shows(folder, monkeypatch, capsys):
    assert printed(4, folder, monkeypatch, capsys) == ["True"]
    assert len(blocks()) == 5


def test_page_names_every_column_and_no_other():
    table = PAGE.read_text(encoding="utf-8").partition("## Columns")[2].partition("## ")[0]
    named = [name for cell in re.findall(r"(?m)^\| (`.*?) \|", table) for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(outcome_rows.Row.__struct_fields__)


def test_file_is_of_types_that_spark_reads(folder):
    """Spark's table of Parquet types: strings, 32 and 64 bit integers, UTC timestamps in milliseconds, maps of three levels."""
    schema = pyarrow.parquet.ParquetFile(folder / "outcomes" / "fraud-100.parquet").schema
    found = {}
    for place in range(len(schema)):
        column = schema.column(place)
        found[column.path] = (column.physical_type, column.logical_type.type, column.max_repetition_level)
    text, plain = ("BYTE_ARRAY", "STRING", 0), "NONE"
    time = ("INT64", "TIMESTAMP", 0)
    assert found == {
        "seq": ("INT64", plain, 0),
        "prediction_id": text,
        "row": ("INT32", plain, 0),
        "client_id": text,
        "predicted_at": time,
        "came_at": time,
        "revision": text,
        "prediction": text,
        "truth": text,
        "prediction_score": ("DOUBLE", plain, 0),
        "correct": ("BOOLEAN", plain, 0),
        "score": ("DOUBLE", plain, 0),
        "share": ("DOUBLE", plain, 0),
        "entity": text,
        "tags.entries.key": ("BYTE_ARRAY", "STRING", 1),
        "tags.entries.value": ("BYTE_ARRAY", "STRING", 1),
        "repeats": ("BOOLEAN", plain, 0),
        "wanted": ("BOOLEAN", plain, 0),
        "wanted_against": text,
        "agreements": ("DOUBLE", plain, 0),
        "failed": ("BOOLEAN", plain, 0),
        "split": text,
        "source": text,
    }
    times = msgspec.json.decode(schema.column(4).logical_type.to_json())
    assert (times["isAdjustedToUTC"], times["timeUnit"]) == (True, "milliseconds")
    assert "tags (Map)" in str(schema)

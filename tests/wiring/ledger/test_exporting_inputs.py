"""Outcomes with their captured inputs over HTTP: which rows have them, of which types, and what memory that takes."""

import math

import msgspec
import pytest
from leadline_ledger.captures import joining
from leadline_wire import captures, ledger

from tests.unit.ledger.ledgers import NOW_MS, identifier, outcome
from tests.wiring.ledger.chunks import PATH, bring, chunk, floats
from tests.wiring.ledger.parts import MODEL, here
from tests.wiring.ledger.tables import asked, going_on, parquet


async def test_rows_have_their_inputs_and_null_where_none_were_captured(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(*(outcome(number) for number in range(5)), outcome(3, row=2))
        await bring(ledger_here, chunk(1, 3))
        await bring(ledger_here, chunk(3, 99, rows=(2, 0)))
        status, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes?inputs=true")
        table, metadata = parquet(body)
        assert (status, metadata["inputs"], str(table.schema.field("input.X").type)[:11]) == (
            200,
            "true",
            "list<elemen",
        )
        expected = {(1, 0): [1.0, 1.5], (3, 0): [3.0, 3.5], (3, 2): [3.0, 3.5]}
        found = {(int(row["prediction_id"][17:], 16), row["row"]): row["input.X"] for row in table.to_pylist()}
        assert found == {(number, 0): None for number in range(5)} | expected
        lines, _ = await asked(ledger_here, "?inputs=true&format=ndjson")
        assert [row["input.X"] for row in lines] == table["input.X"].to_pylist()
        only, headers = await asked(ledger_here, "?inputs=only")
        assert [(int(row["prediction_id"][17:], 16), row["row"]) for row in only] == sorted(expected)
        assert headers[ledger.CURSOR_HEADER] == "6"
        without, _ = await asked(ledger_here)
        assert "input.X" not in without[0]


async def test_types_are_kept_and_what_json_lacks_is_null(tmp_path, api):
    columns = [
        captures.Column("X", "FP32", [2], floats(0.1, math.nan)),
        captures.Column("age", "UINT64", [], (2**64 - 1).to_bytes(8, "little")),
        captures.Column("sure", "BOOL", [1], b"\x01"),
        captures.Column("word", "BYTES", [], texts=["über"]),
        captures.Column("split", "INT8", [], b"\xff"),
    ]
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        await bring(ledger_here, captures.Chunk(identifier(1), columns))
        _, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes?inputs=true")
        table, _ = parquet(body)
        (row,) = table.to_pylist()
        names = ("X", "age", "sure", "word", "split")
        assert {name: row[f"input.{name}"] for name in names} == {
            "X": [pytest.approx(0.1, rel=1e-7), None],
            "age": 2**64 - 1,
            "sure": [True],
            "word": "über",
            "split": -1,
        }
        assert row["split"] in ("train", "test")
        types = [str(table.schema.field(f"input.{name}").type) for name in names]
        assert [types[1], types[3], types[4]] == ["uint64", "string", "int8"]
        assert "float" in types[0]
        assert "bool" in types[2]


async def test_revisions_with_other_inputs_share_a_table(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1), outcome(2))
        await bring(ledger_here, chunk(1))
        other = [
            captures.Column("X", "INT8", [], b"\x05"),
            captures.Column("new", "INT8", [], b"\x07"),
        ]
        await bring(ledger_here, captures.Chunk(identifier(2), other))
        rows, _ = await asked(ledger_here, "?inputs=true")
        assert [(row["input.X"], row["input.new"]) for row in rows] == [("[1.0,1.5]", None), ("5", 7)]
        status, body, _ = await ledger_here.call("GET", PATH)
        told = msgspec.json.decode(body)
        assert (status, told["rows"], told["files"]) == (200, 2, 2)
        assert told["columns"] == {"X": ["BYTES", False], "new": ["INT8", False]}


async def test_tables_with_inputs_follow_one_another_in_any_order_of_answers(tmp_path, api, monkeypatch):
    # Room for hardly more than one file: others are read again.
    monkeypatch.setattr(joining, "MEMORY_BYTES", 10_000)
    async with here(tmp_path, api) as ledger_here:
        times = [NOW_MS - 100_000 + 1_000 * number for number in range(60)]
        for first in range(0, 60, 10):
            ids = "".join(identifier(number, times[number]) for number in range(first, first + 10))
            values = floats(*(float(number) for number in range(first, first + 10)))
            await bring(ledger_here, captures.Chunk(ids, [captures.Column("X", "FP32", [1], values)]))
        order = [(number * 7) % 60 for number in range(60)]
        for number in order:
            await ledger_here.told(outcome(number, at_ms=times[number]))
        found, query, more = [], "after=0", True
        while more:
            rows, headers = await asked(ledger_here, f"?limit=25&format=ndjson&inputs=true&{query}")
            found += [row["input.X"] for row in rows]
            query, more = going_on(headers), headers[ledger.MORE_HEADER] == "true"
        assert found == [[float(number)] for number in order]


async def test_a_file_that_is_no_file_of_ours_or_goes_meanwhile_spoils_no_export(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1), outcome(2))
        await bring(ledger_here, chunk(1))
        (path,) = (tmp_path / "captures").rglob("*.parquet")
        await bring(ledger_here, chunk(2))
        path.write_bytes(b"torn")
        (path.parent / "notes.txt").write_text("somebody's")
        rows, _ = await asked(ledger_here, "?inputs=true")
        assert [row["input.X"] for row in rows] == [None, [2.0, 2.5]]


async def test_without_captures_an_export_with_inputs_is_one_without(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        rows, _ = await asked(ledger_here, "?inputs=true")
        assert [name for name in rows[0] if name.startswith("input.")] == []
        assert (await asked(ledger_here, "?inputs=only"))[0] == []
        status, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes?inputs=yes")
        assert (status, b"inputs: expected true or only, got 'yes'" in body) == (400, True)

"""Outcomes as a table over HTTP: what is in it, where it ends and goes on, who may, and what is refused."""

import datetime as dt

import pytest
from leadline_wire import ledger, predictions

from tests.unit.ledger.ledgers import NOW_MS, copied, identifier, outcome
from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME, here
from tests.wiring.ledger.tables import asked, going_on, parquet

OTHER = "system:serviceaccount:bank:default"


async def test_parquet_has_a_row_of_each_outcome_and_says_where_to_go_on(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(
            outcome(1, share=250_000, tags={"country": "de"}, entity="00ff"),
            outcome(2, truth=2, prediction=predictions.with_score(predictions.of_class(1), 0.75)),
        )
        await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake(copies=[copied(1)]))
        status, body, headers = await ledger_here.call("GET", f"{MODEL}/outcomes")
        assert (status, headers["content-type"]) == (200, "application/vnd.apache.parquet")
        assert headers[ledger.MORE_HEADER] == "false"
        table, metadata = parquet(body)
        first, second = table.to_pylist()
        assert first == {
            "seq": 1,
            "prediction_id": identifier(1),
            "row": 0,
            "client_id": None,
            "predicted_at": dt.datetime.fromtimestamp((NOW_MS - 1_000) / 1_000, dt.UTC),
            "came_at": dt.datetime.fromtimestamp(NOW_MS / 1_000, dt.UTC),
            "revision": "fraud-a",
            "prediction": 1,
            "truth": 1,
            "prediction_score": None,
            "correct": True,
            "score": None,
            "share": 0.25,
            "entity": "00ff",
            "tags": [("country", "de")],
            "repeats": False,
            "wanted": False,
            "wanted_against": None,
            "agreements": None,
            "failed": False,
            "split": first["split"],
        }
        assert (second["truth"], second["correct"], second["prediction_score"]) == (2, False, 0.75)
        # The third entry is the pair: looked at, and behind the cursor.
        assert headers[ledger.CURSOR_HEADER] == "3"
        assert metadata == {
            "schema": "1",
            "model": "shop/fraud",
            "after": "0",
            "cursor": "3",
            "timeline": headers[ledger.TIMELINE_HEADER],
            "more": "false",
            "split": "both",
            "test_percent": "20",
        }


async def test_tables_follow_one_another_and_part_no_prediction(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        for number in range(7):
            await ledger_here.told(*(outcome(number, row=row) for row in range(3)))
        seen, sizes, query, more = [], [], "after=0", True
        while more:
            rows, headers = await asked(ledger_here, f"?limit=4&format=ndjson&{query}")
            seen += [(row["prediction_id"], row["row"]) for row in rows]
            sizes.append(len(rows))
            query, more = going_on(headers), headers[ledger.MORE_HEADER] == "true"
        assert seen == [(identifier(number), row) for number in range(7) for row in range(3)]
        assert sizes == [6, 6, 6, 3]
        rows, headers = await asked(ledger_here, f"?{query}")
        assert (rows, headers[ledger.CURSOR_HEADER]) == ([], "21")


async def test_nothing_new_moves_the_cursor_over_what_others_brought(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        path = "/v1/namespaces/shop/models/other/intake"
        await ledger_here.call("POST", path, ledger.Intake(outcomes=[outcome(2), outcome(3)]))
        _, headers = await asked(ledger_here, "?after=1&format=ndjson")
        assert headers[ledger.CURSOR_HEADER] == "3"


@pytest.mark.parametrize(
    ("words", "type_"),
    [
        (("i1", "i2"), "int64"),
        ((predictions.of_class("fraud"), predictions.of_class("fine")), "string"),
        ((predictions.of_value(0.1), predictions.of_value(-1e300)), "double"),
        (("i1", predictions.of_class("fine")), "string"),
        ((f"i{2**64 - 1}", "i1"), "string"),
    ],
)
async def test_predictions_and_truths_of_a_file_are_of_one_type(tmp_path, api, words, type_):
    async with here(tmp_path, api) as ledger_here:
        message = ledger.Outcome(row=0, id=identifier(1), revision="a", prediction=words[0], truth=words[1])
        await ledger_here.told(message)
        _, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes")
        table, _ = parquet(body)
        assert [str(table.schema.field(name).type) for name in ("prediction", "truth")] == [type_, type_]
        expected = [predictions.read(word) for word in words]
        (row,) = table.to_pylist()
        assert [row["prediction"], row["truth"]] == (list(map(str, expected)) if type_ == "string" else expected)


async def test_each_side_of_the_split_is_given_alone(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(*(outcome(number) for number in range(100)))
        both, _ = await asked(ledger_here, "?test_percent=40")
        for side in ("train", "test"):
            rows, headers = await asked(ledger_here, f"?test_percent=40&split={side}")
            assert rows == [row for row in both if row["split"] == side]
            assert 20 < len(rows) < 80
            assert headers[ledger.CURSOR_HEADER] == "100"


async def test_rows_in_lines_are_the_rows_of_parquet(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(*(outcome(number, truth=number % 3, tags={"a": "b"}) for number in range(50)))
        rows, _ = await asked(ledger_here)
        lines, headers = await asked(ledger_here, "?format=ndjson")
        assert headers["content-type"] == "application/x-ndjson"
        for row in rows:
            row["tags"] = dict(row["tags"])
            for name in ("predicted_at", "came_at"):
                row[name] = row[name].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert lines == rows


async def test_cursor_of_another_history_is_gone(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        for query in ("?after=2", "?after=1&timeline=another"):
            status, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes{query}")
            assert (status, b"begin again" in body) == (410, True)


async def test_only_the_namespace_and_the_operator_may(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        asked_by = {
            token: (await ledger_here.call("GET", f"{MODEL}/outcomes", token=token))[0]
            for token in (RUNTIME, OPERATOR, OTHER, None)
        }
        assert asked_by == {RUNTIME: 200, OPERATOR: 200, OTHER: 403, None: 401}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("after=-1", "after: expected a whole number from 0"),
        ("limit=0", "limit: expected a whole number from 1 to 100000, got '0'"),
        ("limit=100001", "limit: expected"),
        ("format=csv", "format: expected parquet or ndjson, got 'csv'"),
        ("split=validation", "split: expected train or test, got 'validation'"),
        ("test_percent=101", "test_percent: expected a whole number from 0 to 100"),
    ],
)
async def test_query_that_cannot_be_meant_is_refused(tmp_path, api, query, said):
    async with here(tmp_path, api) as ledger_here:
        status, body, _ = await ledger_here.call("GET", f"{MODEL}/outcomes?{query}")
        assert (status, said in body.decode()) == (400, True), body

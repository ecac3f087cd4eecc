"""Outcomes as a table over HTTP: what is in it, where it ends and goes on, who may, and what is refused."""

import asyncio
import datetime as dt
import hashlib
import threading

import aiohttp
import msgspec
import pytest
from aiohttp import web
from leadline_ledger import serving
from leadline_wire import ledger, predictions

from tests.unit.ledger.ledgers import NOW_MS, copied, identifier, outcome
from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME, here
from tests.wiring.ledger.tables import asked, going_on, parquet

WAKE_SECONDS = 5.0
"""Far above what a busy machine takes."""
OTHER = "system:serviceaccount:bank:default"


async def test_parquet_has_a_row_of_each_outcome_and_says_where_to_go_on(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(
            outcome(1, share=250_000, tags={"country": "de"}, entity="00ff", source="ml/crm"),
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
            "source": "ml/crm",
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


async def test_outcome_that_was_reported_by_the_clients_id_has_it_and_stands_on_its_side(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        stored = ledger.Stored("order 4711", identifier(1), "fraud-a", "i1")
        await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake(predictions=[stored]))
        reported = ledger.Outcome(row=0, client_id="order 4711", truth="i1")
        matures = msgspec.structs.replace(reported, client_id="order 4712", maturity_ms=60_000)
        later = ledger.Stored("order 4712", identifier(2), "fraud-a", "i1")
        await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake(predictions=[later]))
        assert await ledger_here.told(reported, matures) == ["Accepted", "Accepted"]
        ledger_here.clock.now_ms += 60_000
        await ledger_here.store.judge()
        rows, _ = await asked(ledger_here, "?test_percent=50")
        assert [(row["client_id"], row["prediction_id"]) for row in rows] == [
            ("order 4711", identifier(1)),
            ("order 4712", identifier(2)),
        ]
        hashed = [hashlib.sha256(f"client:order {number}".encode()).digest()[0] for number in (4711, 4712)]
        assert [row["split"] for row in rows] == ["test" if first < 128 else "train" for first in hashed]


async def big(ledger_here):
    """Bring outcomes whose table is larger than all that sockets hold."""
    tags = {letter: letter * 64 for letter in "abcd"}
    for first in range(0, 20_000, 4_000):
        at_ms = NOW_MS - 1_000 + first // 4_000
        await ledger_here.told(*(outcome(number, at_ms=at_ms, tags=tags) for number in range(4_000)))


async def test_readers_that_read_nothing_hold_nobody_up_but_other_exports(tmp_path, api):
    async with here(tmp_path, api) as ledger_here, aiohttp.ClientSession() as session:
        await big(ledger_here)
        url = ledger_here.url(f"{MODEL}/outcomes?format=ndjson")
        readers = [await session.get(url, headers={"authorization": f"Bearer {RUNTIME}"}) for _ in range(2)]
        assert [reader.status for reader in readers] == [200, 200]
        assert await ledger_here.told(outcome(4_001)) == ["Accepted"]
        status, body, headers = await ledger_here.call("GET", f"{MODEL}/outcomes")
        assert (status, headers["retry-after"], b"2 exports are under way, limit 2" in body) == (503, "1", True)
        # One reads on and has all, the other goes away and makes room.
        readers[0].close()
        assert len((await readers[1].read()).splitlines()) == 20_000
        async with asyncio.timeout(WAKE_SECONDS):
            while (await ledger_here.call("GET", f"{MODEL}/outcomes?limit=1"))[0] == 503:
                pass


async def test_table_that_cannot_be_finished_is_cut_off(tmp_path, api):
    async with here(tmp_path, api) as ledger_here, aiohttp.ClientSession() as session:
        await big(ledger_here)
        url = ledger_here.url(f"{MODEL}/outcomes?format=ndjson")
        async with session.get(url, headers={"authorization": f"Bearer {RUNTIME}"}) as reader:
            assert reader.status == 200
            await ledger_here.store.close()
            with pytest.raises(aiohttp.ClientPayloadError):
                await reader.read()


async def test_server_that_ends_waits_for_no_reader_that_reads_nothing(tmp_path, api):
    async with here(tmp_path, api) as ledger_here, aiohttp.ClientSession() as session:
        await big(ledger_here)
        parts = serving.Parts(
            ledger_here.store, ledger_here.blobs, ledger_here.tokens, OPERATOR, 1 << 20, 64, ledger_here.captured
        )
        runner = web.AppRunner(serving.application(parts), shutdown_timeout=60.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        url = f"http://{host}:{port}{MODEL}/outcomes?format=ndjson"
        async with session.get(url, headers={"authorization": f"Bearer {RUNTIME}"}) as reader:
            assert reader.status == 200
            working = [thread for thread in threading.enumerate() if thread.name.startswith("ledger-export")]
            async with asyncio.timeout(WAKE_SECONDS):
                await runner.cleanup()
            for thread in working:
                await asyncio.to_thread(thread.join, WAKE_SECONDS)
            assert [thread.is_alive() for thread in working] == [False] * len(working)
            assert working
            with pytest.raises(aiohttp.ClientError):
                await reader.read()

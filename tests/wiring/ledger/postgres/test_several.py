"""Several ledgers on one database, and a database that goes away."""

import asyncio
import contextlib

import psycopg
import pytest
from leadline_ledger import errors, postgres, store
from leadline_ledger.postgres import schema
from leadline_wire import ledger

from tests.unit.ledger.ledgers import MODEL, NOW_MS, Clock, entries, opened, outcome, told

OUTCOMES = 300


@pytest.fixture
def impatient(monkeypatch):
    """Have sessions that are stopped inside a transaction ended soon."""
    session = [each for each in schema._SESSION if "idle_in_transaction" not in each]
    monkeypatch.setattr(schema, "_SESSION", (*session, "SET idle_in_transaction_session_timeout = '200ms'"))


@contextlib.asynccontextmanager
async def both(folder):
    async with opened(folder) as one, opened(folder) as other:
        yield one, other


async def test_two_ledgers_write_one_order_in_which_each_outcome_is_once(tmp_path):
    seen: list[int] = []

    async def follow(kept):
        while len(seen) < OUTCOMES:
            async with asyncio.timeout(10):
                await kept.news(seen[-1] if seen else 0, 5.0)
            seen.extend(entry.seq for entry in await entries(kept, seen[-1] if seen else 0))

    async with both(tmp_path) as (one, other):
        following = asyncio.create_task(follow(one))
        fates = await asyncio.gather(
            *(told(kept, outcome(number)) for number in range(OUTCOMES) for kept in (one, other))
        )
        await following
        assert sorted(fate for (fate,) in fates) == ["Accepted"] * OUTCOMES + ["Duplicate"] * OUTCOMES
        assert seen == list(range(1, OUTCOMES + 1)), "an entry that becomes visible later than one after it is missed"
        assert {entry.id for entry in await entries(other)} == {outcome(number).id for number in range(OUTCOMES)}


async def test_quota_of_a_source_is_one_for_all_ledgers(tmp_path):
    async with both(tmp_path) as (one, other):
        fates = await asyncio.gather(
            *(
                told(kept, outcome(2 * number + place, source="ml/crm", per_hour=70))
                for number in range(60)
                for place, kept in enumerate((one, other))
            )
        )
        assert sorted(fate for (fate,) in fates) == ["Accepted"] * 70 + ["OverQuota"] * 50


async def test_what_another_ledger_writes_is_news_at_once(tmp_path):
    async with both(tmp_path) as (one, other):
        waiting = asyncio.create_task(one.news(0, 60.0))
        await told(other, outcome(1))
        async with asyncio.timeout(5):
            await waiting
        assert [entry.seq for entry in await entries(one)] == [1]
        await told(other, outcome(2, maturity_ms=9_000))
        async with asyncio.timeout(5):
            while one.due_ms is None:
                await asyncio.sleep(0)
        assert one.due_ms == NOW_MS - 1_000 + 9_000


async def test_answer_is_judged_once_whichever_ledger_finds_that_its_time_has_come(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as one, opened(tmp_path, clock=clock) as other:
        await told(one, *(outcome(number, maturity_ms=5_000) for number in range(50)))
        clock.now_ms += 5_000
        assert sorted(await asyncio.gather(one.judge(), other.judge())) == [0, 50]
        assert len(await entries(other)) == 50


async def test_clock_that_is_behind_what_another_ledger_judged_brings_nothing_before_it(tmp_path):
    ahead, behind = Clock(NOW_MS + 60_000), Clock(NOW_MS)
    async with opened(tmp_path, clock=ahead) as one, opened(tmp_path, clock=behind) as other:
        await told(other, outcome(1, maturity_ms=30_000))
        assert await one.judge() == 1
        assert await told(other, outcome(2, maturity_ms=20_000)) == ["TooLate"]


async def test_ledger_that_stops_inside_a_transaction_does_not_hold_up_the_others(tmp_path, databases, impatient):
    stopped = schema.writer(databases[tmp_path])
    with contextlib.closing(stopped):
        stopped.execute("SELECT seq FROM head FOR UPDATE")
        async with opened(tmp_path) as kept:
            async with asyncio.timeout(10):
                while kept.trouble:
                    with contextlib.suppress(errors.UnavailableError):
                        await kept.probe()
            assert await told(kept, outcome(1)) == ["Accepted"]


async def test_server_that_is_killed_loses_nothing_acknowledged_and_is_taken_up_when_it_is_back(own_server):
    dsn, acknowledged, some_came = own_server.database(), set(), asyncio.Event()
    kept = postgres.PostgresStore(dsn, clock_ms=Clock(), limits=store.Limits(), name="start")
    await kept.open()

    async def client(me):
        for number in range(me, 4_000, 8):
            try:
                await told(kept, outcome(number % 4_000))
            except errors.UnavailableError:
                return
            acknowledged.add(number)
            if len(acknowledged) > 50:
                some_came.set()

    clients = [asyncio.create_task(client(me)) for me in range(8)]
    async with asyncio.timeout(30):
        await some_came.wait()
    await asyncio.to_thread(own_server.kill)
    await asyncio.gather(*clients)
    assert "PostgreSQL ledger0 at 127.0.0.1" in kept.trouble
    with pytest.raises(errors.UnavailableError, match="cannot be read"):
        await kept.read(0, limit=1)
    await asyncio.to_thread(own_server.start)
    async with asyncio.timeout(30):
        while kept.trouble:
            with contextlib.suppress(errors.UnavailableError):
                await kept.probe()
    there = {int(entry.id[17:], 16) for entry in await entries(kept)}
    assert acknowledged <= there
    fates = [await told(kept, outcome(number)) for number in acknowledged]
    assert fates == [["Duplicate"]] * len(acknowledged)
    waiting = asyncio.create_task(kept.news(kept.head, 60.0))
    second = postgres.PostgresStore(dsn, clock_ms=Clock(), limits=store.Limits(), name="second")
    await second.open()
    await told(second, outcome(4_001))
    async with asyncio.timeout(10):
        await waiting  # it listens again, too
    await second.close()
    await kept.close()


async def test_database_of_a_newer_version_is_left_alone(tmp_path, databases):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1))
    with psycopg.connect(databases[tmp_path], autocommit=True) as connection:
        connection.execute("UPDATE leadline_ledger.meta SET value = value + 1 WHERE key = 'version'")
    async with opened(tmp_path) as kept:
        assert "is of version 4, this ledger knows up to 3; run a newer one" in kept.trouble


@pytest.mark.parametrize("text", ["", "mysql://a:secret@b/c", "postgresql://a:secret@b:notaport/c x=y", "secret"])
def test_file_without_a_dsn_is_refused_without_its_password(tmp_path, text):
    path = tmp_path / "dsn"
    path.write_text(text)
    with pytest.raises(errors.SettingsError) as caught:
        postgres.read_dsn(path)
    assert str(caught.value).startswith(f"LEADLINE_LEDGER_DATABASE_FILE: {path}: expected postgresql://")
    assert "secret" not in str(caught.value)


async def test_wrong_password_or_place_is_told_without_the_password(tmp_path):
    dsn = "postgresql://leadline:secret@127.0.0.1:1/outcomes"
    kept = postgres.PostgresStore(dsn, clock_ms=Clock(), limits=store.Limits(), name="start")
    await kept.open()
    assert kept.trouble.startswith("PostgreSQL outcomes at 127.0.0.1:1: ")
    assert "secret" not in kept.trouble
    with pytest.raises(errors.UnavailableError):
        await kept.take(MODEL, ledger.Intake(outcomes=[outcome(1)]))
    await kept.close()

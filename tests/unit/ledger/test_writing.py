"""The writer: many calls in one transaction, a defect in one of them, bounds, and what is in the way of a commit."""

import asyncio
import contextlib
import sqlite3

import pytest
from leadline_ledger import errors
from leadline_ledger.threads import writer

from tests.unit.ledger.ledgers import entries, opened, outcome, told


@contextlib.asynccontextmanager
async def held(kept, folder):
    """Hold the database, with the writer waiting for it, so that calls gather."""
    connection = sqlite3.connect(folder / "ledger.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    first = asyncio.ensure_future(kept.probe())
    await until(lambda: first.done() or not kept.waiting)
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    await first


async def until(fact):
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
        while not fact():
            await asyncio.sleep(0)


async def gathered(kept, folder, *calls):
    """Carry out calls that all waited at the same time; return what came of each."""
    async with held(kept, folder):
        waiting = [asyncio.ensure_future(call) for call in calls]
        await until(lambda: kept.waiting == len(calls))
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_calls_that_wait_share_a_transaction(tmp_path):
    async with opened(tmp_path) as kept:
        before = kept.counts.commits
        fates = await gathered(kept, tmp_path, *(told(kept, outcome(number)) for number in range(20)))
        assert fates == [["Accepted"]] * 20
        assert kept.counts.commits - before == 2, "the one that waited for the database, then all that waited for it"
        assert kept.counts.fates["Accepted"] == 20


async def test_defect_in_one_call_is_undone_and_the_others_are_carried_out(tmp_path):
    def defect(work):
        work.connection.execute("INSERT INTO models (name) VALUES ('half/done')")
        raise ZeroDivisionError

    async with opened(tmp_path) as kept:
        calls = (told(kept, outcome(1)), kept._call(defect), told(kept, outcome(2)))
        before, broken, after = await gathered(kept, tmp_path, *calls)
        assert (before, after) == (["Accepted"],) * 2
        assert isinstance(broken, ZeroDivisionError)
        assert len(await entries(kept)) == kept.head == 2
        assert [state.model for state in (await kept.resume()).models] == ["shop/fraud"]
        assert kept.trouble == ""


async def test_refusal_of_one_call_leaves_the_transaction_to_the_others(tmp_path):
    def refuse(_):
        raise errors.StaleError("older")

    async with opened(tmp_path) as kept:
        refused, kept_fates = await gathered(kept, tmp_path, kept._call(refuse), told(kept, outcome(1)))
        assert isinstance(refused, errors.StaleError)
        assert kept_fates == ["Accepted"]


async def test_calls_beyond_those_that_may_wait_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "WAITING_MAX", 3)
    async with opened(tmp_path) as kept:
        async with held(kept, tmp_path):
            waiting = [asyncio.ensure_future(told(kept, outcome(number))) for number in range(3)]
            await until(lambda: kept.waiting == 3)
            with pytest.raises(errors.BusyError, match="3 calls wait to become durable, limit 3"):
                await told(kept, outcome(4))
        assert await asyncio.gather(*waiting) == [["Accepted"]] * 3


async def test_closing_finishes_what_waits_and_refuses_what_comes_after(tmp_path):
    async with opened(tmp_path) as kept:
        waiting = [asyncio.ensure_future(told(kept, outcome(number))) for number in range(5)]
        await asyncio.sleep(0)
        await kept.close()
        assert await asyncio.gather(*waiting) == [["Accepted"]] * 5
        with pytest.raises(errors.UnavailableError, match="is stopping"):
            await told(kept, outcome(6))


async def test_database_that_another_process_holds_for_long_is_told_and_used_when_it_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("leadline_ledger.sqlite.schema._BUSY_MS", 10)
    async with opened(tmp_path) as kept:
        with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(errors.UnavailableError, match="is locked by another process"):
                await told(kept, outcome(1))
            assert "is locked" in kept.trouble
        async with asyncio.timeout(10):
            while kept.trouble:
                try:
                    await kept.probe()
                except errors.UnavailableError:
                    await asyncio.sleep(0)
        assert await told(kept, outcome(1)) == ["Accepted"]

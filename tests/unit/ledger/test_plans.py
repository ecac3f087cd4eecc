"""No statement walks a table that grows with the load: looked up in SQLite's own plans."""

import sqlite3

from leadline_ledger import store
from leadline_ledger.sqlite import schema
from leadline_wire import ledger

from tests.unit.ledger.ledgers import DAY_MS, MODEL, Clock, copied, entries, identifier, opened, outcome

GROWING = ("log", "answers", "corrections", "predictions", "copies")


def traced(said):
    """Have each new connection tell its statements, with their values."""
    connect = sqlite3.connect

    def connected(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(said.add)
        return connection

    return connected


async def test_no_statement_walks_a_table_that_grows(tmp_path, monkeypatch):
    said, clock = set(), Clock()
    monkeypatch.setattr(schema.sqlite3, "connect", traced(said))
    limits = store.Limits(copies_max=1, predictions_max=1)
    async with opened(tmp_path, clock=clock, limits=limits) as kept:
        stored = [ledger.Stored(f"c{number}", identifier(number), "fraud-a", "i1") for number in (1, 2)]
        by_client = ledger.Outcome(row=0, client_id="c1", truth="i1")
        answers = [outcome(3), outcome(3, truth=2), outcome(4, maturity_ms=5_000), by_client]
        await kept.take(MODEL, ledger.Intake(answers, stored, [copied(3), copied(4), copied(5)]))
        await kept.decide(MODEL, ledger.Decision("d", "Gate", "fraud-b", 1))
        await kept.keep(MODEL, ledger.Checkpoint(1, ""))
        clock.now_ms += 5_000
        await kept.judge()
        clock.now_ms += 40 * DAY_MS
        await kept.tidy()
        await kept.resume()
        await entries(kept)
        await entries(kept, model=MODEL)
    monkeypatch.undo()

    asked = [each for each in said if each.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))]
    assert len(asked) > 30
    connection = sqlite3.connect(tmp_path / "ledger.db")
    walks = [
        (detail, statement)
        for statement in asked
        for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
        if detail.startswith(tuple(f"SCAN {table}" for table in GROWING)) or "TEMP B-TREE" in detail
    ]
    connection.close()
    # Decisions are few, and put in order once, when an operator starts.
    assert [walk for walk in walks if "FROM decisions JOIN log" not in walk[1]] == []

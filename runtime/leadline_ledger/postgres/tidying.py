"""Deletes what is past its age or beyond a number, a little at a time; each kind by one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leadline_ledger import store
from leadline_ledger.bookkeeping.transaction import Model
from leadline_ledger.postgres.schema import Connection

if TYPE_CHECKING:
    from leadline_ledger.postgres.rows import Transaction

_MET: Final = "(c.complete OR EXISTS (SELECT FROM answers a WHERE a.model = c.model AND a.id = c.id))"
"""Whether a copy's prediction was ever answered; those that were not are counted when they go."""


def tidy(work: Transaction, count: int) -> int:
    """Delete up to `count` of each kind; return how many went."""
    # Copies before answers: which of them never met one is looked up.
    steps = (_log, _copies, _answers, _predictions, _entities)
    return sum(step(work, count) for step in steps)


def evict_copies(connection: Connection, model: Model, count: int, counts: store.Counts) -> None:
    """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""
    rows = connection.execute(
        "WITH old AS (SELECT model, id, other FROM copies WHERE model = %s ORDER BY id, other LIMIT %s)"  # noqa: S608 - our own expression
        f" DELETE FROM copies c USING old WHERE (c.model, c.id, c.other) = (old.model, old.id, old.other)"
        f" RETURNING c.id, {_MET}",
        (model.key, count),
    ).fetchall()
    model.copies -= len(rows)
    model.copies_floor = max(model.copies_floor, *(key for key, _ in rows))
    counts.dropped["copy", "number"] += sum(not met for _, met in rows)


def evict_predictions(connection: Connection, model: Model, count: int, counts: store.Counts) -> None:
    """The same for predictions under the client's id."""
    rows = connection.execute(
        "WITH old AS (SELECT model, client_id FROM predictions WHERE model = %s ORDER BY id LIMIT %s)"
        " DELETE FROM predictions p USING old WHERE (p.model, p.client_id) = (old.model, old.client_id) RETURNING p.id",
        (model.key, count),
    ).fetchall()
    model.predictions -= len(rows)
    model.predictions_floor = max(model.predictions_floor, *(key for (key,) in rows))
    counts.dropped["prediction", "number"] += len(rows)


def _log(work: Transaction, count: int) -> int:
    gone = 0
    for key, cursor in work.connection.execute("SELECT model, cursor FROM checkpoints ORDER BY model").fetchall():
        gone += work.connection.execute(
            "DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE model = %s AND expires_ms < %s AND seq <= %s"
            " ORDER BY expires_ms LIMIT %s)",
            (key, work.now_ms, cursor, count - gone),
        ).rowcount
        if gone >= count:
            break
    return gone


def _answers(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "WITH old AS (SELECT model, id, row FROM answers WHERE seq IS NOT NULL AND expires_ms < %s"
        " ORDER BY expires_ms LIMIT %s),"
        " gone AS (DELETE FROM answers a USING old WHERE (a.model, a.id, a.row) = (old.model, old.id, old.row)"
        " RETURNING a.model, a.id, a.row),"
        " corrected AS (DELETE FROM corrections c USING old WHERE (c.model, c.id, c.row) = (old.model, old.id, old.row))"
        " SELECT m.name, gone.id FROM gone JOIN models m ON m.key = gone.model",
        (work.now_ms, count),
    ).fetchall()
    for name, key in rows:
        model = work.model(name)
        model.answers_floor = max(model.answers_floor, key)
    return len(rows)


def _copies(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "WITH old AS (SELECT model, id, other FROM copies WHERE expires_ms < %s ORDER BY expires_ms LIMIT %s)"  # noqa: S608 - our own expression
        f" DELETE FROM copies c USING old, models m"
        f" WHERE (c.model, c.id, c.other) = (old.model, old.id, old.other) AND m.key = c.model"
        f" RETURNING m.name, c.id, {_MET}",
        (work.now_ms, count),
    ).fetchall()
    for name, key, met in rows:
        model = work.model(name)
        model.copies -= 1
        model.copies_floor = max(model.copies_floor, key)
        work.counts.dropped["copy", "age"] += not met
    return len(rows)


def _predictions(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "WITH old AS (SELECT model, client_id FROM predictions WHERE expires_ms < %s ORDER BY expires_ms LIMIT %s)"
        " DELETE FROM predictions p USING old, models m"
        " WHERE (p.model, p.client_id) = (old.model, old.client_id) AND m.key = p.model RETURNING m.name, p.id",
        (work.now_ms, count),
    ).fetchall()
    for name, key in rows:
        model = work.model(name)
        model.predictions -= 1
        model.predictions_floor = max(model.predictions_floor, key)
    work.counts.dropped["prediction", "age"] += len(rows)
    return len(rows)


def _entities(work: Transaction, count: int) -> int:
    return work.connection.execute(
        "WITH old AS (SELECT model, entity, revision, other FROM entities WHERE expires_ms < %s"
        " ORDER BY expires_ms LIMIT %s)"
        " DELETE FROM entities e USING old"
        " WHERE (e.model, e.entity, e.revision, e.other) = (old.model, old.entity, old.revision, old.other)",
        (work.now_ms, count),
    ).rowcount

"""Deletes what is past its age or beyond a number, a little at a time, so that intake is never held up for long."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from leadline_ledger import store
from leadline_ledger.bookkeeping.transaction import Model

if TYPE_CHECKING:
    from leadline_ledger.sqlite.rows import Transaction

_MET: Final = (
    "(copies.complete OR EXISTS (SELECT 1 FROM answers WHERE answers.model = copies.model AND answers.id = copies.id))"
)
"""Whether a copy's prediction was ever answered; those that were not are counted when they go."""


def tidy(work: Transaction, count: int) -> int:
    """Delete up to `count` of each kind; return how many went."""
    # Copies before answers: which of them never met one is looked up.
    steps = (_log, _copies, _answers, _predictions, _entities)
    return sum(step(work, count) for step in steps)


def evict_copies(connection: sqlite3.Connection, model: Model, count: int, counts: store.Counts) -> None:
    """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""
    rows = connection.execute(
        f"SELECT id, other, {_MET} FROM copies WHERE model = ? ORDER BY id, other LIMIT ?",  # noqa: S608 - our own expression
        (model.key, count),
    ).fetchall()
    connection.executemany(
        "DELETE FROM copies WHERE model = ? AND id = ? AND other = ?", [(model.key, *row[:2]) for row in rows]
    )
    model.copies -= len(rows)
    model.copies_floor = max(model.copies_floor, rows[-1][0])
    counts.dropped["copy", "number"] += sum(not row[2] for row in rows)


def evict_predictions(connection: sqlite3.Connection, model: Model, count: int, counts: store.Counts) -> None:
    """The same for predictions under the client's id."""
    rows = connection.execute(
        "SELECT id, client_id FROM predictions WHERE model = ? ORDER BY id LIMIT ?", (model.key, count)
    ).fetchall()
    connection.executemany(
        "DELETE FROM predictions WHERE model = ? AND client_id = ?", [(model.key, row[1]) for row in rows]
    )
    model.predictions -= len(rows)
    model.predictions_floor = max(model.predictions_floor, rows[-1][0])
    counts.dropped["prediction", "number"] += len(rows)


def _log(work: Transaction, count: int) -> int:
    gone = 0
    for key, cursor in work.connection.execute("SELECT model, cursor FROM checkpoints ORDER BY model").fetchall():
        rows = work.connection.execute(
            "SELECT seq FROM log WHERE model = ? AND expires_ms < ? AND seq <= ? ORDER BY expires_ms LIMIT ?",
            (key, work.now_ms, cursor, count - gone),
        ).fetchall()
        work.connection.executemany("DELETE FROM log WHERE seq = ?", rows)
        gone += len(rows)
        if gone >= count:
            break
    return gone


def _answers(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "SELECT models.name, answers.model, answers.id, answers.row FROM answers"
        " JOIN models ON models.key = answers.model"
        " WHERE answers.seq IS NOT NULL AND answers.expires_ms < ? ORDER BY answers.expires_ms LIMIT ?",
        (work.now_ms, count),
    ).fetchall()
    for name, *key in rows:
        work.connection.execute("DELETE FROM answers WHERE model = ? AND id = ? AND row = ?", key)
        work.connection.execute("DELETE FROM corrections WHERE model = ? AND id = ? AND row = ?", key)
        model = work.model(name)
        model.answers_floor = max(model.answers_floor, key[1])
    return len(rows)


def _copies(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        f"SELECT models.name, {_MET}, copies.model, copies.id, copies.other"  # noqa: S608 - our own expression
        " FROM copies JOIN models ON models.key = copies.model"
        " WHERE copies.expires_ms < ? ORDER BY copies.expires_ms LIMIT ?",
        (work.now_ms, count),
    ).fetchall()
    for name, met, *key in rows:
        work.connection.execute("DELETE FROM copies WHERE model = ? AND id = ? AND other = ?", key)
        model = work.model(name)
        model.copies -= 1
        model.copies_floor = max(model.copies_floor, key[1])
        work.counts.dropped["copy", "age"] += not met
    return len(rows)


def _predictions(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "SELECT models.name, predictions.model, predictions.client_id, predictions.id FROM predictions"
        " JOIN models ON models.key = predictions.model"
        " WHERE predictions.expires_ms < ? ORDER BY predictions.expires_ms LIMIT ?",
        (work.now_ms, count),
    ).fetchall()
    for name, key, client_id, identifier in rows:
        work.connection.execute("DELETE FROM predictions WHERE model = ? AND client_id = ?", (key, client_id))
        model = work.model(name)
        model.predictions -= 1
        model.predictions_floor = max(model.predictions_floor, identifier)
    work.counts.dropped["prediction", "age"] += len(rows)
    return len(rows)


def _entities(work: Transaction, count: int) -> int:
    rows = work.connection.execute(
        "SELECT model, entity, revision, other FROM entities WHERE expires_ms < ? ORDER BY expires_ms LIMIT ?",
        (work.now_ms, count),
    ).fetchall()
    work.connection.executemany(
        "DELETE FROM entities WHERE model = ? AND entity = ? AND revision = ? AND other = ?", rows
    )
    return len(rows)

"""Deletes what is past its age, a little at a time, so that intake is never held up for long.

Never: decisions, answers that still mature, and entries that no checkpoint has behind it.
"""

from typing import Final

from leadline_ledger.sqlite import transaction
from leadline_ledger.sqlite.taking import MET

STEP_ROWS: Final = 500
"""Of each kind per transaction; some ten milliseconds."""


def tidy(work: transaction.Transaction) -> int:
    """Delete up to `STEP_ROWS` of each kind; return how many went."""
    # Copies before answers: which of them never met one is looked up.
    return _log(work) + _copies(work) + _answers(work) + _predictions(work) + _entities(work)


def _log(work: transaction.Transaction) -> int:
    gone = 0
    for key, cursor in work.connection.execute("SELECT model, cursor FROM checkpoints ORDER BY model").fetchall():
        rows = work.connection.execute(
            "SELECT seq FROM log WHERE model = ? AND expires_ms < ? AND seq <= ? ORDER BY expires_ms LIMIT ?",
            (key, work.now_ms, cursor, STEP_ROWS - gone),
        ).fetchall()
        work.connection.executemany("DELETE FROM log WHERE seq = ?", rows)
        gone += len(rows)
        if gone >= STEP_ROWS:
            break
    return gone


def _answers(work: transaction.Transaction) -> int:
    rows = work.connection.execute(
        "SELECT models.name, answers.model, answers.id, answers.row FROM answers"
        " JOIN models ON models.key = answers.model"
        " WHERE answers.seq IS NOT NULL AND answers.expires_ms < ? ORDER BY answers.expires_ms LIMIT ?",
        (work.now_ms, STEP_ROWS),
    ).fetchall()
    for name, *key in rows:
        work.connection.execute("DELETE FROM answers WHERE model = ? AND id = ? AND row = ?", key)
        work.connection.execute("DELETE FROM corrections WHERE model = ? AND id = ? AND row = ?", key)
        model = work.model(name)
        model.answers_floor = max(model.answers_floor, key[1])
    return len(rows)


def _copies(work: transaction.Transaction) -> int:
    rows = work.connection.execute(
        f"SELECT models.name, {MET}, copies.model, copies.id, copies.other"  # noqa: S608 - our own expression
        " FROM copies JOIN models ON models.key = copies.model"
        " WHERE copies.expires_ms < ? ORDER BY copies.expires_ms LIMIT ?",
        (work.now_ms, STEP_ROWS),
    ).fetchall()
    for name, met, *key in rows:
        work.connection.execute("DELETE FROM copies WHERE model = ? AND id = ? AND other = ?", key)
        model = work.model(name)
        model.copies -= 1
        model.copies_floor = max(model.copies_floor, key[1])
        work.counts.dropped["copy", "age"] += not met
    return len(rows)


def _predictions(work: transaction.Transaction) -> int:
    rows = work.connection.execute(
        "SELECT models.name, predictions.model, predictions.client_id, predictions.id FROM predictions"
        " JOIN models ON models.key = predictions.model"
        " WHERE predictions.expires_ms < ? ORDER BY predictions.expires_ms LIMIT ?",
        (work.now_ms, STEP_ROWS),
    ).fetchall()
    for name, key, client_id, identifier in rows:
        work.connection.execute("DELETE FROM predictions WHERE model = ? AND client_id = ?", (key, client_id))
        model = work.model(name)
        model.predictions -= 1
        model.predictions_floor = max(model.predictions_floor, identifier)
    work.counts.dropped["prediction", "age"] += len(rows)
    return len(rows)


def _entities(work: transaction.Transaction) -> int:
    rows = work.connection.execute(
        "SELECT model, entity, revision, other FROM entities WHERE expires_ms < ? ORDER BY expires_ms LIMIT ?",
        (work.now_ms, STEP_ROWS),
    ).fetchall()
    work.connection.executemany(
        "DELETE FROM entities WHERE model = ? AND entity = ? AND revision = ? AND other = ?", rows
    )
    return len(rows)

"""What is read, each in one snapshot: the log after a cursor, what an operator begins with, what is wanted."""

import sqlite3

from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import log, wanting
from leadline_ledger.sqlite import schema


def stretch(connection: sqlite3.Connection, after: int, *, limit: int, model: str, timeline: str) -> store.Stretch:
    """Return the entries after a cursor.

    Raises:
        GoneError: The cursor is beyond the log, or of another history.
    """
    head = schema.head(connection)
    if after > head:
        raise log.beyond(after, head)
    if timeline:
        _check(connection, after, timeline)
    (newest,) = connection.execute("SELECT name FROM starts ORDER BY ordinal DESC LIMIT 1").fetchone()
    if model:
        rows = connection.execute(
            "SELECT body FROM log WHERE model = (SELECT key FROM models WHERE name = ?) AND seq > ? ORDER BY seq",
            (model, after),
        )
    else:
        rows = connection.execute("SELECT body FROM log WHERE seq > ? ORDER BY seq", (after,))
    entries = log.stretch((body for (body,) in rows), limit)
    return store.Stretch(head, newest, entries, _waiting(connection) if not model else None)


def resume(connection: sqlite3.Connection) -> ledger.Resume:
    """Return where the evidence of each ModelDeployment stands."""
    head = schema.head(connection)
    (newest,) = connection.execute("SELECT name FROM starts ORDER BY ordinal DESC LIMIT 1").fetchone()
    decided = connection.execute(
        "SELECT decisions.model, log.body FROM decisions JOIN log ON log.seq = decisions.seq ORDER BY decisions.seq"
    )
    models = connection.execute(
        "SELECT models.key, models.name, models.last_seq, checkpoints.cursor, checkpoints.state FROM models"
        " LEFT JOIN checkpoints ON checkpoints.model = models.key ORDER BY models.name"
    )
    return ledger.Resume(head=head, models=log.states(models, decided), timeline=newest, labels=_waiting(connection))


def _check(connection: sqlite3.Connection, after: int, timeline: str) -> None:
    """Refuse a cursor that was given by a ledger whose history is not this one's."""
    found = connection.execute("SELECT ordinal FROM starts WHERE name = ?", (timeline,)).fetchone()
    if found is None:
        raise log.unknown(after)
    (next_seq,) = connection.execute("SELECT MIN(seq) FROM starts WHERE ordinal > ?", found).fetchone()
    if next_seq is not None and after > next_seq:
        raise log.went_on_otherwise(after, next_seq)


def wanted(connection: sqlite3.Connection, name: str, *, limit: int, since_ms: int) -> ledger.Wanted:
    """Return up to so many answers that are wanted, of predictions made since then, in no order."""
    found = connection.execute("SELECT key FROM models WHERE name = ?", (name,)).fetchone()
    if found is None:
        return wanting.NONE
    (model,) = found
    copies = connection.execute(
        "SELECT id, revision, other, predictions, other_predictions FROM copies"
        " WHERE model = ? AND id >= ? AND NOT complete ORDER BY id DESC LIMIT ?",
        (model, wanting.earliest(since_ms), wanting.COPIES_MAX),
    )

    def answered(key: bytes) -> dict[int, bool]:
        rows = connection.execute(
            "SELECT answers.row, json_extract(CAST(COALESCE(log.body, answers.body, '{}') AS TEXT), '$.wanted')"
            " FROM answers LEFT JOIN log ON log.seq = answers.seq WHERE answers.model = ? AND answers.id = ?",
            (model, key),
        )
        return {row: not asked for row, asked in rows}

    def client_id(key: bytes) -> str:
        kept = connection.execute(
            "SELECT client_id FROM predictions WHERE model = ? AND id = ? LIMIT 1", (model, key)
        ).fetchone()
        return kept[0] if kept is not None else ""

    return wanting.chosen([wanting.Copied(*row) for row in copies], limit=limit, answered=answered, client_id=client_id)


def labels_waiting(connection: sqlite3.Connection, name: str, limit: int) -> list[bytes]:
    """Return the oldest labelled rows that wait, as they are kept."""
    rows = connection.execute(
        "SELECT body FROM labels WHERE model = (SELECT key FROM models WHERE name = ?) AND fate IS NULL ORDER BY id LIMIT ?",
        (name, limit),
    )
    return [body for (body,) in rows]


def labels(connection: sqlite3.Connection, name: str) -> list[tuple[str | None, int]]:
    """Return how many labelled rows had which fate; None: they wait."""
    return connection.execute(
        "SELECT fate, COUNT(*) FROM labels WHERE model = (SELECT key FROM models WHERE name = ?) GROUP BY fate"
        " ORDER BY fate",
        (name,),
    ).fetchall()


def _waiting(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT models.name, COUNT(*) FROM labels JOIN models ON models.key = labels.model WHERE fate IS NULL"
        " GROUP BY models.name ORDER BY models.name"
    )
    return dict(rows.fetchall())

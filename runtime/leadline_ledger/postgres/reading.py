"""What is read, each in one snapshot: the log after a cursor, what an operator begins with, what is wanted."""

from collections.abc import Iterator
from typing import Final

from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import log, wanting
from leadline_ledger.postgres.schema import Connection

_CHUNK: Final = 1_000
"""Entries that are fetched at once: some 300 kB."""


def stretch(connection: Connection, after: int, *, limit: int, model: str, timeline: str) -> store.Stretch:
    """Return the entries after a cursor.

    Raises:
        GoneError: The cursor is beyond the log, or of another history.
    """
    head, newest = _head(connection)
    if after > head:
        raise log.beyond(after, head)
    if timeline:
        _check(connection, after, timeline)
    key: int | None = None
    if model:
        found = connection.execute("SELECT key FROM models WHERE name = %s", (model,)).fetchone()
        if found is None:
            return store.Stretch(head, newest, ())
        (key,) = found
    entries = log.stretch(_bodies(connection, after, key), limit)
    return store.Stretch(head, newest, entries, _waiting(connection) if not model else None)


def resume(connection: Connection) -> ledger.Resume:
    """Return where the evidence of each ModelDeployment stands."""
    head, newest = _head(connection)
    decided = connection.execute(
        "SELECT decisions.model, log.body FROM decisions JOIN log ON log.seq = decisions.seq ORDER BY decisions.seq"
    )
    models = connection.execute(
        "SELECT m.key, m.name, m.last_seq, c.cursor, c.state FROM models m LEFT JOIN checkpoints c ON c.model = m.key"
        ' ORDER BY m.name COLLATE "C"'
    )
    return ledger.Resume(head=head, models=log.states(models, decided), timeline=newest, labels=_waiting(connection))


def wanted(connection: Connection, name: str, *, limit: int, since_ms: int) -> ledger.Wanted:
    """Return up to so many answers that are wanted, of predictions made since then, in no order."""
    found = connection.execute("SELECT key FROM models WHERE name = %s", (name,)).fetchone()
    if found is None:
        return wanting.NONE
    (model,) = found
    rows = connection.execute(
        "SELECT id, revision, other, predictions, other_predictions FROM copies"
        " WHERE model = %s AND id >= %s AND NOT complete ORDER BY id DESC LIMIT %s",
        (model, wanting.earliest(since_ms), wanting.COPIES_MAX),
    ).fetchall()
    copies = [wanting.Copied(*row) for row in rows]
    answered: dict[bytes, dict[int, bool]] = {each.id: {} for each in copies}
    for key, row, asked in connection.execute(
        "SELECT a.id, a.row, COALESCE(convert_from(COALESCE(l.body, a.body), 'UTF8')::json ->> 'wanted', '')"
        " FROM unnest(%b::bytea[]) AS w (id) JOIN answers a ON a.model = %s AND a.id = w.id"
        " LEFT JOIN log l ON l.seq = a.seq",
        (list(answered), model),
    ):
        answered[key][row] = not asked

    def client_id(key: bytes) -> str:
        kept = connection.execute(
            "SELECT client_id FROM predictions WHERE model = %s AND id = %s LIMIT 1", (model, key)
        ).fetchone()
        return kept[0] if kept is not None else ""

    return wanting.chosen(copies, limit=limit, answered=answered.__getitem__, client_id=client_id)


def labels_waiting(connection: Connection, name: str, limit: int) -> list[bytes]:
    """Return the oldest labelled rows that wait, as they are kept."""
    rows = connection.execute(
        "SELECT body FROM labels WHERE model = (SELECT key FROM models WHERE name = %s) AND fate IS NULL"
        " ORDER BY id LIMIT %s",
        (name, limit),
    )
    return [body for (body,) in rows]


def labels(connection: Connection, name: str) -> list[tuple[str | None, int]]:
    """Return how many labelled rows had which fate; None: they wait."""
    rows = connection.execute(
        "SELECT fate, COUNT(*) FROM labels WHERE model = (SELECT key FROM models WHERE name = %s) GROUP BY fate"
        ' ORDER BY fate COLLATE "C" NULLS FIRST',
        (name,),
    )
    return [(fate, count) for fate, count in rows]


def _waiting(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT m.name, COUNT(*) FROM labels l JOIN models m ON m.key = l.model WHERE l.fate IS NULL GROUP BY m.name"
        ' ORDER BY m.name COLLATE "C"'
    )
    return dict(rows.fetchall())


def _bodies(connection: Connection, after: int, model: int | None) -> Iterator[bytes]:
    """Yield the entries after a cursor, of all ModelDeployments or of one; fetched as they are asked for."""
    of_one = "" if model is None else "model = %s AND "
    select = f"SELECT seq, body FROM log WHERE {of_one}seq > %s ORDER BY seq LIMIT {_CHUNK}"  # noqa: S608 - our own parts
    while True:
        rows = connection.execute(select, (after,) if model is None else (model, after)).fetchall()
        yield from (body for _, body in rows)
        if len(rows) < _CHUNK:
            return
        after, _ = rows[-1]


def _head(connection: Connection) -> tuple[int, str]:
    """Return the newest `seq`, and the name of the newest start."""
    found = connection.execute(
        "SELECT head.seq, (SELECT name FROM starts ORDER BY ordinal DESC LIMIT 1) FROM head"
    ).fetchone()
    assert found is not None, "made with the schema"
    head, newest = found
    return head, newest


def _check(connection: Connection, after: int, timeline: str) -> None:
    """Refuse a cursor that was given by a ledger whose history is not this one's."""
    found = connection.execute("SELECT ordinal FROM starts WHERE name = %s", (timeline,)).fetchone()
    if found is None:
        raise log.unknown(after)
    later = connection.execute("SELECT MIN(seq) FROM starts WHERE ordinal > %s", found).fetchone()
    next_seq = later[0] if later is not None else None
    if next_seq is not None and after > next_seq:
        raise log.went_on_otherwise(after, next_seq)

"""What is read, each in one snapshot: the log after a cursor, and what an operator begins with."""

import sqlite3
from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import errors, store
from leadline_ledger.sqlite import schema

STRETCH_BYTES_MAX: Final = 8 << 20
"""Of one answer's entries, but for the first: the rest is read with the next cursor."""


class _Part(msgspec.Struct):
    more: int = 0


_decision: Final = msgspec.json.Decoder(ledger.DecisionEntry).decode
_part: Final = msgspec.json.Decoder(_Part).decode


def stretch(connection: sqlite3.Connection, after: int, *, limit: int, model: str, timeline: str) -> store.Stretch:
    """Return the entries after a cursor.

    Raises:
        GoneError: The cursor is beyond the log, or of another history.
    """
    head = schema.head(connection)
    if after > head:
        raise errors.GoneError(
            f"cursor {after} is beyond the newest entry {head}: the ledger was restored from a backup, or is another "
            "one; begin again with /v1/resume"
        )
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
    entries: list[bytes] = []
    size = 0
    for (body,) in rows:
        size += len(body)
        is_full = len(entries) >= limit or size > STRETCH_BYTES_MAX
        # Rows of one prediction are one outcome, and come in one answer.
        if entries and is_full and not _goes_on(entries[-1]):
            break
        entries.append(body)
    return store.Stretch(head, newest, tuple(entries))


def resume(connection: sqlite3.Connection) -> ledger.Resume:
    """Return where the evidence of each ModelDeployment stands."""
    head = schema.head(connection)
    (newest,) = connection.execute("SELECT name FROM starts ORDER BY ordinal DESC LIMIT 1").fetchone()
    decisions: dict[int, list[ledger.DecisionEntry]] = {}
    for key, body in connection.execute(
        "SELECT decisions.model, log.body FROM decisions JOIN log ON log.seq = decisions.seq ORDER BY decisions.seq"
    ):
        decisions.setdefault(key, []).append(_decision(body))
    rows = connection.execute(
        "SELECT models.key, models.name, models.last_seq, checkpoints.cursor, checkpoints.state FROM models"
        " LEFT JOIN checkpoints ON checkpoints.model = models.key ORDER BY models.name"
    )
    models = [
        ledger.ModelState(
            model=name,
            last_seq=last_seq,
            checkpoint=None if cursor is None else ledger.Checkpoint(cursor=cursor, state=state),
            decisions=decisions.get(key, []),
        )
        for key, name, last_seq, cursor, state in rows
    ]
    return ledger.Resume(head=head, models=models, timeline=newest)


def _goes_on(body: bytes) -> bool:
    return b'"more"' in body and _part(body).more > 0


def _check(connection: sqlite3.Connection, after: int, timeline: str) -> None:
    """Refuse a cursor that was given by a ledger whose history is not this one's."""
    found = connection.execute("SELECT ordinal FROM starts WHERE name = ?", (timeline,)).fetchone()
    if found is None:
        raise errors.GoneError(
            f"cursor {after} is of a history that this ledger does not know: it was restored from a backup, or is "
            "another one; begin again with /v1/resume"
        )
    (next_seq,) = connection.execute("SELECT MIN(seq) FROM starts WHERE ordinal > ?", found).fetchone()
    if next_seq is not None and after > next_seq:
        raise errors.GoneError(
            f"cursor {after} is beyond entry {next_seq}, from where this ledger went on otherwise after a backup was "
            "restored; begin again with /v1/resume"
        )

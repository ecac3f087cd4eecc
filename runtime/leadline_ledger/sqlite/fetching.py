"""Rows of SQLite that a transaction looks for, many by one statement.

The database is in this process, yet a statement of Python's costs some five microseconds beside what SQLite does; a
table of what is looked for costs a fraction of one for each row.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from leadline_ledger.bookkeeping.known import Known, Row, Wanted
from leadline_ledger.bookkeeping.transaction import Copy

_SIZES: Final = (1, 16, 128, 512)
"""Rows of a table of what is looked for: few statements, so that each stays prepared."""
_ANSWERS: Final = (
    "SELECT a.model, a.id, a.row, a.answer, a.seq, a.expires_ms, COALESCE(l.body, a.body)"
    " FROM w CROSS JOIN answers a ON a.model = w.a AND a.id = w.b LEFT JOIN log l ON l.seq = a.seq"
)
_COPIES: Final = (
    "SELECT c.model, c.id, c.other, c.revision, c.predictions, c.other_predictions, c.complete"
    " FROM w CROSS JOIN copies c ON c.model = w.a AND c.id = w.b"
)
_ENTITIES: Final = (
    "SELECT e.model, e.entity, e.revision, e.other, e.expires_ms"
    " FROM w CROSS JOIN entities e ON e.model = w.a AND e.entity = w.b"
)
_PREDICTIONS: Final = (
    "SELECT p.model, p.client_id, p.body FROM w CROSS JOIN predictions p ON p.model = w.a AND p.client_id = w.b"
)


def fetch(connection: sqlite3.Connection, wanted: Wanted, known: Known) -> None:
    """Put what is found into `known`, which expects it."""
    for model, key, row, answer, seq, expires_ms, body in _found(connection, _ANSWERS, wanted.answers):
        known.answers[model, key][row] = Row(answer, seq, expires_ms, body)
    for model, key, *words, complete in _found(connection, _COPIES, wanted.copies):
        known.copies[model, key][words[0]] = (Copy(*words), bool(complete))
    for model, entity, revision, other, expires_ms in _found(connection, _ENTITIES, wanted.entities):
        known.entities[model, entity][revision, other] = expires_ms


def fetch_predictions(connection: sqlite3.Connection, keys: Sequence[tuple[int, str]], known: Known) -> None:
    """The same for what is kept under clients' ids."""
    for model, client_id, body in _found(connection, _PREDICTIONS, keys):
        known.predictions[model, client_id] = body


def _found(connection: sqlite3.Connection, query: str, keys: Sequence[tuple[int, Any]]) -> Iterator[tuple[Any, ...]]:
    done = 0
    while done < len(keys):
        size = next((each for each in _SIZES if each >= len(keys) - done), _SIZES[-1])
        part = keys[done : done + size]
        done += size
        values: list[Any] = [value for key in part for value in key]
        values += [None] * (2 * size - len(values))  # which equals nothing
        yield from connection.execute(f"WITH w (a, b) AS (VALUES {_ROWS[size]}) {query}", values).fetchall()


_ROWS: Final = {size: ",".join(["(?,?)"] * size) for size in _SIZES}

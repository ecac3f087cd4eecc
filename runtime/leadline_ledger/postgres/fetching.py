"""Rows of PostgreSQL that a transaction looks for: many at once, for the database is a round trip away."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from leadline_ledger.bookkeeping.known import Known, Row, Wanted
from leadline_ledger.bookkeeping.transaction import Copy
from leadline_ledger.postgres.schema import Connection

_ANSWERS: Final = (
    "SELECT a.model, a.id, a.row, a.answer, a.seq, a.expires_ms, COALESCE(l.body, a.body)"
    " FROM unnest(%s::int[], %b::bytea[]) AS w (model, id) JOIN answers a ON a.model = w.model AND a.id = w.id"
    " LEFT JOIN log l ON l.seq = a.seq"
)
_COPIES: Final = (
    "SELECT c.model, c.id, c.other, c.revision, c.predictions, c.other_predictions, c.complete"
    " FROM unnest(%s::int[], %b::bytea[]) AS w (model, id) JOIN copies c ON c.model = w.model AND c.id = w.id"
)
_PREDICTIONS: Final = (
    "SELECT p.model, p.client_id, p.body FROM unnest(%s::int[], %s::text[]) AS w (model, client_id)"
    " JOIN predictions p ON p.model = w.model AND p.client_id = w.client_id"
)
_ENTITIES: Final = (
    "SELECT e.model, e.entity, e.revision, e.other, e.expires_ms FROM unnest(%s::int[], %s::text[]) AS w (model, entity)"
    " JOIN entities e ON e.model = w.model AND e.entity = w.entity"
)


def send(connection: Connection, wanted: Wanted) -> Callable[[Known], None]:
    """Ask for rows, inside a pipeline; return what takes them, once that has ended."""
    answers = connection.execute(_ANSWERS, columns(wanted.answers)) if wanted.answers else ()
    copies = connection.execute(_COPIES, columns(wanted.copies)) if wanted.copies else ()
    entities = connection.execute(_ENTITIES, columns(wanted.entities)) if wanted.entities else ()

    def take(known: Known) -> None:
        for model, key, row, answer, seq, expires_ms, body in answers:
            known.answers[model, key][row] = Row(answer, seq, expires_ms, body)
        for model, key, *words, complete in copies:
            known.copies[model, key][words[0]] = (Copy(*words), complete)
        for model, entity, revision, other, expires_ms in entities:
            known.entities[model, entity][revision, other] = expires_ms

    return take


def fetch_predictions(connection: Connection, keys: Sequence[tuple[int, str]], known: Known) -> None:
    """Fetch what is kept under clients' ids."""
    for model, client_id, body in connection.execute(_PREDICTIONS, columns(keys)):
        known.predictions[model, client_id] = body


def columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the columns of rows as parameters of `unnest`.

    Numbers become one text, a fraction of the work of a list of them.
    """
    return [_column(column) for column in zip(*rows, strict=True)]


def _column(values: Sequence[Any]) -> Any:
    first = next((each for each in values if each is not None), None)
    if isinstance(first, int) or first is None:
        return f"{{{','.join('NULL' if each is None else str(each) for each in values)}}}"
    return list(values)

"""What a transaction on PostgreSQL knows of rows: fetched for many calls at once, for the database is a round trip away.

Each kind is kept whole by its key, so that what was fetched and what was written since is one picture. What is not here yet is
fetched when it is asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from leadline_wire import ledger

from leadline_ledger.bookkeeping.transaction import Copy
from leadline_ledger.postgres.schema import Connection

Key = tuple[int, bytes]
"""Short key of a ModelDeployment, and id of a prediction."""

MODEL_COLUMNS: Final = "name, key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor, taken"
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


@dataclass(slots=True)
class Row:
    """An answer as it is, or will be once the transaction is done."""

    answer: str
    seq: int | None
    expires_ms: int
    body: bytes | None
    """Of its entry, wherever that is kept."""
    matures_ms: int | None = None
    is_new: bool = False


@dataclass(slots=True)
class Wanted:
    """What intakes will look for, of predictions whose ids are known."""

    answers: list[Key] = field(default_factory=list)
    copies: list[Key] = field(default_factory=list)
    entities: list[tuple[int, str]] = field(default_factory=list)

    def add(self, model: int, identifier: str, entity: str) -> None:
        """Add a prediction that an answer is for."""
        key = (model, bytes.fromhex(identifier))
        self.answers.append(key)
        self.copies.append(key)
        if entity:
            self.entities.append((model, entity))


@dataclass(slots=True)
class Known:
    """Rows by their keys; a key that is here has no others."""

    connection: Connection
    answers: dict[Key, dict[int, Row]] = field(default_factory=dict)
    copies: dict[Key, dict[str, tuple[Copy, bool]]] = field(default_factory=dict)
    """By the other revision, with whether it is complete."""
    predictions: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    entities: dict[tuple[int, str], dict[tuple[str, str], int]] = field(default_factory=dict)
    """When each pair of revisions' outcome may be forgotten."""

    def load(self, wanted: Wanted) -> None:
        """Fetch what is not known yet, all in one round trip."""
        with self.connection.pipeline():
            take = self.send(wanted)
        take()

    def send(self, wanted: Wanted) -> Callable[[], None]:
        """Ask for what is not known yet, inside a pipeline; return what takes the answers once it has ended."""
        keys = [key for key in dict.fromkeys(wanted.answers) if key not in self.answers]
        copied = [key for key in dict.fromkeys(wanted.copies) if key not in self.copies]
        about = [key for key in dict.fromkeys(wanted.entities) if key not in self.entities]
        found_answers = self.connection.execute(_ANSWERS, columns(keys)) if keys else ()
        found_copies = self.connection.execute(_COPIES, columns(copied)) if copied else ()
        found_entities = self.connection.execute(_ENTITIES, columns(about)) if about else ()

        def take() -> None:
            self.answers.update((key, {}) for key in keys)
            self.copies.update((key, {}) for key in copied)
            self.entities.update((key, {}) for key in about)
            for model, key, row, answer, seq, expires_ms, body in found_answers:
                self.answers[model, key][row] = Row(answer, seq, expires_ms, body)
            for model, key, *words, complete in found_copies:
                self.copies[model, key][words[0]] = (Copy(*words), complete)
            for model, entity, revision, other, expires_ms in found_entities:
                self.entities[model, entity][revision, other] = expires_ms

        return take

    def load_predictions(self, keys: Iterable[tuple[int, str]]) -> None:
        """Fetch what is kept under clients' ids."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self.predictions]
        if not wanted:
            return
        self.predictions.update((key, None) for key in wanted)
        for model, client_id, body in self.connection.execute(_PREDICTIONS, columns(wanted)):
            self.predictions[model, client_id] = body

    def forget(self) -> None:
        """Know nothing: rows were deleted."""
        for kind in (self.answers, self.copies, self.predictions, self.entities):
            kind.clear()


def by_id(asked: Iterable[tuple[int, ledger.Intake]]) -> Wanted:
    """Return what intakes look for by the ids that they bring; each with the short key of its ModelDeployment."""
    wanted = Wanted()
    for model, intake in asked:
        for outcome in intake.outcomes:
            if outcome.id:
                wanted.add(model, outcome.id, outcome.entity)
        for copied in intake.copies:
            wanted.add(model, copied.id, "")
    return wanted


def client_ids(asked: Iterable[tuple[int, ledger.Intake]]) -> list[tuple[int, str]]:
    """Return the clients' own ids that intakes name."""
    return [
        (model, client_id)
        for model, intake in asked
        for client_id in (
            *(each.client_id for each in intake.outcomes if not each.id),
            *(each.client_id for each in intake.predictions),
        )
    ]


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

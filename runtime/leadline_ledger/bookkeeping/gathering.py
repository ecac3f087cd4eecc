"""A transaction that fetches rows for many calls at once and writes what they made together, whatever the database.

It keeps one picture of what was fetched and what was made since (`known`), so that what is written is seen by what is read
later. A database says how rows are fetched and written (`sqlite.rows`, `postgres.rows`).
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import known, transaction
from leadline_ledger.bookkeeping.known import Key, Known, Row, Wanted
from leadline_ledger.bookkeeping.transaction import Answer, Copy, Due, Model

_stored: Final = msgspec.json.Decoder(ledger.Stored).decode
_about: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode
_LONGER_MS: Final = 86_400_000
"""An entity is remembered so much longer than it must be, so that one that comes again within a day writes nothing."""


class Correction(NamedTuple):
    """Another answer to a row."""

    model: int
    id: bytes
    row: int
    answer: str
    most: int
    """Of them are kept."""


@dataclass(slots=True)
class Gathered:
    """What is to be written."""

    log: list[tuple[int, int, int | None, bytes]] = field(default_factory=list)
    """`seq`, model, `expires_ms`, body."""
    answers: list[tuple[Key, int, Row]] = field(default_factory=list)
    changed: dict[tuple[Key, int], Row] = field(default_factory=dict)
    """Answers that were there before."""
    corrections: list[Correction] = field(default_factory=list)
    predictions: list[tuple[int, str, bytes, int, bytes]] = field(default_factory=list)
    """Model, the client's id, id, `expires_ms`, body."""
    copies: list[tuple[int, bytes, str, str, str, str, bool, int]] = field(default_factory=list)
    """Model, id, the words of `Copy`, whether it is complete, `expires_ms`."""
    entities: dict[tuple[int, str, str, str], int] = field(default_factory=dict)
    """Model, entity, revision and other: until when each is remembered."""

    def new_answers(self) -> list[tuple[int, bytes, int, str, int | None, int | None, int, bytes | None]]:
        """Return rows of the table `answers`, in the order of its columns."""
        return [
            (*key, row, each.answer, each.seq, each.matures_ms, each.expires_ms, None if each.seq else each.body)
            for key, row, each in self.answers
        ]

    def changed_answers(self) -> list[tuple[int, bytes, int, int | None, bytes | None]]:
        """Return model, id, row and what those are now: `seq`, and the body while it is not in the log."""
        return [(*key, row, each.seq, None if each.seq else each.body) for (key, row), each in self.changed.items()]


class Transaction(transaction.Transaction):
    """See `bookkeeping.transaction.Transaction`; what is left to a database are fetching and writing."""

    def __init__(self, now_ms: int, limits: store.Limits, head: int) -> None:
        """Set up; see `bookkeeping.transaction.Transaction`."""
        super().__init__(now_ms, limits, head)
        self.known = Known()
        self.gathered = Gathered()
        self._models: dict[str, Model] = {}
        self._bodies: dict[int, bytes] = {}
        """Of the entries of this transaction, by `seq`."""

    @abstractmethod
    def fetch(self, wanted: Wanted) -> None:
        """Put rows into `known` that are not there; never called with nothing."""

    @abstractmethod
    def fetch_predictions(self, keys: Sequence[tuple[int, str]]) -> None:
        """The same for what is kept under clients' ids; those keys stand for None already."""

    @abstractmethod
    def fetch_models(self, names: Sequence[str]) -> Iterable[Model]:
        """Return the rows of ModelDeployments, made where there are none."""

    @abstractmethod
    def fetch_due(self, count: int) -> list[Due]:
        """Return answers whose maturity has passed; see `due`."""

    @abstractmethod
    def delete_copies(self, model: Model, count: int) -> None:
        """See `evict_copies`."""

    @abstractmethod
    def delete_predictions(self, model: Model, count: int) -> None:
        """See `evict_predictions`."""

    @abstractmethod
    def delete_old(self, count: int) -> int:
        """See `tidy`."""

    @abstractmethod
    def write(self, gathered: Gathered) -> None:
        """Write what was gathered."""

    def load(self, wanted: Wanted) -> None:
        """Fetch what is not known yet."""
        missing = self.known.missing(wanted)
        if missing.answers or missing.copies or missing.entities:
            self.known.expect(missing)
            self.fetch(missing)

    def load_predictions(self, keys: Iterable[tuple[int, str]]) -> None:
        """Fetch what is kept under clients' ids, where it is not known yet."""
        missing = [key for key in dict.fromkeys(keys) if key not in self.known.predictions]
        if missing:
            self.known.predictions.update((key, None) for key in missing)
            self.fetch_predictions(missing)

    def load_by_client_id(self, asked: Sequence[tuple[int, ledger.Intake]]) -> None:
        """Fetch what intakes name by clients' ids, and then what is looked for by the ids that stand there.

        Args:
            asked: Intakes, each with the short key of its ModelDeployment.
        """
        client_ids = known.client_ids(asked)
        if not client_ids:
            return
        self.load_predictions(client_ids)
        wanted = Wanted()
        for model, client_id in client_ids:
            body = self.known.predictions[model, client_id]
            if body is not None:
                kept = _stored(body)
                wanted.add(model, kept.id, kept.entity)
        self.load(wanted)

    def flush(self) -> None:
        """Write what was gathered; what is known stays."""
        gathered = self.gathered
        if gathered != Gathered():
            self.write(gathered)
        for _, _, row in gathered.answers:
            row.is_new = False
        self.gathered = Gathered()

    def model(self, name: str) -> Model:
        """Return the row of a ModelDeployment, made where there is none."""
        found = self._models.get(name)
        if found is None:
            self.take_models(self.fetch_models([name]))
            found = self._models[name]
        return found

    def take_models(self, models: Iterable[Model]) -> None:
        """Know rows of ModelDeployments."""
        self._models.update((each.name, each) for each in models)

    def write_entry(self, model: Model, seq: int, expires_ms: int | None, body: bytes) -> None:
        """Write an entry of the log."""
        self.gathered.log.append((seq, model.key, expires_ms, body))
        self._bodies[seq] = body

    def repeats(self, model: Model, entity: str, revision: str, other: str = "", *, expires_ms: int) -> bool:
        """Tell whether an entity had an outcome of a revision, or of a pair, before; it has one now."""
        if not entity:
            return False
        key = (model.key, entity)
        if key not in self.known.entities:
            self.load(Wanted(entities=[key]))
        about = self.known.entities[key]
        had = about.get((revision, other))
        if had is None or had < expires_ms:
            about[revision, other] = until = expires_ms + _LONGER_MS
            self.gathered.entities[model.key, entity, revision, other] = until
        return had is not None

    def answer(self, model: Model, key: bytes, row: int) -> tuple[str, int | None] | None:
        """Return the answer that came first, and where it stands in the log."""
        found = self._rows(model, key).get(row)
        return (found.answer, found.seq) if found is not None else None

    def answers(self, model: Model, key: bytes) -> Sequence[Answer]:
        """Return all answers to a prediction, by row."""
        rows = self._rows(model, key)
        if not rows:
            return ()
        return [Answer(row, rows[row].seq, rows[row].expires_ms, rows[row].body) for row in sorted(rows)]

    def add_answer(
        self,
        model: Model,
        key: bytes,
        row: int,
        answer: str,
        *,
        seq: int | None,
        expires_ms: int,
        matures_ms: int | None = None,
        body: bytes | None = None,
    ) -> None:
        """Keep the first answer to a row."""
        made = Row(answer, seq, expires_ms, self._bodies[seq] if seq else body, matures_ms, is_new=True)
        self._rows(model, key)[row] = made
        self.gathered.answers.append(((model.key, key), row, made))

    def place_answer(self, model: Model, key: bytes, row: int, seq: int) -> None:
        """Remember where an answer stands in the log by now."""
        self._change(model, key, row, seq=seq, body=self._bodies[seq])

    def change_answer(self, model: Model, key: bytes, row: int, body: bytes) -> None:
        """Change the entry that an answer will be once it is mature."""
        self._change(model, key, row, seq=None, body=body)

    def add_correction(self, model: Model, key: bytes, row: int, answer: str, *, most: int) -> None:
        """Keep another answer to a row, once each and no more than so many."""
        self.gathered.corrections.append(Correction(model.key, key, row, answer, most))

    def prediction(self, model: Model, client_id: str) -> bytes | None:
        """Return what is kept under a client's id."""
        self.load_predictions([(model.key, client_id)])
        return self.known.predictions[model.key, client_id]

    def add_prediction(self, model: Model, client_id: str, key: bytes, expires_ms: int, body: bytes) -> bool:
        """Keep a prediction under a client's id; tell whether there was none."""
        if self.prediction(model, client_id) is not None:
            return False
        self.known.predictions[model.key, client_id] = body
        self.gathered.predictions.append((model.key, client_id, key, expires_ms, body))
        return True

    def copies(self, model: Model, key: bytes) -> Sequence[Copy]:
        """Return the copies of a prediction that wait for outcomes, by the other revision's name."""
        found = self._copied(model, key)
        return [found[other][0] for other in sorted(found) if not found[other][1]]

    def add_copy(self, model: Model, copied: ledger.Copied, key: bytes, expires_ms: int, *, complete: bool) -> bool:
        """Keep a copy; tell whether it is new."""
        found = self._copied(model, key)
        if copied.other in found:
            return False
        made = Copy(copied.other, copied.revision, copied.predictions, copied.other_predictions)
        found[copied.other] = (made, complete)
        self.gathered.copies.append((model.key, key, *made, complete, expires_ms))
        return True

    def evict_copies(self, model: Model, count: int) -> None:
        """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""
        self.flush()
        self.delete_copies(model, count)
        self.known.copies.clear()

    def evict_predictions(self, model: Model, count: int) -> None:
        """The same for predictions under the client's id."""
        self.flush()
        self.delete_predictions(model, count)
        self.known.predictions.clear()

    def due(self, count: int) -> Sequence[Due]:
        """Return some `count` answers whose maturity has passed, and fetch what judging them looks for."""
        self.flush()
        due = self.fetch_due(count)
        models = [self.model(each.model) for each in due]
        keys = [(model.key, each.id) for model, each in zip(models, due, strict=True)]
        copied = [key for key, model in zip(keys, models, strict=True) if model.copies]
        named = [(key[0], _about(each.body).entity) for key, each in zip(keys, due, strict=True)]
        self.load(Wanted(keys, copied, [each for each in named if each[1]]))
        return due

    def tidy(self, count: int) -> int:
        """Delete up to `count` rows of each kind that are past their age; return how many went."""
        self.flush()
        gone = self.delete_old(count)
        self.known.forget()
        return gone

    def _rows(self, model: Model, key: bytes) -> dict[int, Row]:
        found = self.known.answers.get((model.key, key))
        if found is None:
            where = (model.key, key)
            self.load(Wanted(answers=[where]))
            found = self.known.answers[where]
        return found

    def _copied(self, model: Model, key: bytes) -> dict[str, tuple[Copy, bool]]:
        where = (model.key, key)
        if where not in self.known.copies:
            self.load(Wanted(copies=[where]))
        return self.known.copies[where]

    def _change(self, model: Model, key: bytes, row: int, *, seq: int | None, body: bytes | None) -> None:
        found = self._rows(model, key)[row]
        found.seq, found.body = seq, body
        if not found.is_new:
            self.gathered.changed[(model.key, key), row] = found

"""Rows of one transaction on PostgreSQL: read from what was fetched for all calls, written together at the end."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import transaction
from leadline_ledger.bookkeeping.transaction import Answer, Copy, Due, LabelRow, Model
from leadline_ledger.postgres import loading, tidying
from leadline_ledger.postgres.loading import Key, Known, Row
from leadline_ledger.postgres.schema import Connection

_stored: Final = msgspec.json.Decoder(ledger.Stored).decode
_about: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode
HEAD: Final = "SELECT seq, judged_ms FROM head FOR UPDATE"
"""Whoever writes asks for this first, and waits for the others."""
_MODELS: Final = f"SELECT {loading.MODEL_COLUMNS} FROM models WHERE name = ANY(%s)"  # noqa: S608 - our own columns
_NEW_MODELS: Final = f"INSERT INTO models (name) SELECT unnest(%s::text[]) RETURNING {loading.MODEL_COLUMNS}"
_DUE: Final = (
    "SELECT m.name, a.id, a.row, a.body, a.matures_ms, a.expires_ms FROM answers a JOIN models m ON m.key = a.model"
    " WHERE a.seq IS NULL AND"
)
_LOG: Final = (
    "INSERT INTO log (seq, model, expires_ms, body)"
    " SELECT * FROM unnest(%s::bigint[], %s::int[], %s::bigint[], %b::bytea[])"
)
_ANSWERS: Final = (
    "INSERT INTO answers (model, id, row, answer, seq, matures_ms, expires_ms, body) SELECT * FROM"
    " unnest(%s::int[], %b::bytea[], %s::int[], %b::text[], %s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[])"
)
_CHANGED: Final = (
    "UPDATE answers a SET seq = w.seq, body = w.body"
    " FROM unnest(%s::int[], %b::bytea[], %s::int[], %s::bigint[], %b::bytea[]) AS w (model, id, row, seq, body)"
    " WHERE a.model = w.model AND a.id = w.id AND a.row = w.row"
)
_CORRECTION: Final = (
    "INSERT INTO corrections (model, id, row, answer, came_ms) SELECT %(model)s, %(id)b, %(row)s, %(answer)s, %(came_ms)s"
    " WHERE (SELECT COUNT(*) FROM corrections WHERE model = %(model)s AND id = %(id)b AND row = %(row)s) < %(most)s"
    " ON CONFLICT DO NOTHING"
)
_PREDICTIONS: Final = (
    "INSERT INTO predictions (model, client_id, id, expires_ms, body)"
    " SELECT * FROM unnest(%s::int[], %b::text[], %b::bytea[], %s::bigint[], %b::bytea[])"
)
_COPIES: Final = (
    "INSERT INTO copies (model, id, other, revision, predictions, other_predictions, complete, expires_ms) SELECT * FROM"
    " unnest(%s::int[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::text[], %s::boolean[], %s::bigint[])"
)
_ENTITIES: Final = (
    "INSERT INTO entities (model, entity, revision, other, expires_ms)"
    " SELECT * FROM unnest(%s::int[], %b::text[], %b::text[], %b::text[], %s::bigint[])"
    " ON CONFLICT (model, entity, revision, other) DO UPDATE SET expires_ms = excluded.expires_ms"
)
_MODEL_ROWS: Final = (
    "UPDATE models m SET last_seq = w.last_seq, copies = w.copies, predictions = w.predictions,"
    " answers_floor = w.answers_floor, copies_floor = w.copies_floor, predictions_floor = w.predictions_floor"
    " FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[])"
    " AS w (key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor) WHERE m.key = w.key"
)


class Transaction(transaction.Transaction):
    """See `bookkeeping.transaction.Transaction`, which this is one of."""

    def __init__(self, connection: Connection, now_ms: int, limits: store.Limits, keys: dict[str, int]) -> None:
        """Set up; `begin` begins.

        Args:
            connection: Outside of any transaction.
            now_ms: The time, in milliseconds since the epoch.
            limits: What is kept at most.
            keys: Short keys of ModelDeployments by name, as far as they are known; is added to.
        """
        super().__init__(now_ms, limits, head=0)
        self.connection = connection
        self.judged_ms = 0
        self.known = Known(connection)
        self._keys = keys
        self._models: dict[str, Model] = {}
        self._bodies: dict[int, bytes] = {}
        """Of the entries of this transaction, by `seq`."""
        self._log: list[tuple[int, int, int | None, bytes]] = []
        self._answers: list[tuple[Key, int, Row]] = []
        self._changed: dict[tuple[Key, int], Row] = {}
        self._corrections: list[dict[str, Any]] = []
        self._predictions: list[tuple[int, str, bytes, int, bytes]] = []
        self._copies: list[tuple[Any, ...]] = []
        self._entities: dict[tuple[int, str, str, str], int] = {}

    def begin(self, asked: Sequence[tuple[str, ledger.Intake]]) -> None:
        """Lock the head, and fetch what intakes will look for; each comes with the name of its ModelDeployment."""
        names = list(dict.fromkeys(name for name, _ in asked))
        with self.connection.pipeline():
            head = self.connection.execute(HEAD)
            models = self.connection.execute(_MODELS, (names,)) if names else ()
            known = [(self._keys[name], intake) for name, intake in asked if name in self._keys]
            wanted = loading.by_id(known)
            take = self.known.send(wanted)
        found = head.fetchone()
        assert found is not None, "made with the schema"
        self.head, self.judged_ms = found
        self.now_ms = max(self.now_ms, self.judged_ms)
        self._take_models(models)
        take()
        new = [name for name in names if name not in self._models]
        if new:
            self._take_models(self.connection.execute(_NEW_MODELS, (new,)))
        by_key = [(self._models[name].key, intake) for name, intake in asked]
        if len(known) < len(asked):
            self.known.load(loading.by_id(by_key))
        self._load_by_client_id(by_key)

    def model(self, name: str) -> Model:
        """Return the row of a ModelDeployment, made where there is none."""
        if name not in self._models:
            self._take_models(self.connection.execute(_MODELS, ([name],)))
        if name not in self._models:
            self._take_models(self.connection.execute(_NEW_MODELS, ([name],)))
        return self._models[name]

    def write_entry(self, model: Model, seq: int, expires_ms: int | None, body: bytes) -> None:
        """Write an entry of the log."""
        self._log.append((seq, model.key, expires_ms, body))
        self._bodies[seq] = body

    def repeats(self, model: Model, entity: str, revision: str, other: str = "", *, expires_ms: int) -> bool:
        """Tell whether an entity had an outcome of a revision, or of a pair, before; it has one now."""
        if not entity:
            return False
        key = (model.key, entity)
        if key not in self.known.entities:
            self.known.load(loading.Wanted(entities=[key]))
        had = self.known.entities[key].get((revision, other))
        self.known.entities[key][revision, other] = until = max(had or 0, expires_ms)
        if had != until:
            self._entities[(*key, revision, other)] = until
        return had is not None

    def answer(self, model: Model, key: bytes, row: int) -> tuple[str, int | None] | None:
        """Return the answer that came first, and where it stands in the log."""
        found = self._rows(model, key).get(row)
        return (found.answer, found.seq) if found is not None else None

    def answers(self, model: Model, key: bytes) -> Sequence[Answer]:
        """Return all answers to a prediction, by row."""
        rows = self._rows(model, key)
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
        self._answers.append(((model.key, key), row, made))

    def place_answer(self, model: Model, key: bytes, row: int, seq: int) -> None:
        """Remember where an answer stands in the log by now."""
        self._change(model, key, row, seq=seq, body=self._bodies[seq])

    def change_answer(self, model: Model, key: bytes, row: int, body: bytes) -> None:
        """Change the entry that an answer will be once it is mature."""
        self._change(model, key, row, seq=None, body=body)

    def add_correction(self, model: Model, key: bytes, row: int, answer: str, *, most: int) -> None:
        """Keep another answer to a row, once each and no more than so many."""
        where = {"model": model.key, "id": key, "row": row, "answer": answer}
        self._corrections.append({**where, "came_ms": self.now_ms, "most": most})

    def prediction(self, model: Model, client_id: str) -> bytes | None:
        """Return what is kept under a client's id."""
        self.known.load_predictions([(model.key, client_id)])
        return self.known.predictions[model.key, client_id]

    def add_prediction(self, model: Model, client_id: str, key: bytes, expires_ms: int, body: bytes) -> bool:
        """Keep a prediction under a client's id; tell whether there was none."""
        if self.prediction(model, client_id) is not None:
            return False
        self.known.predictions[model.key, client_id] = body
        self._predictions.append((model.key, client_id, key, expires_ms, body))
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
        self._copies.append((model.key, key, *made, complete, expires_ms))
        return True

    def evict_copies(self, model: Model, count: int) -> None:
        """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""
        self._flush()
        tidying.evict_copies(self.connection, model, count, self.counts)
        self.known.copies.clear()

    def evict_predictions(self, model: Model, count: int) -> None:
        """The same for predictions under the client's id."""
        self._flush()
        tidying.evict_predictions(self.connection, model, count, self.counts)
        self.known.predictions.clear()

    def due(self, count: int) -> Sequence[Due]:
        """Return some `count` answers whose maturity has passed."""
        self._flush()
        rows = self.connection.execute(
            f"{_DUE} a.matures_ms <= %s ORDER BY a.matures_ms, a.id, a.row LIMIT %s", (self.now_ms, count)
        ).fetchall()
        if len(rows) == count:  # the rest of the last prediction's rows: they are one outcome
            name, key, row, _, matures_ms, _ = rows[-1]
            where = (self.model(name).key, key, row, matures_ms)
            rows += self.connection.execute(
                f"{_DUE} a.model = %s AND a.id = %b AND a.row > %s AND a.matures_ms = %s ORDER BY a.row", where
            ).fetchall()
        due = [Due(*row) for row in rows]
        models = [self.model(each.model) for each in due]
        keys = [(model.key, each.id) for model, each in zip(models, due, strict=True)]
        copied = [key for key, model in zip(keys, models, strict=True) if model.copies]
        named = [(key[0], _about(each.body).entity) for key, each in zip(keys, due, strict=True)]
        self.known.load(loading.Wanted(keys, copied, [each for each in named if each[1]]))
        return due

    def judged(self, to_ms: int) -> None:
        """Remember up to when answers have been judged."""
        self.judged_ms = max(self.judged_ms, to_ms)

    def decision(self, model: Model, identifier: str) -> int | None:
        """Return where a decision stands in the log."""
        found = self.connection.execute(
            "SELECT seq FROM decisions WHERE model = %s AND id = %s", (model.key, identifier)
        ).fetchone()
        return found[0] if found is not None else None

    def add_decision(self, model: Model, identifier: str, seq: int) -> None:
        """Remember where a decision stands in the log."""
        self.connection.execute(
            "INSERT INTO decisions (model, id, seq) VALUES (%s, %s, %s)", (model.key, identifier, seq)
        )

    def cursor(self, model: Model) -> int | None:
        """Return the cursor of the checkpoint that is kept."""
        found = self.connection.execute("SELECT cursor FROM checkpoints WHERE model = %s", (model.key,)).fetchone()
        return found[0] if found is not None else None

    def set_checkpoint(self, model: Model, checkpoint: ledger.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""
        self.connection.execute(
            "INSERT INTO checkpoints (model, cursor, state) VALUES (%s, %s, %s)"
            " ON CONFLICT (model) DO UPDATE SET cursor = excluded.cursor, state = excluded.state",
            (model.key, checkpoint.cursor, checkpoint.state),
        )

    def label_truths(self, model: Model, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """Return the truths of labelled rows that were ever kept."""
        rows = self.connection.execute(
            "SELECT l.hash, l.truth FROM unnest(%b::bytea[]) AS w (hash)"
            " JOIN labels l ON l.model = %s AND l.hash = w.hash",
            (list(hashes), model.key),
        )
        return dict(rows.fetchall())

    def add_labels(self, model: Model, rows: Sequence[LabelRow]) -> None:
        """Keep labelled rows that are new."""
        if rows:
            self.connection.execute(
                "INSERT INTO labels (model, hash, id, truth, body)"
                " SELECT * FROM unnest(%s::int[], %b::bytea[], %b::bytea[], %b::text[], %b::bytea[])",
                loading.columns([(model.key, *row) for row in rows]),
            )

    def waiting_labels(self, model: Model) -> int:
        """Return how many labelled rows wait to be answered."""
        found = self.connection.execute(
            "SELECT COUNT(*) FROM labels WHERE model = %s AND fate IS NULL", (model.key,)
        ).fetchone()
        return int(found[0]) if found is not None else 0

    def settle_label(self, model: Model, key: bytes, fate: str) -> bool:
        """Note what became of a labelled row; tell whether it waited until now."""
        changed = self.connection.execute(
            "UPDATE labels SET fate = %s, body = NULL WHERE model = %s AND id = %b AND fate IS NULL",
            (fate, model.key, key),
        )
        return changed.rowcount > 0

    def tidy(self, count: int) -> int:
        """Delete up to `count` rows of each kind that are past their age; return how many went."""
        self._flush()
        gone = tidying.tidy(self, count)
        self.known.forget()
        return gone

    def probe(self) -> None:
        """Nothing to do: each transaction writes the head."""

    def finish(self) -> None:
        """Write what is not written yet, inside a pipeline."""
        self._send()
        if self._models:
            rows = [
                (
                    each.key,
                    each.last_seq,
                    each.copies,
                    each.predictions,
                    each.answers_floor,
                    each.copies_floor,
                    each.predictions_floor,
                )
                for each in self._models.values()
            ]
            self.connection.execute(_MODEL_ROWS, loading.columns(rows))
        self.connection.execute("UPDATE head SET seq = %s, judged_ms = %s", (self.head, self.judged_ms))

    def _take_models(self, rows: Any) -> None:
        for name, *row in rows:
            self._models[name] = Model(name, *row)
            self._keys[name] = self._models[name].key

    def _load_by_client_id(self, asked: Sequence[tuple[int, ledger.Intake]]) -> None:
        """Fetch what is kept under clients' ids, and then what is looked for by the ids that stand there."""
        client_ids = loading.client_ids(asked)
        if not client_ids:
            return
        self.known.load_predictions(client_ids)
        wanted = loading.Wanted()
        for model, client_id in client_ids:
            body = self.known.predictions[model, client_id]
            if body is not None:
                kept = _stored(body)
                wanted.add(model, kept.id, kept.entity)
        if wanted.answers:
            self.known.load(wanted)

    def _rows(self, model: Model, key: bytes) -> dict[int, Row]:
        where = (model.key, key)
        if where not in self.known.answers:
            self.known.load(loading.Wanted(answers=[where]))
        return self.known.answers[where]

    def _copied(self, model: Model, key: bytes) -> dict[str, tuple[Copy, bool]]:
        where = (model.key, key)
        if where not in self.known.copies:
            self.known.load(loading.Wanted(copies=[where]))
        return self.known.copies[where]

    def _change(self, model: Model, key: bytes, row: int, *, seq: int | None, body: bytes) -> None:
        found = self._rows(model, key)[row]
        found.seq, found.body = seq, body
        if not found.is_new:
            self._changed[(model.key, key), row] = found

    def _flush(self) -> None:
        """Write what was gathered; what is known stays."""
        with self.connection.pipeline():
            self._send()

    def _send(self) -> None:
        if self._log:
            self.connection.execute(_LOG, loading.columns(self._log))
        if self._answers:
            made = [
                (*key, row, each.answer, each.seq, each.matures_ms, each.expires_ms, _own_body(each))
                for key, row, each in self._answers
            ]
            self.connection.execute(_ANSWERS, loading.columns(made))
        if self._changed:
            changed = [(*key, row, each.seq, _own_body(each)) for (key, row), each in self._changed.items()]
            self.connection.execute(_CHANGED, loading.columns(changed))
        for correction in self._corrections:
            self.connection.execute(_CORRECTION, correction)
        if self._predictions:
            self.connection.execute(_PREDICTIONS, loading.columns(self._predictions))
        if self._copies:
            self.connection.execute(_COPIES, loading.columns(self._copies))
        if self._entities:
            entities = [(*key, until) for key, until in self._entities.items()]
            self.connection.execute(_ENTITIES, loading.columns(entities))
        for _, _, each in self._answers:
            each.is_new = False
        for gathered in (self._log, self._answers, self._corrections, self._predictions, self._copies):
            gathered.clear()
        self._changed.clear()
        self._entities.clear()


def _own_body(row: Row) -> bytes | None:
    """Return what stands in the answer's own row: nothing once the entry is in the log."""
    return None if row.seq else row.body

"""Rows of one transaction on PostgreSQL: fetched for all calls in one round trip, written together at the end."""

from collections.abc import Iterable, Sequence
from typing import Final

from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import gathering, known
from leadline_ledger.bookkeeping.gathering import Gathered
from leadline_ledger.bookkeeping.known import Wanted
from leadline_ledger.bookkeeping.transaction import Due, LabelRow, Model
from leadline_ledger.postgres import fetching, tidying
from leadline_ledger.postgres.schema import Connection

HEAD: Final = "SELECT seq, judged_ms FROM head FOR UPDATE"
"""Whoever writes asks for this first, and waits for the others."""
_COLUMNS: Final = "name, key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor, taken"
_MODELS: Final = f"SELECT {_COLUMNS} FROM models WHERE name = ANY(%s)"  # noqa: S608 - our own columns
_NEW_MODELS: Final = f"INSERT INTO models (name) SELECT unnest(%s::text[]) RETURNING {_COLUMNS}"
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
    " answers_floor = w.answers_floor, copies_floor = w.copies_floor, predictions_floor = w.predictions_floor, taken = w.taken"
    " FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %b::bytea[], %b::bytea[], %b::bytea[], %b::text[])"
    " AS w (key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor, taken) WHERE m.key = w.key"
)


class Transaction(gathering.Transaction):
    """See `bookkeeping.gathering.Transaction`, which this is one of."""

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
        self._keys = keys

    def begin(self, asked: Sequence[tuple[str, ledger.Intake]]) -> None:
        """Lock the head, and fetch what intakes will look for; each comes with the name of its ModelDeployment."""
        names = list(dict.fromkeys(name for name, _ in asked))
        keyed = [(self._keys[name], intake) for name, intake in asked if name in self._keys]
        wanted = self.known.missing(known.by_id(keyed))
        with self.connection.pipeline():
            head = self.connection.execute(HEAD)
            models = self.connection.execute(_MODELS, (names,)) if names else ()
            take = fetching.send(self.connection, wanted)
        found = head.fetchone()
        assert found is not None, "made with the schema"
        self.head, self.judged_ms = found
        self.now_ms = max(self.now_ms, self.judged_ms)
        self.known.expect(wanted)
        take(self.known)
        self.take_models(self._keyed(Model(*row) for row in models))
        new = [name for name in names if name not in self._models]
        if new:
            self.take_models(self._made(new))
        by_key = [(self._models[name].key, intake) for name, intake in asked]
        if len(keyed) < len(asked):
            self.load(known.by_id(by_key))
        self.load_by_client_id(by_key)

    def fetch(self, wanted: Wanted) -> None:
        """Put rows into `known`, all in one round trip."""
        with self.connection.pipeline():
            take = fetching.send(self.connection, wanted)
        take(self.known)

    def fetch_predictions(self, keys: Sequence[tuple[int, str]]) -> None:
        """Put what is kept under clients' ids into `known`."""
        fetching.fetch_predictions(self.connection, keys, self.known)

    def fetch_models(self, names: Sequence[str]) -> Iterable[Model]:
        """Return the rows of ModelDeployments, made where there are none."""
        found = [Model(*row) for row in self.connection.execute(_MODELS, (list(names),))]
        there = {each.name for each in found}
        new = [name for name in names if name not in there]
        return self._keyed([*found, *(self._made(new) if new else ())])

    def fetch_due(self, count: int) -> list[Due]:
        """Return answers whose maturity has passed."""
        rows = self.connection.execute(
            f"{_DUE} a.matures_ms <= %s ORDER BY a.matures_ms, a.id, a.row LIMIT %s", (self.now_ms, count)
        ).fetchall()
        if len(rows) == count:  # the rest of the last prediction's rows: they are one outcome
            name, key, row, _, matures_ms, _ = rows[-1]
            where = (self.model(name).key, key, row, matures_ms)
            rows += self.connection.execute(
                f"{_DUE} a.model = %s AND a.id = %b AND a.row > %s AND a.matures_ms = %s ORDER BY a.row", where
            ).fetchall()
        return [Due(*row) for row in rows]

    def delete_copies(self, model: Model, count: int) -> None:
        """Delete the oldest copies."""
        tidying.evict_copies(self.connection, model, count, self.counts)

    def delete_predictions(self, model: Model, count: int) -> None:
        """Delete the oldest predictions under the client's id."""
        tidying.evict_predictions(self.connection, model, count, self.counts)

    def delete_old(self, count: int) -> int:
        """Delete what is past its age."""
        return tidying.tidy(self, count)

    def write(self, gathered: Gathered) -> None:
        """Write what was gathered, each kind by one statement, in one round trip."""
        with self.connection.pipeline():
            for statement, rows in (
                (_LOG, gathered.log),
                (_ANSWERS, gathered.new_answers()),
                (_CHANGED, gathered.changed_answers()),
                (_PREDICTIONS, gathered.predictions),
                (_COPIES, gathered.copies),
                (_ENTITIES, [(*key, until) for key, until in gathered.entities.items()]),
            ):
                if rows:
                    self.connection.execute(statement, fetching.columns(rows))
            for correction in gathered.corrections:
                self.connection.execute(_CORRECTION, {**correction._asdict(), "came_ms": self.now_ms})

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
                fetching.columns([(model.key, *row) for row in rows]),
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

    def probe(self) -> None:
        """Nothing to do: each transaction writes the head."""

    def finish(self) -> None:
        """Write what is not written yet, inside a pipeline."""
        self.flush()
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
                    each.taken,
                )
                for each in self._models.values()
            ]
            self.connection.execute(_MODEL_ROWS, fetching.columns(rows))
        self.connection.execute("UPDATE head SET seq = %s, judged_ms = %s", (self.head, self.judged_ms))

    def _made(self, names: Sequence[str]) -> Iterable[Model]:
        return self._keyed(Model(*row) for row in self.connection.execute(_NEW_MODELS, (list(names),)))

    def _keyed(self, models: Iterable[Model]) -> Iterable[Model]:
        for each in models:
            self._keys[each.name] = each.key
            yield each

"""Rows of one transaction on SQLite: fetched for all calls by few statements, written together at the end."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import gathering, known
from leadline_ledger.bookkeeping.gathering import Gathered
from leadline_ledger.bookkeeping.known import Wanted
from leadline_ledger.bookkeeping.transaction import Due, LabelRow, Model
from leadline_ledger.sqlite import fetching, schema, tidying

HORIZON: Final = "judged_to_ms"
"""Key in `meta`: up to when answers have been judged."""
_MODEL: Final = (
    "SELECT name, key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor,"
    " taken FROM models WHERE name = ?"
)
_DUE: Final = (
    "SELECT models.name, answers.id, answers.row, answers.body, answers.matures_ms, answers.expires_ms"
    " FROM answers JOIN models ON models.key = answers.model"
)
_LOG: Final = "INSERT INTO log (seq, model, expires_ms, body) VALUES (?, ?, ?, ?)"
_ANSWERS: Final = (
    "INSERT INTO answers (model, id, row, answer, seq, matures_ms, expires_ms, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_CHANGED: Final = "UPDATE answers SET seq = ?4, body = ?5 WHERE model = ?1 AND id = ?2 AND row = ?3"
_CORRECTIONS: Final = (
    "INSERT INTO corrections (model, id, row, answer, came_ms) SELECT ?1, ?2, ?3, ?4, ?6 WHERE"
    " (SELECT COUNT(*) FROM corrections WHERE model = ?1 AND id = ?2 AND row = ?3) < ?5 ON CONFLICT DO NOTHING"
)
_PREDICTIONS: Final = "INSERT INTO predictions (model, client_id, id, expires_ms, body) VALUES (?, ?, ?, ?, ?)"
_COPIES: Final = (
    "INSERT INTO copies (model, id, other, revision, predictions, other_predictions, complete, expires_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_ENTITIES: Final = (
    "INSERT INTO entities (model, entity, revision, other, expires_ms) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET expires_ms = excluded.expires_ms"
)
_MODELS: Final = (
    "UPDATE models SET last_seq = ?, copies = ?, predictions = ?, answers_floor = ?, copies_floor = ?,"
    " predictions_floor = ?, taken = ? WHERE key = ?"
)


class Transaction(gathering.Transaction):
    """See `bookkeeping.gathering.Transaction`, which this is one of."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int, limits: store.Limits) -> None:
        """Begin with what the database says."""
        super().__init__(now_ms, limits, schema.head(connection))
        self.connection = connection

    def begin(self, asked: Sequence[tuple[str, ledger.Intake]]) -> None:
        """Fetch what intakes will look for; each comes with the name of its ModelDeployment."""
        if not asked:
            return
        by_key = [(self.model(name).key, intake) for name, intake in asked]
        wanted = known.by_id(by_key)
        have_copies = {each.key for each in self._models.values() if each.copies}
        brought = {(key, bytes.fromhex(copied.id)) for key, intake in by_key for copied in intake.copies}
        wanted.copies = [key for key in wanted.copies if key[0] in have_copies or key in brought]
        self.load(wanted)
        self.load_by_client_id(by_key)

    def fetch(self, wanted: Wanted) -> None:
        """Put rows into `known`."""
        fetching.fetch(self.connection, wanted, self.known)

    def fetch_predictions(self, keys: Sequence[tuple[int, str]]) -> None:
        """Put what is kept under clients' ids into `known`."""
        fetching.fetch_predictions(self.connection, keys, self.known)

    def fetch_models(self, names: Sequence[str]) -> Iterable[Model]:
        """Return the rows of ModelDeployments, made where there are none."""
        for name in names:
            row = self.connection.execute(_MODEL, (name,)).fetchone()
            if row is None:
                self.connection.execute("INSERT INTO models (name) VALUES (?)", (name,))
                row = self.connection.execute(_MODEL, (name,)).fetchone()
            yield Model(*row)

    def fetch_due(self, count: int) -> list[Due]:
        """Return answers whose maturity has passed."""
        rows = self.connection.execute(
            f"{_DUE} WHERE answers.seq IS NULL AND answers.matures_ms <= ?"
            " ORDER BY answers.matures_ms, answers.id, answers.row LIMIT ?",
            (self.now_ms, count),
        ).fetchall()
        if len(rows) == count:  # the rest of the last prediction's rows: they are one outcome
            name, key, row, _, matures_ms, _ = rows[-1]
            rows += self.connection.execute(
                f"{_DUE} WHERE answers.model = ? AND answers.id = ? AND answers.row > ? AND answers.seq IS NULL"
                " AND answers.matures_ms = ? ORDER BY answers.row",
                (self.model(name).key, key, row, matures_ms),
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
        """Write what was gathered, each kind by one statement."""
        for statement, rows in (
            (_LOG, gathered.log),
            (_ANSWERS, gathered.new_answers()),
            (_CHANGED, gathered.changed_answers()),
            (_CORRECTIONS, [(*each, self.now_ms) for each in gathered.corrections]),
            (_PREDICTIONS, gathered.predictions),
            (_COPIES, gathered.copies),
            (_ENTITIES, [(*key, until) for key, until in gathered.entities.items()]),
        ):
            if rows:
                self.connection.executemany(statement, rows)

    def judged(self, to_ms: int) -> None:
        """Remember up to when answers have been judged."""
        self.connection.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = max(value, ?2)",
            (HORIZON, to_ms),
        )

    def decision(self, model: Model, identifier: str) -> int | None:
        """Return where a decision stands in the log."""
        found = self.connection.execute(
            "SELECT seq FROM decisions WHERE model = ? AND id = ?", (model.key, identifier)
        ).fetchone()
        return found[0] if found is not None else None

    def add_decision(self, model: Model, identifier: str, seq: int) -> None:
        """Remember where a decision stands in the log."""
        self.connection.execute("INSERT INTO decisions (model, id, seq) VALUES (?, ?, ?)", (model.key, identifier, seq))

    def cursor(self, model: Model) -> int | None:
        """Return the cursor of the checkpoint that is kept."""
        found = self.connection.execute("SELECT cursor FROM checkpoints WHERE model = ?", (model.key,)).fetchone()
        return found[0] if found is not None else None

    def set_checkpoint(self, model: Model, checkpoint: ledger.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""
        self.connection.execute(
            "INSERT INTO checkpoints (model, cursor, state) VALUES (?1, ?2, ?3)"
            " ON CONFLICT DO UPDATE SET cursor = ?2, state = ?3",
            (model.key, checkpoint.cursor, checkpoint.state),
        )

    def label_truths(self, model: Model, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """Return the truths of labelled rows that were ever kept."""
        return {
            key: row[0]
            for key in hashes
            for row in self.connection.execute(
                "SELECT truth FROM labels WHERE model = ? AND hash = ?", (model.key, key)
            ).fetchall()
        }

    def add_labels(self, model: Model, rows: Sequence[LabelRow]) -> None:
        """Keep labelled rows that are new."""
        self.connection.executemany(
            "INSERT INTO labels (model, hash, id, truth, body) VALUES (?, ?, ?, ?, ?)",
            [(model.key, *row) for row in rows],
        )

    def waiting_labels(self, model: Model) -> int:
        """Return how many labelled rows wait to be answered."""
        found: tuple[int] = self.connection.execute(
            "SELECT COUNT(*) FROM labels WHERE model = ? AND fate IS NULL", (model.key,)
        ).fetchone()
        return found[0]

    def settle_label(self, model: Model, key: bytes, fate: str) -> bool:
        """Note what became of a labelled row; tell whether it waited until now."""
        changed = self.connection.execute(
            "UPDATE labels SET fate = ?, body = NULL WHERE model = ? AND id = ? AND fate IS NULL",
            (fate, model.key, key),
        )
        return changed.rowcount > 0

    def probe(self) -> None:
        """Write something small."""
        self.connection.execute(
            "INSERT INTO meta (key, value) VALUES ('probed_ms', ?1) ON CONFLICT DO UPDATE SET value = ?1",
            (self.now_ms,),
        )

    def finish(self) -> None:
        """Write what was gathered, and the rows of models."""
        self.flush()
        self.connection.executemany(
            _MODELS,
            [
                (
                    model.last_seq,
                    model.copies,
                    model.predictions,
                    model.answers_floor,
                    model.copies_floor,
                    model.predictions_floor,
                    model.taken,
                    model.key,
                )
                for model in self._models.values()
            ],
        )

"""Rows of one transaction on SQLite: each is read and written where it is, for the database is in this process."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.bookkeeping import transaction
from leadline_ledger.bookkeeping.transaction import Answer, Copy, Due, LabelRow, Model
from leadline_ledger.sqlite import schema, tidying

HORIZON: Final = "judged_to_ms"
"""Key in `meta`: up to when answers have been judged."""
_COLUMNS: Final = "key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor"
_DUE: Final = (
    "SELECT models.name, answers.id, answers.row, answers.body, answers.matures_ms, answers.expires_ms"
    " FROM answers JOIN models ON models.key = answers.model"
)


class Transaction(transaction.Transaction):
    """See `bookkeeping.transaction.Transaction`, which this is one of."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int, limits: store.Limits) -> None:
        """Begin with what the database says."""
        super().__init__(now_ms, limits, schema.head(connection))
        self.connection = connection
        self._models: dict[str, Model] = {}

    def model(self, name: str) -> Model:
        """Return the row of a ModelDeployment, made where there is none."""
        found = self._models.get(name)
        if found is None:
            select = f"SELECT {_COLUMNS} FROM models WHERE name = ?"  # noqa: S608 - our own columns
            row = self.connection.execute(select, (name,)).fetchone()
            if row is None:
                self.connection.execute("INSERT INTO models (name) VALUES (?)", (name,))
                row = self.connection.execute(select, (name,)).fetchone()
            found = self._models[name] = Model(name, *row)
        return found

    def write_entry(self, model: Model, seq: int, expires_ms: int | None, body: bytes) -> None:
        """Write an entry of the log."""
        self.connection.execute(
            "INSERT INTO log (seq, model, expires_ms, body) VALUES (?, ?, ?, ?)", (seq, model.key, expires_ms, body)
        )

    def repeats(self, model: Model, entity: str, revision: str, other: str = "", *, expires_ms: int) -> bool:
        """Tell whether an entity had an outcome of a revision, or of a pair, before; it has one now."""
        if not entity:
            return False
        key = (model.key, entity, revision, other)
        made = self.connection.execute(
            "INSERT INTO entities (model, entity, revision, other, expires_ms) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (*key, expires_ms),
        )
        if made.rowcount:
            return False
        self.connection.execute(
            "UPDATE entities SET expires_ms = max(expires_ms, ?)"
            " WHERE model = ? AND entity = ? AND revision = ? AND other = ?",
            (expires_ms, *key),
        )
        return True

    def answer(self, model: Model, key: bytes, row: int) -> tuple[str, int | None] | None:
        """Return the answer that came first, and where it stands in the log."""
        found: tuple[str, int | None] | None = self.connection.execute(
            "SELECT answer, seq FROM answers WHERE model = ? AND id = ? AND row = ?", (model.key, key, row)
        ).fetchone()
        return found

    def answers(self, model: Model, key: bytes) -> Sequence[Answer]:
        """Return all answers to a prediction, by row."""
        rows = self.connection.execute(
            "SELECT answers.row, answers.seq, answers.expires_ms, COALESCE(log.body, answers.body) FROM answers"
            " LEFT JOIN log ON log.seq = answers.seq WHERE answers.model = ? AND answers.id = ? ORDER BY answers.row",
            (model.key, key),
        )
        return [Answer(*row) for row in rows]

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
        self.connection.execute(
            "INSERT INTO answers (model, id, row, answer, seq, matures_ms, expires_ms, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (model.key, key, row, answer, seq, matures_ms, expires_ms, body),
        )

    def place_answer(self, model: Model, key: bytes, row: int, seq: int) -> None:
        """Remember where an answer stands in the log by now."""
        self.connection.execute(
            "UPDATE answers SET seq = ?, body = NULL WHERE model = ? AND id = ? AND row = ?", (seq, model.key, key, row)
        )

    def change_answer(self, model: Model, key: bytes, row: int, body: bytes) -> None:
        """Change the entry that an answer will be once it is mature."""
        self.connection.execute(
            "UPDATE answers SET body = ? WHERE model = ? AND id = ? AND row = ?", (body, model.key, key, row)
        )

    def add_correction(self, model: Model, key: bytes, row: int, answer: str, *, most: int) -> None:
        """Keep another answer to a row, once each and no more than so many."""
        self.connection.execute(
            "INSERT INTO corrections (model, id, row, answer, came_ms) SELECT ?1, ?2, ?3, ?4, ?5 WHERE"
            " (SELECT COUNT(*) FROM corrections WHERE model = ?1 AND id = ?2 AND row = ?3) < ?6 ON CONFLICT DO NOTHING",
            (model.key, key, row, answer, self.now_ms, most),
        )

    def prediction(self, model: Model, client_id: str) -> bytes | None:
        """Return what is kept under a client's id."""
        found = self.connection.execute(
            "SELECT body FROM predictions WHERE model = ? AND client_id = ?", (model.key, client_id)
        ).fetchone()
        return found[0] if found is not None else None

    def add_prediction(self, model: Model, client_id: str, key: bytes, expires_ms: int, body: bytes) -> bool:
        """Keep a prediction under a client's id; tell whether there was none."""
        made = self.connection.execute(
            "INSERT INTO predictions (model, client_id, id, expires_ms, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (model.key, client_id, key, expires_ms, body),
        )
        return made.rowcount > 0

    def copies(self, model: Model, key: bytes) -> Sequence[Copy]:
        """Return the copies of a prediction that wait for outcomes, by the other revision's name."""
        rows = self.connection.execute(
            "SELECT other, revision, predictions, other_predictions FROM copies"
            " WHERE model = ? AND id = ? AND NOT complete ORDER BY other",
            (model.key, key),
        )
        return [Copy(*row) for row in rows]

    def add_copy(self, model: Model, copied: ledger.Copied, key: bytes, expires_ms: int, *, complete: bool) -> bool:
        """Keep a copy; tell whether it is new."""
        words = (copied.predictions, copied.other_predictions)
        made = self.connection.execute(
            "INSERT INTO copies (model, id, other, revision, predictions, other_predictions, complete, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (model.key, key, copied.other, copied.revision, *words, complete, expires_ms),
        )
        return made.rowcount > 0

    def evict_copies(self, model: Model, count: int) -> None:
        """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""
        tidying.evict_copies(self.connection, model, count, self.counts)

    def evict_predictions(self, model: Model, count: int) -> None:
        """The same for predictions under the client's id."""
        tidying.evict_predictions(self.connection, model, count, self.counts)

    def due(self, count: int) -> Sequence[Due]:
        """Return some `count` answers whose maturity has passed."""
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

    def tidy(self, count: int) -> int:
        """Delete up to `count` rows of each kind that are past their age; return how many went."""
        return tidying.tidy(self, count)

    def probe(self) -> None:
        """Write something small."""
        self.connection.execute(
            "INSERT INTO meta (key, value) VALUES ('probed_ms', ?1) ON CONFLICT DO UPDATE SET value = ?1",
            (self.now_ms,),
        )

    def finish(self) -> None:
        """Write the rows of models back."""
        for model in self._models.values():
            self.connection.execute(
                "UPDATE models SET last_seq = ?, copies = ?, predictions = ?, answers_floor = ?, copies_floor = ?,"
                " predictions_floor = ? WHERE key = ?",
                (
                    model.last_seq,
                    model.copies,
                    model.predictions,
                    model.answers_floor,
                    model.copies_floor,
                    model.predictions_floor,
                    model.key,
                ),
            )

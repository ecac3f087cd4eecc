"""One transaction that writes: the log's next number, the rows of models, and what was counted meanwhile.

All state of it is in the database or goes with it: where it is rolled back, nothing in memory remembers it. What the
calls mean is in `taking`, `deciding` and `maturing`; `writer` begins and commits.
"""

import sqlite3
from dataclasses import dataclass, field
from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import store
from leadline_ledger.sqlite import schema

encode: Final = msgspec.json.Encoder().encode
_COLUMNS: Final = "key, last_seq, copies, predictions, answers_floor, copies_floor, predictions_floor"


@dataclass(slots=True)
class Model:
    """The row of one ModelDeployment."""

    name: str
    key: int
    last_seq: int
    copies: int
    predictions: int
    answers_floor: bytes
    """Nothing at or below this id is taken in anew; see `schema`."""
    copies_floor: bytes
    predictions_floor: bytes


@dataclass(slots=True)
class Transaction:
    """What all calls of one transaction share."""

    connection: sqlite3.Connection
    now_ms: int
    limits: store.Limits
    head: int = field(init=False)
    counts: store.Counts = field(default_factory=store.Counts)
    _models: dict[str, Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.head = schema.head(self.connection)

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

    def name_of(self, key: int) -> str:
        """Return the name of a ModelDeployment by its short key."""
        name: str = self.connection.execute("SELECT name FROM models WHERE key = ?", (key,)).fetchone()[0]
        return name

    def repeats(self, model: Model, entity: str, revision: str, other: str = "", *, expires_ms: int) -> bool:
        """Tell whether an entity had an outcome of a revision, or of a pair, before; it has one now.

        Args:
            model: The ModelDeployment.
            entity: Keyed hash; empty: none is known, so nothing repeats.
            revision: That answered the client.
            other: The other revision of a pair; empty: an outcome of one.
            expires_ms: Until when it is remembered, at least.
        """
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

    def append(self, model: Model, entry: ledger.Entry, *, expires_ms: int | None) -> None:
        """Append an entry that was made with `seq=self.head + 1`."""
        self.head += 1
        assert entry.seq == self.head, "entries are numbered as they are appended"
        model.last_seq = self.head
        self.connection.execute(
            "INSERT INTO log (seq, model, expires_ms, body) VALUES (?, ?, ?, ?)",
            (self.head, model.key, expires_ms, encode(entry)),
        )
        self.counts.entries[str(entry.__struct_config__.tag)] += 1

    def finish(self) -> None:
        """Write the rows of models back; the last thing before the commit."""
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

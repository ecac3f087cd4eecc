"""The tables, their versions, and connections to them.

    models       one row per ModelDeployment: its short key, counters and floors; what each source had `taken` in an hour
    log          the order; `body` is the entry as it goes over the wire. Entries are never changed; what has expired and
                 is behind the checkpoint is deleted, decisions (without `expires_ms`) never
    answers      one row per id and row that was answered: `seq` where it stands in the log, 0 where it came too late,
                 NULL while it matures (then `body` is the entry to be)
    corrections  other answers to the same
    predictions  what the client's own id stands for
    copies       what another revision answered; `complete` where its pairs are in the log and no outcome is waited for
    entities     about whom a revision, or two on the same input, had an outcome; `other` is empty for one alone
    labels       labelled rows: `hash` of the inputs, `id` as of a prediction, `body` until `fate` is known
    checkpoints, decisions

Floors: rows of `answers`, `copies` and `predictions` are deleted for age or number, and what is told again after that
must not count twice. So each kind has a floor per ModelDeployment, the highest id ever deleted, and nothing at or below
it is taken in anew. Ids are UUIDv7 in 16 bytes, so they sort by time.

`starts` is the history: each start of the ledger writes a random name and the head. A cursor that goes with a name is
checked against it, so that a client sees that a backup was restored under it.

Keys begin with the model and go on with the time-ordered id: inserts go to few pages, and pairs and the oldest of a
ModelDeployment are found by a range. Must not know what the rows mean.
"""

import sqlite3
from pathlib import Path
from typing import Final

from leadline_ledger import errors

STARTS_MAX: Final = 1_000
"""Starts whose names are known; a cursor with an older one is refused."""
_JOURNAL_BYTES: Final = 64 << 20
"""The WAL file is cut back to this after a large transaction."""
_BUSY_MS: Final = 5_000
"""A backup by `VACUUM INTO` or a hand at the database may hold a lock for a moment."""

_FIRST: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE starts (ordinal INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, seq INTEGER NOT NULL);
CREATE TABLE models (
    key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq INTEGER NOT NULL DEFAULT 0,
    copies INTEGER NOT NULL DEFAULT 0, predictions INTEGER NOT NULL DEFAULT 0,
    answers_floor BLOB NOT NULL DEFAULT x'', copies_floor BLOB NOT NULL DEFAULT x'',
    predictions_floor BLOB NOT NULL DEFAULT x''
);
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL, expires_ms INTEGER, body BLOB NOT NULL
);
CREATE INDEX log_of_model ON log (model, seq);
CREATE INDEX log_by_age ON log (model, expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE answers (
    model INTEGER NOT NULL, id BLOB NOT NULL, row INTEGER NOT NULL, answer TEXT NOT NULL, seq INTEGER,
    matures_ms INTEGER, expires_ms INTEGER NOT NULL, body BLOB, PRIMARY KEY (model, id, row)
) WITHOUT ROWID;
CREATE INDEX answers_by_maturity ON answers (matures_ms, id, row) WHERE seq IS NULL;
CREATE INDEX answers_by_age ON answers (expires_ms) WHERE seq IS NOT NULL;
CREATE TABLE corrections (
    model INTEGER NOT NULL, id BLOB NOT NULL, row INTEGER NOT NULL, answer TEXT NOT NULL, came_ms INTEGER NOT NULL,
    PRIMARY KEY (model, id, row, answer)
) WITHOUT ROWID;
CREATE TABLE predictions (
    model INTEGER NOT NULL, client_id TEXT NOT NULL, id BLOB NOT NULL, expires_ms INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (model, client_id)
) WITHOUT ROWID;
CREATE INDEX predictions_in_order ON predictions (model, id);
CREATE INDEX predictions_by_age ON predictions (expires_ms);
CREATE TABLE copies (
    model INTEGER NOT NULL, id BLOB NOT NULL, other TEXT NOT NULL, revision TEXT NOT NULL, predictions TEXT NOT NULL,
    other_predictions TEXT NOT NULL, complete INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
    PRIMARY KEY (model, id, other)
) WITHOUT ROWID;
CREATE INDEX copies_by_age ON copies (expires_ms);
CREATE TABLE checkpoints (model INTEGER PRIMARY KEY, cursor INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE decisions (
    model INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (model, id)
) WITHOUT ROWID;
"""
_ENTITIES: Final = """
CREATE TABLE entities (
    model INTEGER NOT NULL, entity TEXT NOT NULL, revision TEXT NOT NULL, other TEXT NOT NULL, expires_ms INTEGER NOT NULL,
    PRIMARY KEY (model, entity, revision, other)
) WITHOUT ROWID;
CREATE INDEX entities_by_age ON entities (expires_ms);
"""
_TAKEN: Final = "ALTER TABLE models ADD COLUMN taken TEXT NOT NULL DEFAULT ''"
_LABELS: Final = """
CREATE TABLE labels (
    model INTEGER NOT NULL, hash BLOB NOT NULL, id BLOB NOT NULL, truth TEXT NOT NULL, body BLOB, fate TEXT,
    PRIMARY KEY (model, hash)
) WITHOUT ROWID;
CREATE UNIQUE INDEX labels_by_id ON labels (model, id);
CREATE INDEX labels_waiting ON labels (model, id) WHERE fate IS NULL;
"""
_MIGRATIONS: Final = (_FIRST, _ENTITIES, _TAKEN, _LABELS)
"""Entry N brings a database from version N to N + 1, in one transaction; a released one is never changed."""
VERSION: Final = len(_MIGRATIONS)


def writer(path: Path, *, max_bytes: int) -> sqlite3.Connection:
    """Open the database to write, made or brought to this version where needed.

    Raises:
        UnavailableError: It is of a newer version.
        sqlite3.Error: It cannot be opened, read or written.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        # Each commit reaches the disk before it is answered; NORMAL would lose the last ones with the node's power.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
        connection.execute("PRAGMA cache_size = -32000")
        connection.execute("PRAGMA temp_store = MEMORY")
        _migrate(connection, path)
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        pages = max_bytes // page_bytes if max_bytes else 0xFFFFFFFE
        connection.execute(f"PRAGMA max_page_count = {max(pages, 1)}")
    except BaseException:
        connection.close()
        raise
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """Open the database to read only.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute("PRAGMA query_only = 1")
    except BaseException:
        connection.close()
        raise
    return connection


def head(connection: sqlite3.Connection) -> int:
    """Return the newest `seq` ever given, whether its entry is still there or not."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return int(found[0]) if found else 0


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise errors.UnavailableError(
            f"{path}: database of version {version}, this ledger knows up to {VERSION}; run a newer one"
        )
    for number in range(version, VERSION):
        # executescript would commit by itself, so the statements go one by one, the version with them.
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in _MIGRATIONS[number].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

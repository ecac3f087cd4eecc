"""The tables on PostgreSQL, their versions, and connections to them.

The same tables as on SQLite (`sqlite.schema` says what they hold), in a schema of their own, and one more:

    head    one row: the newest `seq`, and up to when answers were judged. Whoever writes locks it first, so that
            transactions of several ledgers follow one another, and `seq` becomes visible in its order

Must not know what the rows mean.
"""

from typing import Any, Final

import psycopg

from leadline_ledger import errors

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA: Final = "leadline_ledger"
CHANNEL: Final = "leadline_ledger"
"""Where each transaction tells the head and when the next answer matures."""
STARTS_MAX: Final = 1_000
"""Starts whose names are known; a cursor with an older one is refused."""
_VERSION_LEAST: Final = 13
_CONNECT_SECONDS: Final = 5
_LOCK_KEY: Final = 0x6C656164
"""Of the advisory lock under which the schema is made or brought to this version."""
_SESSION: Final = (
    f"SET search_path = {SCHEMA}",
    "SET synchronous_commit = on",
    "SET statement_timeout = '20s'",
    "SET lock_timeout = '15s'",
    # One that is stopped in the middle must not hold up the others.
    "SET idle_in_transaction_session_timeout = '10s'",
    # What is looked up are always a few rows by their keys; without statistics a plan may walk a table instead.
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET jit = off",
)
_FIRST: Final = """
CREATE TABLE head (
    one BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one), seq BIGINT NOT NULL, judged_ms BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (seq, judged_ms) VALUES (0, 0);
CREATE TABLE starts (
    ordinal BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE, seq BIGINT NOT NULL
);
CREATE TABLE models (
    key INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_seq BIGINT NOT NULL DEFAULT 0,
    copies BIGINT NOT NULL DEFAULT 0, predictions BIGINT NOT NULL DEFAULT 0, answers_floor BYTEA NOT NULL DEFAULT '',
    copies_floor BYTEA NOT NULL DEFAULT '', predictions_floor BYTEA NOT NULL DEFAULT ''
) WITH (fillfactor = 50);
CREATE TABLE log (seq BIGINT PRIMARY KEY, model INTEGER NOT NULL, expires_ms BIGINT, body BYTEA NOT NULL);
CREATE INDEX log_of_model ON log (model, seq);
CREATE INDEX log_by_age ON log (model, expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE answers (
    model INTEGER NOT NULL, id BYTEA NOT NULL, row INTEGER NOT NULL, answer TEXT NOT NULL, seq BIGINT, matures_ms BIGINT,
    expires_ms BIGINT NOT NULL, body BYTEA, PRIMARY KEY (model, id, row)
);
CREATE INDEX answers_by_maturity ON answers (matures_ms, id, row) WHERE seq IS NULL;
CREATE INDEX answers_by_age ON answers (expires_ms) WHERE seq IS NOT NULL;
CREATE TABLE corrections (
    model INTEGER NOT NULL, id BYTEA NOT NULL, row INTEGER NOT NULL, answer TEXT NOT NULL, came_ms BIGINT NOT NULL,
    PRIMARY KEY (model, id, row, answer)
);
CREATE TABLE predictions (
    model INTEGER NOT NULL, client_id TEXT NOT NULL, id BYTEA NOT NULL, expires_ms BIGINT NOT NULL, body BYTEA NOT NULL,
    PRIMARY KEY (model, client_id)
);
CREATE INDEX predictions_in_order ON predictions (model, id);
CREATE INDEX predictions_by_age ON predictions (expires_ms);
CREATE TABLE copies (
    model INTEGER NOT NULL, id BYTEA NOT NULL, other TEXT NOT NULL, revision TEXT NOT NULL, predictions TEXT NOT NULL,
    other_predictions TEXT NOT NULL, complete BOOLEAN NOT NULL, expires_ms BIGINT NOT NULL,
    PRIMARY KEY (model, id, other)
);
CREATE INDEX copies_by_age ON copies (expires_ms);
CREATE TABLE entities (
    model INTEGER NOT NULL, entity TEXT NOT NULL, revision TEXT NOT NULL, other TEXT NOT NULL, expires_ms BIGINT NOT NULL,
    PRIMARY KEY (model, entity, revision, other)
);
CREATE INDEX entities_by_age ON entities (expires_ms);
CREATE TABLE checkpoints (model INTEGER PRIMARY KEY, cursor BIGINT NOT NULL, state TEXT NOT NULL);
CREATE TABLE decisions (model INTEGER NOT NULL, id TEXT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (model, id));
"""
_TAKEN: Final = "ALTER TABLE models ADD COLUMN taken TEXT NOT NULL DEFAULT ''"
_LABELS: Final = """
CREATE TABLE labels (
    model INTEGER NOT NULL, hash BYTEA NOT NULL, id BYTEA NOT NULL, truth TEXT NOT NULL, body BYTEA, fate TEXT,
    PRIMARY KEY (model, hash)
);
CREATE UNIQUE INDEX labels_by_id ON labels (model, id);
CREATE INDEX labels_waiting ON labels (model, id) WHERE fate IS NULL;
"""
_MIGRATIONS: Final = (_FIRST, _TAKEN, _LABELS)
"""Entry N brings a database from version N to N + 1, all in one transaction; a released one is never changed."""
VERSION: Final = len(_MIGRATIONS)


def writer(dsn: str) -> Connection:
    """Open the database to write, made or brought to this version where needed.

    Raises:
        UnavailableError: It is too old, or of a newer version.
        psycopg.Error: It cannot be reached or written.
    """
    connection = _connected(dsn)
    try:
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def reader(dsn: str) -> Connection:
    """Open the database to read only, in snapshots.

    Raises:
        psycopg.Error: It cannot be reached.
    """
    connection = _connected(dsn)
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def listener(dsn: str) -> Connection:
    """Open a connection that hears what other ledgers write.

    Raises:
        psycopg.Error: The database cannot be reached.
    """
    connection = _connected(dsn)
    connection.autocommit = True
    connection.execute(f"LISTEN {CHANNEL}")
    return connection


def _connected(dsn: str) -> Connection:
    connection = psycopg.connect(
        dsn, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="leadline-ledger"
    )
    try:
        for statement in _SESSION:
            connection.execute(statement)
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: Connection) -> None:
    number = connection.info.server_version
    if number < _VERSION_LEAST * 10_000:
        raise errors.UnavailableError(f"PostgreSQL {number // 10_000}: expected {_VERSION_LEAST} or later")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BIGINT NOT NULL)")
        found = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        version = found[0] if found else 0
        if version > VERSION:
            raise errors.UnavailableError(
                f"the database's schema {SCHEMA} is of version {version}, this ledger knows up to {VERSION}; run a newer one"
            )
        for migration in _MIGRATIONS[version:]:
            for statement in migration.split(";"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('version', %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (VERSION,),
        )

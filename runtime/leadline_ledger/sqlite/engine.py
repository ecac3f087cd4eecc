"""SQLite as the writer's thread uses it: one file, held by one process."""

import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from leadline_ledger import errors, logs, store
from leadline_ledger.bookkeeping import transaction
from leadline_ledger.sqlite import rows, schema
from leadline_ledger.threads import writer


class Engine:
    """See `threads.writer.Engine`, which this is one of."""

    def __init__(self, path: Path, *, limits: store.Limits, name: str) -> None:
        """Set up, without opening anything.

        Args:
            path: Of the database.
            limits: What is kept at most.
            name: Of this start, for the history.
        """
        self._path = path
        self._limits = limits
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._openings = 0
        self._held: IO[str] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self) -> int:
        """Open it and write down this start; return up to when answers were judged."""
        self._lock()
        connection = schema.writer(self._path, max_bytes=self._limits.database_max_bytes)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO starts (name, seq) VALUES (?, ?) ON CONFLICT DO NOTHING",
                # A name of its own for each opening: the files may have been put back to a backup's meanwhile.
                (f"{self._name}.{self._openings}" if self._openings else self._name, schema.head(connection)),
            )
            connection.execute(
                "DELETE FROM starts WHERE ordinal <= (SELECT MAX(ordinal) FROM starts) - ?", (schema.STARTS_MAX,)
            )
            connection.execute("COMMIT")
            horizon = connection.execute("SELECT value FROM meta WHERE key = ?", (rows.HORIZON,)).fetchone()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._openings += 1
        return horizon[0] if horizon else 0

    def begin(self, now_ms: int, calls: Sequence[writer.Call]) -> transaction.Transaction:
        """Begin a transaction, and fetch what the calls will look for."""
        assert self._connection is not None, "open"
        self._connection.execute("BEGIN IMMEDIATE")
        work = rows.Transaction(self._connection, now_ms, self._limits)
        work.begin([(call.model, call.intake) for call in calls if call.intake is not None])
        return work

    def commit(self, work: transaction.Transaction) -> int | None:
        """Finish it and make it durable; return when the next answer matures."""
        assert self._connection is not None, "open"
        work.finish()
        due_ms: int | None = self._connection.execute(
            "SELECT MIN(matures_ms) FROM answers WHERE seq IS NULL AND matures_ms IS NOT NULL"
        ).fetchone()[0]
        self._connection.execute("COMMIT")
        return due_ms

    def rollback(self) -> None:
        """Undo what is not committed, if anything is."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def meaning(self, error: Exception) -> errors.LedgerError | None:
        """Say in the user's words what an error of the database means; None: it is none."""
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            limit = self._limits.database_max_bytes
            against = f"its limit of {limit} bytes or the volume" if limit else "the volume"
            return errors.FullError(f"{self._path}: {against} is full; nothing more is kept until there is room")
        self.close()
        why = {
            sqlite3.SQLITE_READONLY: "cannot be written: the volume or the file is read-only",
            sqlite3.SQLITE_CANTOPEN: "cannot be opened: the folder is missing, or not this user's",
            sqlite3.SQLITE_CORRUPT: "is damaged: restore a backup",
            sqlite3.SQLITE_NOTADB: "is no SQLite database: restore a backup",
            sqlite3.SQLITE_BUSY: "is locked by another process",
        }.get(code, "cannot be read or written")
        return errors.UnavailableError(f"{self._path}: {why} ({error}); trying again")

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except sqlite3.Error as error:
                logs.warning("closing the database", error=error)

    def end(self) -> None:
        """Let go of the connection and of the lock."""
        self.close()
        if self._held is not None:
            self._held.close()

    def _lock(self) -> None:
        """Hold the database alone, for the log's order needs one writer; a killed process lets go by itself."""
        if self._held is not None:
            return
        path = self._path.with_suffix(".lock")
        try:
            held = path.open("w")
        except OSError as error:
            raise errors.UnavailableError(f"{path}: cannot be opened ({error.strerror}); trying again") from error
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            held.close()
            raise errors.UnavailableError(f"{path}: held by another ledger; trying again") from error
        self._held = held

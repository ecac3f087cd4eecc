"""The store that comes along: a file of the standard library's SQLite, for several threads and processes at once.

WAL with `synchronous=FULL`: what a call returned for is on the disk. It needs a local file system; SQLite's locks do not hold on
most network ones. Receipts go `keep_days` after they were remembered, outcomes that nobody could deliver as long after.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from leadline_client import errors
from leadline_client.store import Waiting

if TYPE_CHECKING:
    import sqlite3

DEFAULT_PATH: Final = "leadline-outcomes.db"
"""In the working directory; name one on a volume that outlives the program."""
WAITING_MAX: Final = 100_000
"""Outcomes that wait; some 100 MB."""
KEEP_DAYS: Final = 30.0
"""`spec.outcomes.maxAge` where nobody says: older predictions cannot be reported."""
_VERSION: Final = 1
_BUSY_SECONDS: Final = 10.0
"""How long one waits for the others' writes."""
_OPEN_AGAIN_SECONDS: Final = 0.02
_TIDY_SECONDS: Final = 600.0
_FAR_SECONDS: Final = 3_600.0
"""No outcome is held for longer; where one is, the clock was set back."""
_VARIABLES_MAX: Final = 500
"""In one statement."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS receipts (
    model TEXT NOT NULL, key TEXT NOT NULL, receipt TEXT NOT NULL, prediction_id TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (model, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS receipts_by_age ON receipts (at);
CREATE INDEX IF NOT EXISTS receipts_by_prediction ON receipts (model, prediction_id);
CREATE TABLE IF NOT EXISTS waiting (
    number INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, prediction TEXT NOT NULL, text TEXT NOT NULL,
    at REAL NOT NULL, held_until REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS waiting_by_model ON waiting (model, number);
"""

_inherited: Final[list[Any]] = []
"""Connections that were opened before a fork: closing them here would disturb the process that they belong to."""


class SqliteStore:
    """See `store.Store`, which this is one of."""

    def __init__(
        self, path: str | os.PathLike[str], *, keep_days: float = KEEP_DAYS, waiting_max: int = WAITING_MAX
    ) -> None:
        """Set up; the file is made by the first call that needs it.

        Args:
            path: Of the file; beside it are its `-wal` and `-shm`. Its folder must exist.
            keep_days: Days after which anything is forgotten.
            waiting_max: Outcomes that may wait, of all models.
        """
        self.path = Path(path)
        self._keep_seconds = keep_days * 86_400.0
        self._waiting_max = waiting_max
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._tidied_at = -1.0

    def remember(self, model: str, key: str, receipt: str, *, prediction_id: str, now: float) -> None:
        """See `store.Store`."""
        with self._writing() as connection:
            self._tidy(connection, now)
            row = (model, key, receipt, prediction_id, now)
            connection.execute("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?, ?)", row)

    def recall(self, model: str, keys: Sequence[str]) -> dict[str, str]:
        """See `store.Store`."""
        return dict(self._looked_up("SELECT key, receipt FROM receipts WHERE model = ? AND key IN", model, keys))

    def keys_of(self, model: str, prediction_ids: Sequence[str]) -> dict[str, str]:
        """See `store.Store`."""
        select = "SELECT prediction_id, key FROM receipts WHERE model = ? AND prediction_id IN"
        return dict(self._looked_up(select, model, prediction_ids))

    def put(self, model: str, outcomes: Sequence[tuple[str, str]], *, now: float, until: float) -> list[int]:
        """See `store.Store`."""
        with self._writing() as connection:
            self._tidy(connection, now)
            (count,) = connection.execute("SELECT count(*) FROM waiting").fetchone()
            if count + len(outcomes) > self._waiting_max:
                raise errors.StoreFull(f"{self.path}: {count} outcomes wait, limit {self._waiting_max}")
            insert = "INSERT INTO waiting (model, prediction, text, at, held_until) VALUES (?, ?, ?, ?, ?)"
            numbers = []
            for prediction, text in outcomes:
                done = connection.execute(insert, (model, prediction, text, now, until))
                numbers.append(int(done.lastrowid or 0))
            return numbers

    def take(self, model: str, *, limit: int, now: float, until: float) -> list[Waiting]:
        """See `store.Store`."""
        with self._writing() as connection:
            self._tidy(connection, now)
            select = (
                "SELECT number, prediction, text, at FROM waiting"
                " WHERE model = ? AND (held_until <= ? OR held_until > ?) ORDER BY number LIMIT ?"
            )
            rows = connection.execute(select, (model, now, now + _FAR_SECONDS, limit)).fetchall()
            found = [Waiting(*row) for row in rows]
            if len(found) == limit:
                # The rows of the last prediction may go on behind the limit: they are taken together, next time.
                whole = [each for each in found if each.prediction != found[-1].prediction]
                found = whole or found
            connection.executemany(
                "UPDATE waiting SET held_until = ? WHERE number = ?", [(until, each.number) for each in found]
            )
            return found

    def hold(self, numbers: Sequence[int], *, until: float) -> None:
        """See `store.Store`."""
        with self._writing() as connection:
            rows = [(until, number) for number in numbers]
            connection.executemany("UPDATE waiting SET held_until = ? WHERE number = ?", rows)

    def done(self, numbers: Sequence[int]) -> None:
        """See `store.Store`."""
        with self._writing() as connection:
            connection.executemany("DELETE FROM waiting WHERE number = ?", [(number,) for number in numbers])

    def waiting(self, model: str) -> int:
        """See `store.Store`."""
        with self._using() as connection:
            (count,) = connection.execute("SELECT count(*) FROM waiting WHERE model = ?", (model,)).fetchone()
            return int(count)

    def close(self) -> None:
        """See `store.Store`."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                connection.close()

    def _looked_up(self, select: str, model: str, values: Sequence[str]) -> list[Any]:
        found: list[Any] = []
        with self._using() as connection:
            for start in range(0, len(values), _VARIABLES_MAX):
                part = values[start : start + _VARIABLES_MAX]
                marks = ", ".join("?" * len(part))
                found += connection.execute(f"{select} ({marks})", (model, *part)).fetchall()
        return found

    def _tidy(self, connection: sqlite3.Connection, now: float) -> None:
        if abs(now - self._tidied_at) < _TIDY_SECONDS:
            return
        self._tidied_at = now
        for table in ("receipts", "waiting"):
            connection.execute(f"DELETE FROM {table} WHERE at < ?", (now - self._keep_seconds,))  # noqa: S608 - no input

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # noqa: PLC0415 - costs 5 ms, and many clients have no store

        if self._pid != os.getpid():
            # A child of a fork: its parent's connection and lock are not its own.
            _inherited.append(self._connection)
            self._pid, self._connection, self._lock = os.getpid(), None, threading.Lock()
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._opened_with_patience()
                yield self._connection
            except sqlite3.Error as error:
                raise errors.StoreError(f"{self.path}: {error}; name another file with store=") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _opened_with_patience(self) -> sqlite3.Connection:
        """Open the file. Who makes it at the same moment as others may find it locked, for which SQLite does not wait itself."""
        import sqlite3  # noqa: PLC0415 - see above

        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._opened()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > end:
                    raise
                time.sleep(_OPEN_AGAIN_SECONDS)

    def _opened(self) -> sqlite3.Connection:
        import sqlite3  # noqa: PLC0415 - see above

        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise errors.StoreError(f"{self.path}: written by a newer client (version {version}); use that one")  # noqa: TRY301 - closed once for all
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

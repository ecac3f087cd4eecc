"""The one thread that writes: takes all calls that wait, carries them out in one transaction, answers after the commit.

While a commit is on its way to the disk, calls gather for the next one; so the disk is asked once for many callers and
a single caller waits for nobody. A database that cannot be opened, read or written is tried again with each call, at
most once a second, and says why meanwhile; nothing of that ends the process.

Runs on its own thread; `database` is its door from asyncio. What the calls do is in `taking`, `maturing` and `tidying`.
"""

import asyncio
import fcntl
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from leadline_ledger import errors, logs, store
from leadline_ledger.sqlite import maturing, schema, transaction

GROUP_CALLS_MAX: Final = 512
"""Calls in one transaction: at a few items each some 50 ms."""
GROUP_ITEMS_MAX: Final = 8_192
WAITING_MAX: Final = 4_096
"""Calls that may wait; more are refused."""
_REOPEN_SECONDS: Final = 1.0

Work = Callable[[transaction.Transaction], Any]
"""Raises a `LedgerError` only before it wrote anything."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something to do inside a transaction, and who waits for it."""

    work: Work
    items: int
    answered: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class Group:
    """What came of the calls of one transaction, for the event loop."""

    answers: list[tuple[Call, Any]]
    """An exception is raised where the call waits."""
    head: int
    due_ms: int | None
    counts: store.Counts
    trouble: str


class Writer:
    """The thread, and what waits for it."""

    def __init__(
        self,
        path: Path,
        *,
        clock_ms: Callable[[], int],
        limits: store.Limits,
        name: str,
        done: Callable[[Group], None],
    ) -> None:
        """Set up, without a thread yet.

        Args:
            path: Of the database.
            clock_ms: The time, in milliseconds since the epoch.
            limits: What is kept at most.
            name: Of this start, for the history.
            done: Called on the thread after each transaction, before the next one.
        """
        self._path = path
        self._clock_ms = clock_ms
        self._limits = limits
        self._name = name
        self._done = done
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._tried_at = float("-inf")
        self._trouble = ""
        self._now_ms = 0
        self._openings = 0
        self._held: IO[str] | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._calls.qsize()

    def submit(self, call: Call) -> None:
        """Let a call wait for the next transaction.

        Raises:
            BusyError: Too many wait already.
            UnavailableError: The writer has closed.
        """
        if self._closing:
            raise errors.UnavailableError("the ledger is stopping")
        if self.waiting >= WAITING_MAX:
            raise errors.BusyError(f"{self.waiting} calls wait to become durable, limit {WAITING_MAX}")
        self._calls.put(call)

    def close(self) -> None:
        """Finish what waits, then end the thread; blocks."""
        self._closing = True
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while group := self._next():
            self._done(self._carry_out(group))
        self._forget_connection()
        if self._held is not None:
            self._held.close()

    def _next(self) -> list[Call]:
        """Wait for a call and return it with those that wait already; none: closed."""
        group: list[Call] = []
        items = 0
        call = self._calls.get()
        while call is not None:
            group.append(call)
            items += call.items
            if len(group) >= GROUP_CALLS_MAX or items >= GROUP_ITEMS_MAX:
                return group
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return group
        if group:
            # The end comes after what waited before it.
            self._calls.put(None)
        return group

    def _carry_out(self, group: list[Call]) -> Group:
        begun = time.monotonic()
        try:
            connection = self._opened()
            work, answers, due_ms = self._commit(connection, group)
        except errors.UnavailableError as error:
            return self._failed(group, error)
        except sqlite3.Error as error:
            return self._failed(group, self._meaning(error))
        except Exception as error:  # noqa: BLE001 - a defect of ours in one call; the others must not suffer for it
            if len(group) == 1:
                logs.error("a call ended in a defect and was undone", exc_info=error)
                return self._failed(group, error)
            return self._one_by_one(group)
        self._now_ms = work.now_ms
        if self._trouble:
            logs.info("writing again", path=self._path)
        self._trouble = ""
        work.counts.commits = 1
        work.counts.commit_seconds = time.monotonic() - begun
        return Group(answers, work.head, due_ms, work.counts, "")

    def _commit(
        self, connection: sqlite3.Connection, group: list[Call]
    ) -> tuple[transaction.Transaction, list[tuple[Call, Any]], int | None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Never behind what was judged, even where the node's clock was set back: see `maturing`.
            work = transaction.Transaction(connection, max(self._clock_ms(), self._now_ms), self._limits)
            answers: list[tuple[Call, Any]] = []
            for call in group:
                try:
                    answers.append((call, call.work(work)))
                except errors.LedgerError as error:
                    answers.append((call, error))
            work.finish()
            due_ms = self._due(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return work, answers, due_ms

    def _one_by_one(self, group: list[Call]) -> Group:
        whole = Group([], -1, None, store.Counts(), "")
        for call in group:
            one = self._carry_out([call])
            whole.counts.add(one.counts)
            last = one if one.head >= 0 else whole
            whole = Group([*whole.answers, *one.answers], last.head, last.due_ms, whole.counts, one.trouble)
        return whole

    def _failed(self, group: list[Call], error: Exception) -> Group:
        if isinstance(error, (errors.UnavailableError, errors.FullError)) and str(error) != self._trouble:
            self._trouble = str(error)
            logs.warning("cannot write", reason=self._trouble)
        return Group([(call, error) for call in group], -1, None, store.Counts(), self._trouble)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        if time.monotonic() < self._tried_at + _REOPEN_SECONDS:
            raise errors.UnavailableError(self._trouble or "the database is being opened")
        self._tried_at = time.monotonic()
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
            horizon = connection.execute("SELECT value FROM meta WHERE key = ?", (maturing.HORIZON,)).fetchone()
        except BaseException:
            connection.close()
            raise
        self._now_ms = max(self._now_ms, horizon[0] if horizon else 0)
        self._connection = connection
        self._openings += 1
        return connection

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

    def _due(self, connection: sqlite3.Connection) -> int | None:
        found: int | None = connection.execute(
            "SELECT MIN(matures_ms) FROM answers WHERE seq IS NULL AND matures_ms IS NOT NULL"
        ).fetchone()[0]
        return found

    def _meaning(self, error: sqlite3.Error) -> errors.LedgerError:
        """Say in the user's words what a database error means, and let go of a connection that cannot be trusted."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            limit = self._limits.database_max_bytes
            against = f"its limit of {limit} bytes or the volume" if limit else "the volume"
            return errors.FullError(f"{self._path}: {against} is full; nothing more is kept until there is room")
        self._forget_connection()
        why = {
            sqlite3.SQLITE_READONLY: "cannot be written: the volume or the file is read-only",
            sqlite3.SQLITE_CANTOPEN: "cannot be opened: the folder is missing, or not this user's",
            sqlite3.SQLITE_CORRUPT: "is damaged: restore a backup",
            sqlite3.SQLITE_NOTADB: "is no SQLite database: restore a backup",
            sqlite3.SQLITE_BUSY: "is locked by another process",
        }.get(code, "cannot be read or written")
        return errors.UnavailableError(f"{self._path}: {why} ({error}); trying again")

    def _forget_connection(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except sqlite3.Error as error:
                logs.warning("closing the database", error=error)

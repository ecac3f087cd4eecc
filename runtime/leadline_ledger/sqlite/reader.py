"""SQLite as threads that read use it: a connection for each, a snapshot for each call."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from leadline_wire import ledger

from leadline_ledger import errors, store
from leadline_ledger.sqlite import reading, schema

T = TypeVar("T")


class Reader:
    """See `threads.store.Reader`, which this is one of."""

    def __init__(self, path: Path) -> None:
        """Set up, without opening anything."""
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    def resume(self) -> ledger.Resume:
        """Return what an operator begins with."""
        return self._in_snapshot(reading.resume)

    def stretch(self, after: int, *, limit: int, model: str, timeline: str) -> store.Stretch:
        """Return the entries after a cursor."""
        return self._in_snapshot(
            lambda connection: reading.stretch(connection, after, limit=limit, model=model, timeline=timeline)
        )

    def wanted(self, model: str, *, limit: int, since_ms: int) -> ledger.Wanted:
        """Return answers that would tell two revisions apart."""
        return self._in_snapshot(lambda connection: reading.wanted(connection, model, limit=limit, since_ms=since_ms))

    def labels_waiting(self, model: str, limit: int) -> list[bytes]:
        """Return the oldest labelled rows that wait, as they are kept."""
        return self._in_snapshot(lambda connection: reading.labels_waiting(connection, model, limit))

    def labels(self, model: str) -> list[tuple[str | None, int]]:
        """Return how many labelled rows had which fate; None: they wait."""
        return self._in_snapshot(lambda connection: reading.labels(connection, model))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()

    def _in_snapshot(self, what: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = schema.reader(self._path)
                self._opened.append(connection)
            connection.execute("BEGIN")
            try:
                return what(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            broken = getattr(self._local, "connection", None)
            if broken is not None:
                self._local.connection = None
                self._opened.remove(broken)
                broken.close()
            raise errors.UnavailableError(f"{self._path}: cannot be read ({error})") from error

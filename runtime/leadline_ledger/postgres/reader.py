"""PostgreSQL as threads that read use it: a connection for each, a snapshot for each call."""

import threading
from collections.abc import Callable
from typing import TypeVar

import psycopg
from leadline_wire import ledger

from leadline_ledger import errors, store
from leadline_ledger.postgres import engine, reading, schema

T = TypeVar("T")


class Reader:
    """See `threads.store.Reader`, which this is one of."""

    def __init__(self, dsn: str) -> None:
        """Set up, without connecting."""
        self._dsn = dsn
        self._local = threading.local()
        self._opened: set[schema.Connection] = set()

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

    def _in_snapshot(self, what: Callable[[schema.Connection], T]) -> T:
        connection: schema.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is not None:
                try:
                    return _read(connection, what)
                except psycopg.OperationalError:
                    if not connection.closed:
                        raise
                    # The server was started again meanwhile: reading once more does no harm.
            self._forget(connection)
            connection = self._local.connection = schema.reader(self._dsn)
            self._opened.add(connection)
            return _read(connection, what)
        except psycopg.Error as error:
            self._forget(connection)
            raise errors.UnavailableError(
                f"{engine.place(self._dsn)}: cannot be read ({engine.said(error)})"
            ) from error

    def _forget(self, connection: schema.Connection | None) -> None:
        self._local.connection = None
        if connection is not None:
            self._opened.discard(connection)
            connection.close()


def _read(connection: schema.Connection, what: Callable[[schema.Connection], T]) -> T:
    try:
        return what(connection)
    finally:
        if not connection.closed:
            connection.rollback()

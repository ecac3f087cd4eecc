"""The store as several ledgers share it: one that waits for news hears what the others write, too."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import psycopg

from leadline_ledger import logs, store
from leadline_ledger.postgres import engine, reader, schema
from leadline_ledger.threads.store import ThreadedStore

_LOOK_SECONDS: Final = 0.5
"""Between two looks whether the store closes."""
_AGAIN_SECONDS: Final = 1.0


class PostgresStore(ThreadedStore):
    """See `store.Store`, which this is one of."""

    def __init__(self, dsn: str, *, clock_ms: Callable[[], int], limits: store.Limits, name: str) -> None:
        """Set up, without connecting.

        Args:
            dsn: Of the database, as libpq takes it.
            clock_ms: The time, in milliseconds since the epoch.
            limits: What is kept at most.
            name: Of this start, never used before.
        """
        super().__init__(engine.Engine(dsn, limits=limits, name=name), reader.Reader(dsn), clock_ms=clock_ms)
        self._dsn = dsn
        self._ending = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="ledger-listener", daemon=True)

    async def open(self) -> None:
        """Start the threads and try to connect; where that is not possible, `trouble` says why."""
        await super().open()
        self._listener.start()

    async def close(self) -> None:
        """Finish what waits, then close."""
        await super().close()
        self._ending.set()
        if self._listener.ident is not None:
            await asyncio.to_thread(self._listener.join)

    def _listen(self) -> None:
        is_told = False
        while not self._ending.is_set():
            try:
                with schema.listener(self._dsn) as connection:
                    is_told = False
                    found = connection.execute("SELECT seq FROM head").fetchone()
                    self._tell(f"{found[0] if found else 0} ?")
                    while not self._ending.is_set():
                        for heard in connection.notifies(timeout=_LOOK_SECONDS):
                            self._tell(heard.payload)
            except psycopg.Error as error:
                if not is_told:
                    logs.warning("not hearing what other ledgers write", reason=engine.said(error))
                is_told = True
                self._ending.wait(_AGAIN_SECONDS)

    def _tell(self, payload: str) -> None:
        head, _, due = payload.partition(" ")
        loop = self._loop
        if loop is None or not head.isdigit():
            return
        try:
            loop.call_soon_threadsafe(self._heard, int(head), None if due == "?" else due)
        except RuntimeError:
            self._ending.set()  # the loop has ended

    def _heard(self, head: int, due: str | None) -> None:
        if due is None:
            super()._grow(head)  # lower than before where the database was put back to a backup's
        elif head >= self._head:
            self._due_ms = int(due) if due else None
            self._grow(head)

    def _grow(self, head: int) -> None:
        # What another ledger wrote may be heard of before what this one did earlier.
        super()._grow(max(head, self._head))

"""The store on SQLite: one file, one process."""

from collections.abc import Callable
from pathlib import Path

from leadline_ledger import store
from leadline_ledger.sqlite.engine import Engine
from leadline_ledger.sqlite.reader import Reader
from leadline_ledger.threads.store import ThreadedStore

__all__ = ["kept"]


def kept(path: Path, *, clock_ms: Callable[[], int], limits: store.Limits, name: str) -> ThreadedStore:
    """Return a store on a file, not opened yet.

    Args:
        path: Of the database; beside it are its `-wal` and `-shm`.
        clock_ms: The time, in milliseconds since the epoch.
        limits: What is kept at most.
        name: Of this start, never used before.
    """
    return ThreadedStore(Engine(path, limits=limits, name=name), Reader(path), clock_ms=clock_ms)

"""The store on SQLite: one writer thread that commits for all who wait, and readers beside it."""

from leadline_ledger.sqlite.database import SqliteStore

__all__ = ["SqliteStore"]

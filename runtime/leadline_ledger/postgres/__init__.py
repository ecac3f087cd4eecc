"""The store on PostgreSQL: one database, any number of ledgers."""

from leadline_ledger.postgres.listening import PostgresStore
from leadline_ledger.postgres.settings import BadDsnError, read_dsn

__all__ = ["BadDsnError", "PostgresStore", "read_dsn"]

"""PostgreSQL as the writer's thread uses it: several ledgers may write to one database, one transaction after the other."""

from collections.abc import Sequence

import psycopg

from leadline_ledger import errors, logs, store
from leadline_ledger.bookkeeping import transaction
from leadline_ledger.postgres import rows, schema
from leadline_ledger.threads import writer

_COMMIT = (
    "WITH due AS (SELECT MIN(matures_ms) AS ms FROM answers WHERE seq IS NULL AND matures_ms IS NOT NULL)"
    " SELECT ms, pg_notify(%s, %s || ' ' || COALESCE(ms::text, '')) FROM due"
)


class Engine:
    """See `threads.writer.Engine`, which this is one of."""

    def __init__(self, dsn: str, *, limits: store.Limits, name: str) -> None:
        """Set up, without connecting.

        Args:
            dsn: Of the database, as libpq takes it.
            limits: What is kept at most; the database's size is the server's business.
            name: Of this start, for the history.
        """
        self._dsn = dsn
        self._limits = limits
        self._name = name
        self._where = place(dsn)
        self._connection: schema.Connection | None = None
        self._openings = 0
        self._keys: dict[str, int] = {}
        """Short keys of ModelDeployments, of this connection's database."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self) -> int:
        """Connect and write down this start; return up to when answers were judged."""
        connection = schema.writer(self._dsn)
        try:
            found = connection.execute(rows.HEAD).fetchone()
            assert found is not None, "made with the schema"
            head, judged_ms = found
            connection.execute(
                "INSERT INTO starts (name, seq) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                # A name of its own for each opening: the database may have been put back to a backup's meanwhile.
                (f"{self._name}.{self._openings}" if self._openings else self._name, head),
            )
            connection.execute(
                "DELETE FROM starts WHERE ordinal <= (SELECT MAX(ordinal) FROM starts) - %s", (schema.STARTS_MAX,)
            )
            connection.commit()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._openings += 1
        self._keys.clear()
        return int(judged_ms)

    def begin(self, now_ms: int, calls: Sequence[writer.Call]) -> transaction.Transaction:
        """Begin a transaction, and fetch what the calls will look for."""
        assert self._connection is not None, "open"
        asked = [(call.model, call.intake) for call in calls if call.intake is not None]
        work = rows.Transaction(self._connection, now_ms, self._limits, self._keys)
        try:
            work.begin(asked)
        except psycopg.OperationalError:
            if not self._connection.closed:
                raise
            # The server was started again meanwhile, and nothing was written yet.
            self.close()
            self.open()
            work = rows.Transaction(self._connection, now_ms, self._limits, self._keys)
            work.begin(asked)
        return work

    def commit(self, work: transaction.Transaction) -> int | None:
        """Finish it and make it durable, in one round trip; return when the next answer matures."""
        assert self._connection is not None, "open"
        with self._connection.pipeline():
            work.finish()
            told = self._connection.execute(_COMMIT, (schema.CHANNEL, str(work.head)))
            self._connection.commit()
        found = told.fetchone()
        due_ms: int | None = found[0] if found is not None else None
        return due_ms

    def rollback(self) -> None:
        """Undo what is not committed, if anything is."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.rollback()
            except psycopg.Error:
                self.close()

    def meaning(self, error: Exception) -> errors.LedgerError | None:
        """Say in the user's words what an error of the database means; None: it is none."""
        if not isinstance(error, psycopg.Error):
            return None
        if isinstance(error, psycopg.errors.DiskFull):
            return errors.FullError(f"{self._where}: its volume is full; nothing more is kept until there is room")
        self.close()
        return errors.UnavailableError(f"{self._where}: {said(error)}; trying again")

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except psycopg.Error as error:
                logs.warning("closing the database", error=error)

    def end(self) -> None:
        """Let go of the connection."""
        self.close()


def place(dsn: str) -> str:
    """Return where a database is, without its password, for messages."""
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"PostgreSQL {parts.get('dbname') or parts.get('user') or ''} at {parts.get('host') or 'localhost'}{port}"


def said(error: psycopg.Error) -> str:
    """Return what the server or the client library says, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines if line.strip())[:300]

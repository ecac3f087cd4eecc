"""Where the database is: a DSN as libpq takes it, from the environment or a file, for it holds a password."""

from pathlib import Path

import psycopg

from leadline_ledger import errors


class BadDsnError(errors.SettingsError):
    """No DSN that libpq takes."""


def read_dsn(path: Path) -> str:
    """Return the DSN that a file holds.

    Raises:
        BadDsnError: The file cannot be read, or holds none; the message does not repeat it.
    """
    try:
        dsn = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadDsnError(f"LEADLINE_LEDGER_DATABASE_FILE: {path}: cannot be read ({error})") from error
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        parts = {}
    if not parts:
        raise BadDsnError(
            f"LEADLINE_LEDGER_DATABASE_FILE: {path}: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or "
            "host=... dbname=...; what stands there is neither"
        )
    return dsn

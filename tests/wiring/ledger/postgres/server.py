"""A real PostgreSQL server of this machine's packages, on a free port of loopback, its data in a folder of its own."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.wiring.runtime.pods import eventually, free_ports

_PACKAGES = Path("/usr/lib/postgresql")


def programs() -> Path:
    """Return the folder of the newest version's programs."""
    found = [each for each in _PACKAGES.glob("*/bin") if (each / "initdb").exists()]
    found = found or [Path(place).resolve().parent for place in [shutil.which("initdb")] if place]
    assert found, "PostgreSQL is missing on this machine: apt-get install postgresql"
    return max(found, key=lambda place: int(place.parent.name) if place.parent.name.isdigit() else 0)


class Server:
    """Started by `start`, killed by `kill` or ended by `stop`; its data stays between."""

    def __init__(self) -> None:
        # Not pytest's folder: each of its runs closes that to all accounts but its own.
        self._folder = tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._data = folder / "data"
        self._log = folder / "log"
        (self.port,) = free_ports(1)
        self._names = itertools.count()
        # It refuses to run as root.
        self._account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        if self._account is not None:
            os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "leadline", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "Server":
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [programs() / "postgres", "-D", self._data, *arguments, *options], stdout=log, stderr=log, **self._as()
            )
        try:
            eventually("PostgreSQL answers", self._answers, seconds=30)
        except AssertionError as error:
            error.add_note(self._log.read_text(errors="replace")[-4_000:])
            raise
        return self

    def database(self, copy_of: str = "") -> str:
        """Make a database, empty or as another one is, to which nobody may be connected; return its DSN."""
        name = f"ledger{next(self._names)}"
        template = f" TEMPLATE {copy_of.rpartition('/')[2]}" if copy_of else ""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{template}")
        return self.dsn(name)

    def dsn(self, name: str) -> str:
        return f"postgresql://leadline@127.0.0.1:{self.port}/{name}"

    def kill(self) -> None:
        """End it as a power failure would, but for what the kernel holds: SIGQUIT ends all its processes at once."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it in order, whoever is connected."""
        self._end(signal.SIGINT)

    def leave(self) -> None:
        """End it, and delete its data, which need not be written out for that."""
        self.kill()
        self._folder.cleanup()

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs() / program, *arguments], capture_output=True, text=True, check=False, **self._as()
        )
        assert done.returncode == 0, done.stderr

    def _as(self) -> dict[str, object]:
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": [], "cwd": "/"}

from pathlib import Path

import pytest
from leadline_ledger import postgres

from tests.unit.ledger import ledgers
from tests.wiring.ledger.postgres.server import Server


@pytest.fixture(scope="session")
def server():
    server = Server().start()
    yield server
    server.leave()


@pytest.fixture
def own_server():
    """One that a test may kill."""
    server = Server().start()
    yield server
    server.leave()


class Databases(dict[Path, str]):
    """DSNs by folder: a store that is opened on the same folder again is on the same database."""

    def __init__(self, server):
        self._server = server

    def __missing__(self, folder):
        dsn = self[folder] = self._server.database()
        return dsn

    def make(self, folder, **options):
        return postgres.PostgresStore(self[folder], **options)

    def backup(self, folder, to):
        self[to] = self._server.database(copy_of=self[folder])


@pytest.fixture
def databases(server):
    return Databases(server)


@pytest.fixture(autouse=True)
def on_postgres(databases, monkeypatch):
    """Have the suite of stores make this one."""
    monkeypatch.setattr(ledgers.Kind, "make", staticmethod(databases.make))
    monkeypatch.setattr(ledgers.Kind, "backup", staticmethod(databases.backup))

import pytest
from leadline_ledger import postgres

from tests.unit.ledger import ledgers
from tests.wiring.ledger.postgres.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("postgres")).start()
    yield server
    server.stop()


@pytest.fixture
def databases(server):
    """DSNs by folder: a store that is opened on the same folder again is on the same database."""
    known = {}

    def dsn(folder):
        if folder not in known:
            known[folder] = server.database()
        return known[folder]

    return dsn


@pytest.fixture(autouse=True)
def on_postgres(databases, monkeypatch):
    """Have the suite of stores make this one."""
    made = lambda folder, **options: postgres.PostgresStore(databases(folder), **options)  # noqa: E731 - one line
    monkeypatch.setattr(ledgers.Kind, "make", staticmethod(made))

"""An API server for each test, and processes that are ended after it."""

import pytest

from tests.wiring.ledger.parts import ApiServer, Process


@pytest.fixture
def api():
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def process(tmp_path, api):
    folder = tmp_path / "volume"
    folder.mkdir()
    made = []

    def make(**variables):
        made.append(Process(folder, api, **variables))
        return made[-1]

    yield make
    for each in made:
        each.end()

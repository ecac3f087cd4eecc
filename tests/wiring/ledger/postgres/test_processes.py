"""Two real `leadline-ledger` processes on one database, of which each is killed in turn, and the server with them."""

import concurrent.futures
import contextlib
import http.client
import itertools
import threading

import msgspec
import pytest
from leadline_wire import ledger

from tests.unit.ledger.ledgers import copied, outcome
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.ledger.test_process import now_ms
from tests.wiring.runtime.pods import eventually

CLIENTS = 8
CALLS = 60
KILLS = 6


@pytest.fixture
def two(process, tmp_path, own_server):
    """Both ledgers, started."""
    (tmp_path / "dsn").write_text(own_server.database() + "\n")
    return [process(LEADLINE_LEDGER_DATABASE_FILE=str(tmp_path / "dsn")).start() for _ in range(2)]


def intake(begun_ms, client, number):
    """Return what one call brings: an answer to each of two predictions, and a copy of one."""
    first = (client * CALLS + number) * 2
    return ledger.Intake(
        outcomes=[outcome(first + place, at_ms=begun_ms) for place in range(2)],
        copies=[copied(first, at_ms=begun_ms)],
    )


def test_kills_of_ledgers_and_of_the_server_lose_nothing_acknowledged_and_double_nothing(two, own_server):
    begun_ms, acknowledged, ending = now_ms(), itertools.count(1), threading.Event()
    reached = threading.Condition()
    count = 0

    def client(me):
        nonlocal count
        ports = itertools.cycle(each.port for each in (two if me % 2 else two[::-1]))
        for number in range(CALLS):
            while not ending.is_set() and not told(next(ports), intake(begun_ms, me, number)):
                pass
            with reached:
                count = next(acknowledged)
                reached.notify_all()

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        working = [clients.submit(client, me) for me in range(CLIENTS)]
        try:
            for kill in range(KILLS):
                with reached:
                    wanted = CLIENTS * CALLS * (kill + 1) // (KILLS + 2)
                    assert reached.wait_for(lambda wanted=wanted: count >= wanted, 60)
                if kill % 3 == 2:
                    own_server.kill()
                    own_server.start()
                else:
                    two[kill % 3].kill()
                    two[kill % 3].start(ready=False)
            concurrent.futures.wait(working, 60)
        finally:
            ending.set()
    for done in working:
        done.result()
    for each in two:
        eventually("the ledger is ready", lambda each=each: each.readiness()[0] == 200, 30)
    found = two[0].log()
    assert found == two[1].log()
    outcomes = [entry.id for entry in found if isinstance(entry, ledger.OutcomeEntry)]
    pairs = [entry.id for entry in found if isinstance(entry, ledger.PairEntry)]
    assert (len(outcomes), len(set(outcomes))) == (CLIENTS * CALLS * 2,) * 2
    assert (len(pairs), len(set(pairs))) == (CLIENTS * CALLS,) * 2
    assert [entry.seq for entry in found] == list(range(1, len(found) + 1))


def told(port, brought):
    """Tell a ledger; return whether it acknowledged."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        body = msgspec.json.encode(brought)
        connection.request("POST", f"{MODEL}/intake", body, {"authorization": f"Bearer {RUNTIME}"})
        answer = connection.getresponse()
        return answer.status == 200 and bool(answer.read())
    return False


def test_database_that_is_away_is_told_at_readyz_and_the_process_stays(two, own_server):
    own_server.stop()
    status, _ = two[0].call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=[outcome(1, at_ms=now_ms())]))
    assert status == 503
    status, said = two[0].readiness()
    assert status == 503
    assert "PostgreSQL ledger0 at 127.0.0.1" in said
    assert two[0].call("GET", "/healthz")[0] == 200
    own_server.start()
    eventually("the ledger is ready again", lambda: two[0].readiness()[0] == 200, 30)
    brought = ledger.Intake(outcomes=[outcome(1, at_ms=now_ms())])
    assert two[0].call("POST", f"{MODEL}/intake", brought)[0] == 200

"""The real process: killed in the midst of intake, ended, on a full, read-only, damaged or newer volume."""

import concurrent.futures
import contextlib
import http.client
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from leadline_wire import ledger

from tests.unit.ledger.ledgers import copied, outcome
from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME
from tests.wiring.runtime.pods import eventually

CLIENTS = 16
CALLS = 40


def now_ms():
    return time.time_ns() // 1_000_000


def intake(begun_ms, client, number):
    """Return what one call brings: three answers and a copy of the first."""
    first = (client * CALLS + number) * 3
    return ledger.Intake(
        outcomes=[outcome(first + place, at_ms=begun_ms) for place in range(3)],
        copies=[copied(first, at_ms=begun_ms)],
    )


def test_kill_in_the_midst_of_intake_loses_nothing_acknowledged_and_doubles_nothing(process):
    running = process().start()
    begun_ms = now_ms()
    acknowledged, some_came = set(), threading.Event()

    def client(me):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            for number in range(CALLS):
                body = msgspec.json.encode(intake(begun_ms, me, number))
                connection.request("POST", f"{MODEL}/intake", body, {"authorization": f"Bearer {RUNTIME}"})
                answer = connection.getresponse()
                if answer.status == 200 and answer.read():
                    acknowledged.add((me, number))
                    if len(acknowledged) > CLIENTS * 4:
                        some_came.set()

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        working = [clients.submit(client, me) for me in range(CLIENTS)]
        assert some_came.wait(30)
        running.kill()
        concurrent.futures.wait(working, 30)
    for done in working:
        done.result()
    assert len(acknowledged) < CLIENTS * CALLS, "the kill came after all was done"

    running.start()
    there = {entry.id for entry in running.log() if isinstance(entry, ledger.OutcomeEntry)}
    for me, number in acknowledged:
        assert {each.id for each in intake(begun_ms, me, number).outcomes} <= there
    for me in range(CLIENTS):
        for number in range(CALLS):
            status, body = running.call("POST", f"{MODEL}/intake", intake(begun_ms, me, number))
            fates = set(msgspec.json.decode(body, type=ledger.IntakeAnswer).fates)
            assert status == 200
            assert fates in ({"Duplicate"}, {"Accepted"}), "a call is kept whole or not at all"
            assert fates == {"Duplicate"} or (me, number) not in acknowledged
    found = running.log()
    outcomes = [entry.id for entry in found if isinstance(entry, ledger.OutcomeEntry)]
    pairs = [entry.id for entry in found if isinstance(entry, ledger.PairEntry)]
    assert (len(outcomes), len(set(outcomes))) == (CLIENTS * CALLS * 3,) * 2
    assert (len(pairs), len(set(pairs))) == (CLIENTS * CALLS,) * 2
    assert [entry.seq for entry in found] == list(range(1, len(found) + 1))


def test_answers_mature_by_themselves(process):
    running = process().start()
    begun_ms = now_ms()
    waiting = outcome(1, at_ms=begun_ms, maturity_ms=1_500)
    status, body = running.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=[waiting]))
    assert (status, msgspec.json.decode(body)) == (200, {"fates": ["Accepted"]})
    status, body = running.call("GET", "/v1/log?wait=10", token=OPERATOR)
    (entry,) = msgspec.json.decode(body, type=ledger.Log).entries
    assert entry.id == waiting.id
    assert now_ms() >= begun_ms + 1_500


def test_sigterm_answers_who_waits_and_ends_with_status_0(process):
    running = process().start()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.call, "GET", "/v1/log?wait=60", token=OPERATOR)
        eventually(
            "the long poll is under way",
            lambda: b"leadline_ledger_requests_under_way 2.0" in running.call("GET", "/metrics")[1],
        )
        assert running.end() == 0
        status, body = waiting.result(10)
    assert (status, msgspec.json.decode(body, type=ledger.Log).entries) == (200, [])


def test_wrong_setting_ends_it_with_one_line(process):
    running = process(LEADLINE_LEDGER_OPERATOR="leadline")
    command = [sys.executable, "-m", "leadline_ledger.main"]
    done = subprocess.run(command, env=running._variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert (
        "LEADLINE_LEDGER_OPERATOR: expected system:serviceaccount:NAMESPACE:NAME, got 'leadline'"
        in done.stderr.replace("\\", "")
    )


def told(running, number, at_ms):
    return running.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=[outcome(number, at_ms=at_ms)]))


def test_full_database_says_so_and_takes_in_again_when_there_is_room(process):
    running = process(LEADLINE_LEDGER_DATABASE_MAX_BYTES=str(300_000)).start()
    begun_ms, number = now_ms(), 0
    while (answer := told(running, number, begun_ms))[0] == 200:
        number += 1
    assert answer[0] == 507
    assert b"limit of 300000 bytes or the volume is full" in answer[1]
    assert running.readiness()[0] == 503
    assert "is full" in running.readiness()[1]
    assert len(running.log()) == number, "what is there can be read"
    running.end()
    running = process().start()
    assert told(running, number, begun_ms)[0] == 200
    assert len({entry.id for entry in running.log()}) == number + 1


def test_disk_that_refuses_to_write_is_told_and_recovers_without_a_restart(process):
    running = process().start()
    begun_ms = now_ms()
    assert told(running, 0, begun_ms)[0] == 200
    no_limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    # The file is as large as it may get: writes to it fail as on a broken disk.
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (1_024, resource.RLIM_INFINITY))
    status, body = told(running, 1, begun_ms)
    assert status in (503, 507)
    assert b"ledger.db" in body
    eventually("not ready", lambda: running.readiness()[0] == 503)
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, no_limit)
    eventually("ready again", lambda: running.readiness() == (200, "ok"))
    assert told(running, 1, begun_ms)[0] == 200
    assert [entry.seq for entry in running.log()] == [1, 2]


def damaged(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    path.write_bytes(content)


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def no_database(path):
    path.write_bytes(b"this is a text, and it is much longer than a header of a database would be, as one sees" * 99)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "is damaged: restore a backup"),
        (no_database, "is no SQLite database: restore a backup"),
        (newer, "database of version 99, this ledger knows up to 4; run a newer one"),
    ],
)
def test_database_that_cannot_be_used_is_told_and_taken_up_when_it_was_put_right(process, spoil, said):
    running = process().start()
    begun_ms = now_ms()
    told(running, 0, begun_ms)
    running.end()
    path = running.folder / "ledger.db"
    good = path.with_suffix(".good")
    shutil.copy(path, good)
    spoil(path)

    running.start(ready=False)
    status, why = eventually(
        "not ready", lambda: (found := running.readiness())[0] == 503 and "opened" not in found[1] and found
    )
    assert said in why
    assert "\n" not in why
    for method, call, token in (("POST", f"{MODEL}/intake", RUNTIME), ("GET", "/v1/log", OPERATOR)):
        status, body = running.call(method, call, ledger.Intake() if method == "POST" else None, token=token)
        assert status == 503
        assert said in body.decode()
    assert running.call("GET", "/healthz")[0] == 200
    for left in running.folder.glob("ledger.db-*"):
        left.unlink()
    good.replace(path)
    eventually("ready again", lambda: running.readiness() == (200, "ok"))
    assert len(running.log()) == 1
    assert "Traceback" not in running.said()


def test_second_ledger_on_the_same_volume_waits_for_the_first_to_end(process):
    first = process().start()
    second = process()
    second.start(ready=False)
    _, why = eventually("not ready", lambda: (found := second.readiness())[0] == 503 and "held" in found[1] and found)
    assert "held by another ledger" in why
    first.kill()
    eventually("ready", lambda: second.readiness() == (200, "ok"))


def backup_command():
    """The Python that docs/ledger.md has people run in the pod."""
    text = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text()
    return re.search(r"python3 -c \\\n +'(.+)'", text)[1]


def test_backup_as_documented_is_taken_while_it_runs_and_a_cursor_of_after_it_is_refused(process, tmp_path):
    running = process().start()
    begun_ms = now_ms()
    told(running, 0, begun_ms)
    command = backup_command().replace("/var/lib/leadline-ledger", str(running.folder))
    subprocess.run([sys.executable, "-c", command], check=True, timeout=60)
    told(running, 1, begun_ms)
    head = msgspec.json.decode(running.call("GET", "/v1/log", token=OPERATOR)[1], type=ledger.Log)
    running.end()
    for left in running.folder.glob("ledger.db*"):
        left.unlink()
    (running.folder / "backup.db").rename(running.folder / "ledger.db")
    running.start()
    assert len(running.log()) == 1
    for number in (2, 3, 4):
        told(running, number, begun_ms)
    cursor = f"/v1/log?after={head.head}&timeline={head.timeline}"
    status, body = running.call("GET", cursor, token=OPERATOR)
    assert status == 410
    assert b"went on otherwise after a backup was restored" in body

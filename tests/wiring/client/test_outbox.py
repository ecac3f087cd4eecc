"""Nothing is lost and nothing is doubled: programs that are killed, a ledger that goes away, many at one store.

The runtime, the ledger and the programs are real processes.
"""

import collections
import threading

import pytest
from leadline_client import Client, Fate, SqliteStore

from tests.unit.client.both import BOTH
from tests.wiring.runtime.pods import eventually

PREDICT = """
import os, signal, sys
from leadline_client import Client
client = Client(sys.argv[1], model="digits", store="s.db")
answer = client.predict([[0.0] * 64])
client.remember(answer, key="order 4711")
print(answer.outputs["label"][0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

REPORT = """
import sys
from leadline_client import Client
with Client(sys.argv[1], model="digits", store="s.db") as client:
    print(client.report(truth=int(sys.argv[2]), key="order 4711").fate.value)
"""

ONE_BY_ONE = """
import sys
from leadline_client import Client
with Client(sys.argv[1], model="digits", store="s.db", report_timeout_seconds=60) as client:
    for number in range(10_000):
        answer = client.predict([[number / 10_000] * 64])
        client.remember(answer, key=f"{sys.argv[2]} {number}")
        print("begun", answer.receipt.split(".")[-3], flush=True)
        told = client.report(correct=True, key=f"{sys.argv[2]} {number}")
        print(told.fate.value, answer.receipt.split(".")[-3], flush=True)
        if number + 1 == int(sys.argv[3]):
            break
"""


def said(lines):
    """Return the predictions by what a program said of them."""
    found = collections.defaultdict(set)
    for what, _, prediction in (line.partition(" ") for line in lines if " " in line):
        found[what].add(prediction)
    return found


def in_ledger(there):
    """Return the predictions whose outcomes are in the log; each is there once."""
    found = [entry.id for entry in there.outcomes()]
    assert len(found) == len(set(found))
    return set(found)


def test_receipt_outlives_a_program_that_is_killed(site, run):
    there = site()
    (label,) = run(PREDICT, there.url).ended(-9)
    assert run(REPORT, there.url, label).ended() == ["accepted"]
    assert run(REPORT, there.url, label).ended() == ["duplicate"]
    assert [entry.truth for entry in there.outcomes()] == [f"i{label}"]


@pytest.mark.parametrize("kind", sorted(BOTH))
def test_ledger_that_goes_away_and_comes_back_has_every_outcome_once(site, tmp_path, kind):
    there = site()
    settings = {"model": "digits", "store": tmp_path / "s.db", "report_timeout_seconds": 5.0}
    with BOTH[kind](there.url, **settings) as client:
        answers = [client.predict(there.digits.rows[:1]) for _ in range(40)]
        assert client.report(receipt=answers[0].receipt, truth=1).fate is Fate.ACCEPTED
        there.ledger.kill()
        assert client.report(receipt=answers[1].receipt, truth=1).fate is Fate.WAITING
        told = client.report_many({"receipt": each.receipt, "truth": 1} for each in answers)
        assert {each.fate for each in told} == {Fate.WAITING}
        assert "the ledger does not answer" in told[0].why
        flushed = client.flush()
        assert (flushed.waiting, "the ledger does not answer" in flushed.why) == (41, True)
        there.ledger.start()
    with BOTH[kind](there.url, **settings) as client:
        flushed = client.flush()
        assert (flushed.counts, flushed.refused, flushed.waiting) == ({Fate.ACCEPTED: 39, Fate.DUPLICATE: 2}, (), 0)
    assert in_ledger(there) == {each.receipt.split(".")[-3] for each in answers}


def test_program_that_is_killed_while_it_reports_leaves_what_another_sends(site, run, tmp_path):
    there = site()
    program = run(ONE_BY_ONE, there.url, "a", 10_000)
    lines = [program.line() for _ in range(50)]
    there.ledger.kill()
    lines += [program.line() for _ in range(4)]
    lines += program.kill()
    told = said(lines)
    assert told["waiting"]
    there.ledger.start()

    # What the killed program held itself, nobody else takes before its time is over.
    store = SqliteStore(tmp_path / "s.db")
    store.hold(range(1, 1_000), until=0.0)
    store.close()
    with Client(there.url, model="digits", store=tmp_path / "s.db") as client:
        assert client.flush().waiting == 0
    found = in_ledger(there)
    assert told["accepted"] | told["waiting"] <= found <= told["begun"]


def test_threads_and_programs_share_a_store_while_the_ledger_comes_and_goes(site, run, tmp_path):
    there = site()
    programs = [run(ONE_BY_ONE, there.url, name, 25) for name in "abc"]
    mine, lock = [], threading.Lock()
    with Client(there.url, model="digits", store=tmp_path / "s.db", flush_every_seconds=0.1) as client:

        def work(me):
            for number in range(15):
                answer = client.predict(there.digits.rows[:1])
                client.remember(answer, key=f"{me} {number}")
                fate = client.report(correct=True, key=f"{me} {number}").fate
                with lock:
                    mine.append(f"{fate.value} {answer.receipt.split('.')[-3]}")

        threads = [threading.Thread(target=work, args=(me,)) for me in range(3)]
        for each in threads:
            each.start()
        eventually("some", lambda: len(mine) > 6, 30.0)
        there.ledger.kill()
        there.ledger.start()
        for each in threads:
            each.join(60)
        told = said([*mine, *(line for program in programs for line in program.ended())])
        eventually("all sent", lambda: client.waiting() == 0, 30.0)
    expected = told["accepted"] | told["waiting"] | told["duplicate"]
    assert len(expected) == 3 * 25 + 3 * 15
    assert in_ledger(there) == expected


def test_child_of_a_fork_has_connections_of_its_own(site, run):
    there = site()
    code = """
import os, sys
from leadline_client import Client
with Client(sys.argv[1], model="digits", store="s.db") as client:
    client.remember(client.predict([[0.0] * 64]), key="parent")
    child = os.fork()
    if not child:
        client.remember(client.predict([[0.0] * 64]), key="child")
        print(client.report(correct=True, key="parent").fate.value, flush=True)
        os._exit(0)
    for _ in range(20):
        client.predict([[0.0] * 64])
    assert os.waitpid(child, 0)[1] == 0
    print(client.report(correct=True, key="child").fate.value)
"""
    assert run(code, there.url).ended() == ["accepted", "accepted"]
    assert len(there.outcomes()) == 2

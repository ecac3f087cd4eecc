"""The store that comes along: what it keeps, for how long, for several threads and processes, and what is said when it cannot.

Another store has to pass the tests that take `store`; they use nothing but `leadline_client.Store`.
"""

import multiprocessing
import sqlite3
import subprocess
import sys
import threading

import pytest
from leadline_client import SqliteStore, StoreError, StoreFull

NOW = 1_700_000_000.0
PROCESSES = 4
EACH = 25


@pytest.fixture
def store(tmp_path):
    made = SqliteStore(tmp_path / "s.db")
    yield made
    made.close()


def put(store, *names, now=NOW, until=NOW, model="digits"):
    return store.put(model, [(name, f"text of {name}") for name in names], now=now, until=until)


def taken(store, now=NOW, until=NOW + 10, limit=100, model="digits"):
    return [each.prediction for each in store.take(model, limit=limit, now=now, until=until)]


def test_receipt_is_found_by_its_key_and_its_prediction_and_the_later_one_stays(store):
    store.remember("digits", "a", "1.r", prediction_id="p1", now=NOW)
    store.remember("digits", "b", "", prediction_id="", now=NOW)
    store.remember("fraud", "a", "1.other", prediction_id="p1", now=NOW)
    assert store.recall("digits", ["a", "b", "c"]) == {"a": "1.r", "b": ""}
    assert store.keys_of("digits", ["p1", "p2"]) == {"p1": "a"}
    store.remember("digits", "a", "1.r2", prediction_id="p2", now=NOW)
    assert store.recall("digits", ["a"]) == {"a": "1.r2"}
    assert store.recall("digits", [f"x{number}" for number in range(5_000)]) == {}


def test_outcomes_wait_in_order_and_one_taker_has_them(store):
    numbers = put(store, "a", "b", until=NOW + 5)
    assert numbers == sorted(numbers)
    put(store, "other", model="fraud")
    assert taken(store) == [], "their sender holds them"
    assert taken(store, NOW + 5) == ["a", "b"]
    assert taken(store, NOW + 6) == [], "the taker holds them"
    assert taken(store, NOW + 10) == ["a", "b"], "it did not say how it went"
    store.hold(numbers[:1], until=NOW)
    store.done(numbers[1:])
    assert (taken(store, NOW + 11), store.waiting("digits"), store.waiting("fraud")) == (["a"], 1, 1)


def test_rows_of_a_prediction_are_taken_together(store):
    put(store, "a", "b", "b", "b", "c")
    assert taken(store, limit=3) == ["a"]
    assert taken(store, limit=4) == ["b", "b", "b"]
    assert taken(store, limit=4) == ["c"]
    put(store, *["d"] * 5)
    assert taken(store, limit=3) == ["d"] * 3, "more than there is room for"


def test_clock_that_was_set_back_holds_nothing_for_ever(store):
    put(store, "a", until=NOW + 10)
    assert taken(store, NOW - 86_400, NOW - 86_390) == ["a"]


def test_what_was_put_is_there_after_the_process_was_killed(store):
    code = (
        "import os, sys, signal; from leadline_client import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\n"
        f"store.put('digits', [('a', 't')], now={NOW}, until={NOW})\n"
        f"store.remember('digits', 'k', '1.r', prediction_id='p', now={NOW})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, store.path], timeout=60, check=False).returncode == -9
    assert (taken(store), store.recall("digits", ["k"])) == (["a"], {"k": "1.r"})


def test_old_things_go(tmp_path):
    store = SqliteStore(tmp_path / "s.db", keep_days=1)
    store.remember("digits", "a", "1.r", prediction_id="p", now=NOW)
    put(store, "a")
    later = NOW + 86_401
    store.remember("digits", "b", "1.r", prediction_id="p", now=later)
    assert store.recall("digits", ["a", "b"]) == {"b": "1.r"}
    assert (store.waiting("digits"), store.keys_of("digits", ["p"])) == (0, {"p": "b"})
    store.close()


def test_full_store_says_so_and_keeps_none_of_it(tmp_path):
    store = SqliteStore(tmp_path / "s.db", waiting_max=3)
    put(store, "a", "b")
    with pytest.raises(StoreFull, match="2 outcomes wait, limit 3"):
        put(store, "c", "d")
    assert taken(store) == ["a", "b"]
    store.done([1])
    put(store, "c", "d")
    store.close()


def test_closed_store_opens_again(store):
    put(store, "a")
    store.close()
    store.close()
    assert taken(store) == ["a"]


def test_threads_share_it(store):
    def work(me):
        for number in range(EACH):
            put(store, f"{me}-{number}")
            store.remember("digits", f"{me}-{number}", "1.r", prediction_id=f"{me}-{number}", now=NOW)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(set(taken(store, limit=1_000))) == 4 * EACH
    assert len(store.recall("digits", [f"{me}-{number}" for me in range(4) for number in range(EACH)])) == 4 * EACH


def test_file_that_others_are_just_making_is_waited_for(store, monkeypatch):
    """Of those that make a file at one moment SQLite tells some at once that it is locked, whatever its time limit is."""
    busy = [True, True]

    class Contended(sqlite3.Connection):
        def execute(self, sql, *more):
            if "journal_mode" in sql and busy and busy.pop():
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error
            return super().execute(sql, *more)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, **more, factory=Contended))
    assert store.waiting("digits") == 0
    assert busy == []


def _work(path, me, queue):
    store = SqliteStore(path)
    for number in range(EACH):
        put(store, f"{me}-{number}")
    queue.put([each for _ in range(3) for each in taken(store, limit=10)])
    store.close()


def test_processes_share_it_and_no_outcome_is_taken_twice(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    path = tmp_path / "s.db"
    workers = [context.Process(target=_work, args=(path, me, queue)) for me in range(PROCESSES)]
    for each in workers:
        each.start()
    found = [name for _ in workers for name in queue.get(timeout=60)]
    for each in workers:
        each.join(60)
        assert each.exitcode == 0
    store = SqliteStore(path)
    found += taken(store, limit=1_000)
    store.close()
    assert sorted(found) == sorted(f"{me}-{number}" for me in range(PROCESSES) for number in range(EACH))


def test_child_of_a_fork_has_a_connection_of_its_own(tmp_path):
    code = """
import os, signal, sys
from leadline_client import SqliteStore
store = SqliteStore(sys.argv[1])
put = lambda name: store.put("digits", [(name, "t")], now=1.0, until=1.0)
put("parent")
store._lock.acquire()  # as another thread has it that is just writing
child = os.fork()
if not child:
    signal.alarm(20)
    put("child")
    os._exit(0)
store._lock.release()
assert os.waitpid(child, 0)[1] == 0
put("parent")
print([each.prediction for each in store.take("digits", limit=9, now=1.0, until=2.0)])
"""
    command = [sys.executable, "-c", code, tmp_path / "s.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['parent', 'child', 'parent']"


def test_file_that_cannot_be_used_is_told(tmp_path):
    nowhere = SqliteStore(tmp_path / "no" / "s.db")
    with pytest.raises(StoreError, match=r"no/s.db: unable to open database file; name another file with store="):
        nowhere.waiting("digits")
    (tmp_path / "text").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        SqliteStore(tmp_path / "text").waiting("digits")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    with pytest.raises(StoreError, match="written by a newer client"):
        SqliteStore(tmp_path / "newer.db").waiting("digits")


def test_full_disk_is_told_and_put_right(store):
    put(store, "a")
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        store.put("digits", [("b", "x" * 100_000)], now=NOW, until=NOW)
    store._connection.execute("PRAGMA max_page_count = 100000")
    put(store, "b")
    assert taken(store) == ["a", "b"]

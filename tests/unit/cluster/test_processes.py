"""A process is ended only if it is the one that was started: same id, same start, same boot."""

import dataclasses
import os
import subprocess
import sys
import time

import pytest
from localkind import processes

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def sleeper(tmp_path):
    """A process as the cluster starts them; ended and waited for in any case."""
    record = processes.start(tmp_path / "processes", tmp_path / "log", "sleeper", SLEEP, cwd=tmp_path)
    yield record
    processes.stop([record], grace_seconds=5)


def wait_for(fact):
    """Wait for what another process does, at most 10 seconds."""
    deadline = time.monotonic() + 10
    while not (found := fact()):
        assert time.monotonic() < deadline
        os.sched_yield()
    return found


def stat_line(command, state="S", start=4242):
    fields = ["7", f"({command})", state, *["0"] * 18, str(start), "0"]
    return " ".join(fields)


@pytest.mark.parametrize("command", ["etcd", "a b", "x) S 1 (y", "((("])
def test_start_time_is_read_whatever_the_command_is_called(command):
    assert processes.start_ticks(stat_line(command)) == 4242


@pytest.mark.parametrize("state", ["Z", "X"])
def test_ended_process_has_no_start_time(state):
    assert processes.start_ticks(stat_line("etcd", state)) is None


def test_started_process_runs_and_is_on_record(sleeper, tmp_path):
    assert processes.is_running(sleeper)
    assert processes.recorded(tmp_path / "processes") == [sleeper]


@pytest.mark.parametrize(
    "change", [{"started": 1}, {"boot": "another boot"}], ids=["id was used again", "machine was booted"]
)
def test_process_that_only_has_the_same_id_is_not_ended(sleeper, change):
    other = dataclasses.replace(sleeper, **change)
    assert not processes.is_running(other)
    processes.stop([other], grace_seconds=0)
    assert processes.is_running(sleeper)


def test_process_that_ignores_the_first_signal_is_ended_all_the_same(tmp_path):
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open('deaf', 'w').close(); time.sleep(600)"
    record = processes.start(tmp_path / "p", tmp_path / "log", "deaf", (sys.executable, "-c", deaf), cwd=tmp_path)
    wait_for((tmp_path / "deaf").exists)
    processes.stop([record], grace_seconds=0.2)
    assert not processes.is_running(record)


def test_half_written_record_counts_as_none(tmp_path):
    (tmp_path / "etcd.json").write_text('{"name": "etcd", "pi')
    (tmp_path / "kubelet.json").write_text('{"name": "kubelet"}')
    assert processes.recorded(tmp_path) == []


def test_process_is_found_by_a_whole_argument_only(tmp_path):
    address = str(tmp_path / "containerd.sock")
    with subprocess.Popen([*SLEEP, address]) as found, subprocess.Popen([*SLEEP, address + ".bak"]) as other:
        try:
            records = wait_for(lambda: processes.with_argument(address))
            assert [record.pid for record in records] == [found.pid]
        finally:
            found.kill()
            other.kill()


def test_descendants_are_found_below_children(tmp_path):
    code = f"import subprocess; subprocess.run({SLEEP!r})"
    record = processes.start(tmp_path / "p", tmp_path / "log", "parent", (sys.executable, "-c", code), cwd=tmp_path)
    below = wait_for(lambda: processes.descendants(record))
    processes.stop([record, *below], grace_seconds=5)
    assert not processes.is_running(below[0])

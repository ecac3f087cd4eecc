"""Processes under measurement: started on one core, their CPU time and memory with all descendants, and surely ended.

CPU time and memory are the kernel's accounts. Must not know what the processes serve.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
END_SECONDS = 10.0
SHOWN_LINES = 3
SETTLE_SECONDS = 5.0
REST_SECONDS = 0.05
REST_TICKS = 1


class Server:
    """A process and its descendants; what they print goes into a file."""

    def __init__(self, command: list[str], core: int, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            # A session of its own: Ctrl-C is for us, who end it, and its descendants are known by it.
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self) -> bool:
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Return the end of what it printed, on one line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-SHOWN_LINES:])[-300:]

    def stop(self) -> None:
        """End it and all that it started, by their ids; kill what does not end in time."""
        started = _descendants(self.pid)
        _signal([self.pid], signal.SIGTERM)
        # One that was paused has to go on to end.
        _signal(list(started), signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        left = [pid for pid, born in {**started, **_descendants(self.pid)}.items() if _born(pid) == born]
        _signal(left, signal.SIGKILL)
        self._process.wait(END_SECONDS)

    def cpu_seconds(self) -> float:
        """Return CPU time so far, that of ended children included."""
        total = 0
        for pid in _descendants(self.pid):
            try:
                fields = _stat(pid)
            except OSError:
                continue
            # User and system time, and the same of children that were waited for.
            total += sum(int(field) for field in fields[11:15])
        return total / TICKS_PER_SECOND

    def settle(self) -> None:
        """Wait until it hardly takes CPU time any more, or for so long."""
        last = self.cpu_seconds()

        def rests() -> bool:
            nonlocal last
            before, last = last, self.cpu_seconds()
            return last - before <= REST_TICKS / TICKS_PER_SECOND

        wait_until(rests, SETTLE_SECONDS, REST_SECONDS)

    def pause(self) -> None:
        """Stop it for now; what it holds stays."""
        _signal(list(_descendants(self.pid)), signal.SIGSTOP)

    def go_on(self) -> None:
        _signal(list(_descendants(self.pid)), signal.SIGCONT)

    def memory(self) -> dict[str, float]:
        """Return MB: resident, which counts shared pages in each process, and proportional, which shares them out."""
        resident = proportional = 0.0
        for pid in _descendants(self.pid):
            try:
                resident += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            proportional += int(rollup.partition("\nPss:")[2].split()[0]) * 1024 / 1e6
        return {"rss_mb": resident, "pss_mb": proportional}


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _born(pid: int) -> str:
    """Return when a process was started; empty if it is none or waits to be reaped."""
    try:
        fields = _stat(pid)
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _descendants(root: int) -> dict[int, str]:
    """Return a process and its descendants, and all of its session, with when each was started."""
    found: dict[int, tuple[int, int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = _stat(int(entry.name))
            except OSError:
                continue
            found[int(entry.name)] = int(fields[1]), int(fields[3]), fields[19]
    family = {root}
    while True:
        more = {pid for pid, (parent, session, _) in found.items() if parent in family or session in family} - family
        if not more:
            return {pid: found[pid][2] for pid in family if pid in found}
        family |= more


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_until(condition, seconds: float, every: float = 0.1) -> bool:
    """Wait until a condition holds; tell whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(every)
        if condition():
            return True
    return False

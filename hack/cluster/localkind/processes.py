"""Processes of the cluster: started here, recorded in a file each, and ended only if they are still the same.

A process id comes back into use after a process ended, and surely after a reboot. So a record also holds the time
at which the kernel started the process and the id of the boot; one that does not match is somebody else's.
"""

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

POLL_SECONDS: Final = 0.05
"""Between two looks at what is waited for; processes that are no children of ours cannot be waited on otherwise."""


@dataclass(frozen=True, slots=True)
class Record:
    """One process that was started."""

    name: str
    pid: int
    started: int
    """Start time in clock ticks since boot, field 22 of /proc/PID/stat."""
    boot: str


def start_ticks(stat: str) -> int | None:
    """Return when a process started, from the text of its /proc/PID/stat; None for one that has ended (a zombie).

    The second field is the command in brackets, which may hold spaces and brackets itself.
    """
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def identity(pid: int) -> int | None:
    """Return the start time of a process, None where there is none."""
    try:
        return start_ticks(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot_id() -> str:
    """Return the id of this boot."""
    return _BOOT_ID.read_text().strip()


def is_running(record: Record) -> bool:
    """Tell whether the very process of this record still runs."""
    return record.boot == boot_id() and identity(record.pid) == record.started


def start(folder: Path, logs: Path, name: str, command: Sequence[str], *, cwd: Path) -> Record:
    """Start a process that outlives this one, and record it.

    Args:
        folder: Where its record goes.
        logs: Where its output goes, as NAME.log.
        name: Name of the record.
        command: Program and arguments.
        cwd: Folder that it runs in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": "/root"}
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not by `subprocess`, which takes a process for its own to wait for. `env` changes the folder and becomes the program.
    pid = os.posix_spawnp(
        "env",
        ["env", f"--chdir={cwd}", *command],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(logs / f"{name}.log"), output, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    record = Record(name, pid, identity(pid) or 0, boot_id())
    (folder / f"{name}.json").write_text(json.dumps(asdict(record)))
    return record


def recorded(folder: Path) -> list[Record]:
    """Return all records of a folder; a half-written one, left by a crash, counts as none."""
    records = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            records.append(Record(**json.loads(path.read_text())))
        except (json.JSONDecodeError, TypeError):
            continue
    return records


def stop(records: Iterable[Record], *, grace_seconds: float) -> None:
    """End processes: SIGTERM to all, SIGKILL to those left after the grace; other processes are never touched."""
    running = [record for record in records if _signal(record, signal.SIGTERM)]
    running = _wait(running, grace_seconds)
    for record in running:
        _signal(record, signal.SIGKILL)
    _wait(running, 10.0)


def _signal(record: Record, number: signal.Signals) -> bool:
    # A descriptor of the process closes the gap between the check and the signal: it cannot be reused in between.
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_running(record):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _wait(records: list[Record], seconds: float) -> list[Record]:
    deadline = time.monotonic() + seconds
    while records and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        records = [record for record in records if is_running(record)]
    return records


def with_argument(argument: str) -> list[Record]:
    """Return the processes that have this very argument on their command line.

    containerd's shims detach themselves and have no record; each is given the address of its containerd.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        started = identity(int(folder.name)) if argument.encode() in arguments else None
        if started is not None:
            found.append(Record(arguments[0].decode(errors="replace"), int(folder.name), started, boot_id()))
    return found


def descendants(record: Record) -> list[Record]:
    """Return the processes below one, nearest first."""
    found: list[Record] = []
    waiting = [record.pid]
    while waiting:
        pid = waiting.pop(0)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                children = [int(child) for child in task.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            for child in children:
                started = identity(child)
                if started is not None:
                    found.append(Record("child", child, started, record.boot))
                    waiting.append(child)
    return found

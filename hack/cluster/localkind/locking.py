"""Locks between commands of this folder that run at the same time, e.g. two builds of the same thing."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localkind import talk


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of this file; the kernel gives it back when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            talk.say(f"waiting for another command that holds {path}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

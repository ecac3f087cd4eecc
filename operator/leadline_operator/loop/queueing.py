"""The work queue: each key at most once in it, and at most one worker on it; due times; backoff for errors.

The same contract as client-go's workqueue: a key that is added while a worker is on it runs again afterwards, so no
change is lost and a hundred changes are one run.
"""

import asyncio
import random
from typing import Final

from leadline_operator.due_times import DueTimes
from leadline_operator.loop.cache import Key

FIRST_BACKOFF_SECONDS: Final = 0.2
LAST_BACKOFF_SECONDS: Final = 60.0
SLACK_SECONDS: Final = 0.01
"""Added to due times, so that what was due at an instant is due when it is looked at."""


class Queue:
    """Keys that want a worker's attention."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._dirty: set[Key] = set()
        self._busy: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._due: DueTimes[Key] = DueTimes()

    def __len__(self) -> int:
        """Return the number of keys that wait for a worker."""
        return len(self._dirty)

    def add(self, key: Key) -> None:
        """Have a worker look at a key as soon as one is free."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._busy:
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have a worker look at a key in a while; of several times the earliest counts."""
        at = asyncio.get_running_loop().time() + max(0.0, seconds) + SLACK_SECONDS
        known = self._due.at(key)
        if known is None or at < known:
            self._due.put(key, at)

    def add_failed(self, key: Key) -> float:
        """Have a worker look at a key again after a growing, jittered pause; return the pause in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(LAST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self.add_after(key, pause)
        return pause

    def forgive(self, key: Key) -> None:
        """Forget a key's failures."""
        self._failures.pop(key, None)

    async def take(self) -> Key:
        """Wait for a key; the caller must call `done` with it."""
        key = await self._ready.get()
        self._dirty.discard(key)
        self._busy.add(key)
        self._due.drop(key)  # the worker says anew when it wants to be woken
        return key

    def done(self, key: Key) -> None:
        """Give a key back."""
        self._busy.discard(key)
        if key in self._dirty:
            self._ready.put_nowait(key)

    async def run_due_times(self) -> None:
        """Add keys as they become due, until cancelled."""
        while True:
            self.add(await self._due.take())

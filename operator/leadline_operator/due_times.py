"""When something is due: one time per key, the earliest comes first.

The work queue wakes ModelDeployments by it, the sounder calls pods by it. Times are the event loop's clock in seconds.

Must not know what is due: it is for whoever waits.
"""

import asyncio
import heapq
import itertools
from typing import Final, Generic, TypeVar

K = TypeVar("K")

SPARE_ENTRIES: Final = 64
"""Superseded entries that are tolerated beyond one per key before the heap is built anew."""


class DueTimes(Generic[K]):
    """Due times by key."""

    def __init__(self) -> None:
        self._at: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of keys that have a due time."""
        return len(self._at)

    @property
    def entries(self) -> int:
        """How many entries are held, superseded ones included."""
        return len(self._heap)

    def at(self, key: K) -> float | None:
        """Return when a key is due; None: it has no due time."""
        return self._at.get(key)

    def put(self, key: K, at: float) -> None:
        """Have a key due at a time, in place of the time that it had."""
        if self._at.get(key) == at:
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, next(self._order), key))
        self._compact()
        self._changed.set()

    def drop(self, key: K) -> None:
        """Let a key be due no more."""
        self._at.pop(key, None)
        self._compact()

    async def take(self) -> K:
        """Wait until a key is due, and return it; it has no due time any more."""
        loop = asyncio.get_running_loop()
        while True:
            while self._heap and self._heap[0][0] <= loop.time():
                at, _, key = heapq.heappop(self._heap)
                if self._at.get(key) == at:
                    del self._at[key]
                    return key
            self._changed.clear()
            try:
                async with asyncio.timeout(self._heap[0][0] - loop.time() if self._heap else None):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _compact(self) -> None:
        """Build the heap anew where most of it is superseded: each addition pays for it in advance."""
        if len(self._heap) > 2 * len(self._at) + SPARE_ENTRIES:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

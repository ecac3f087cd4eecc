"""Micro-batches: requests that arrive together share one run of the model.

A request joins the newest waiting batch of its kind; `call_soon` runs what waits once the event loop has read all
sockets that were ready. So a lone request waits for nobody, and batches grow with the load alone. A model whose run is
short is run in the event loop; a slower one in one compute thread, where the next batch grows while one runs. Requests
of different inner shapes never share a run. Next step of an answer: `Batch.finish`. Must not parse or print.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import numpy as np

from leadline_runtime.engine.counters import Counters
from leadline_runtime.engine.session import Model

Array = np.ndarray[Any, np.dtype[Any]]

INLINE_SECONDS_MAX: Final = 0.0003
"""A run of one row that takes longer goes to the compute thread: it would hold up every other connection."""
INLINE_FULL_SECONDS_MAX: Final = 0.005
"""The same for a full batch."""
_ASIDE_PATIENCE_SECONDS: Final = 0.1
"""How long a low-priority run waits for an idle moment before it takes a turn anyway."""


class Batch(Protocol):
    """Requests that are run together."""

    rows: int
    created: float
    """Loop time of the oldest request, in seconds."""

    def run(self, model: Callable[[Mapping[str, Array]], list[Array]]) -> list[Array]:
        """Run the model; most batches need one run. May be called in another thread."""
        ...

    def finish(self, outputs: list[Array]) -> int:
        """Answer all requests; return how many of them failed."""
        ...

    def fail(self, error: Exception) -> int:
        """Answer all requests with the model's error; return how many there were."""

    def release(self) -> None:
        """Let the batch be used again; nothing of it is read any more."""

    @property
    def requests(self) -> int:
        """How many requests there are."""

    @property
    def is_counted(self) -> bool:
        """Tell whether the requests are clients'; copies of others' requests are not."""


class Batcher:
    """The queue in front of one model."""

    def __init__(
        self,
        model: Model,
        counters: Counters,
        *,
        max_rows: int,
        max_queue_rows: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.model = model
        self.max_rows = max_rows
        self.max_queue_rows = max_queue_rows
        self.queue_rows = 0
        """Rows that wait or run."""
        self.inline = model.row_seconds <= INLINE_SECONDS_MAX and model.full_seconds <= INLINE_FULL_SECONDS_MAX
        self.accepted = 0
        """Batches so far: a test set run sees by it whether requests come."""
        self.waiting: deque[Batch] = deque()
        """Requests may join the last one for as long as it is here."""
        self.loop = loop
        self._counters = counters
        self._scheduled = False
        self._running: list[Batch] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._settling: list[tuple[set[Batch], asyncio.Future[None]]] = []

    def has_room(self, rows: int) -> bool:
        """Tell whether that many rows may join the queue; a lone request of any size always may."""
        return self.queue_rows + rows <= self.max_queue_rows or not self.queue_rows

    def add(self, batch: Batch) -> None:
        """Let a new batch wait; requests may join it until it runs."""
        self.accepted += 1
        batch.created = self.loop.time()
        self.waiting.append(batch)
        if not self._scheduled and (self.inline or not self._running):
            self._scheduled = True
            self.loop.call_soon(self._flush)

    async def settle(self) -> None:
        """Wait until every batch that holds a request by now has been answered."""
        if self.inline:
            self._flush()
        pending = {*self.waiting, *self._running}
        if pending:
            settled = self.loop.create_future()
            self._settling.append((pending, settled))
            await settled

    async def run_aside(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Run at low priority: when nothing waits, or after a short while if something always does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ASIDE_PATIENCE_SECONDS):
                await self.settle()
        if self.inline:
            return self.model.run(arrays)
        return await self.loop.run_in_executor(self._executor, self.model.run, arrays)

    def close(self) -> None:
        """End the compute thread; a run that is on its way is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _flush(self) -> None:
        self._scheduled = False
        waiting = self.waiting
        while waiting:
            if self._running and not self.inline:
                return
            batch = waiting.popleft()
            if self.inline and batch.rows <= self.max_rows:
                self._run_here(batch)
            else:
                self._running.append(batch)
                running = self.loop.run_in_executor(self._executor, batch.run, self.model.run)
                running.add_done_callback(functools.partial(self._done, batch))

    def _run_here(self, batch: Batch) -> None:
        try:
            failures = batch.finish(batch.run(self.model.run))
        except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no common root
            failures = batch.fail(error)
        self._count(batch, failures)

    def _done(self, batch: Batch, done: asyncio.Future[list[Array]]) -> None:
        self._running.remove(batch)
        if not done.cancelled():
            try:
                failures = batch.finish(done.result())
            except Exception as error:  # noqa: BLE001  # as above
                failures = batch.fail(error)
            self._count(batch, failures)
        self._flush()

    def _count(self, batch: Batch, failures: int) -> None:
        self.queue_rows -= batch.rows
        if batch.is_counted:
            self._counters.failures += failures
            self._counters.observe(batch.requests, batch.rows, self.loop.time() - batch.created)
        if self._settling:
            self._settle(batch)
        batch.release()

    def _settle(self, batch: Batch) -> None:
        for pending, settled in self._settling:
            pending.discard(batch)
            if not pending and not settled.done():
                settled.set_result(None)
        self._settling = [(pending, settled) for pending, settled in self._settling if pending]

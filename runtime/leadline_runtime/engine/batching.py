"""Micro-batches: requests that arrive together share one run of the model.

A request joins the newest waiting batch of its kind; `call_soon` runs what waits once the event loop has read all
sockets that were ready. So a lone request waits for nobody, and batches grow with the load alone. A model whose run is
short is run in the event loop; a slower one in one compute thread, where the next batch grows while one runs. The first
measure is the warm-up's, on zeros; runs in the event loop are measured for as long as they happen there, and a model
that turns out slow on real input leaves it. Requests of different inner shapes never share a run. Where a shared run
fails, each request is run alone: one that the model cannot answer fails nobody else's. What has waited too long is not
run any more. Next step of an answer: `Batch.finish`. Must not parse or print.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import numpy as np

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.engine.session import Model

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[Mapping[str, Array]], list[Array]]

INLINE_SECONDS_MAX: Final = 0.0003
"""A run of one row that takes longer goes to the compute thread: it would hold up every other connection."""
INLINE_FULL_SECONDS_MAX: Final = 0.005
"""The same for a full batch."""
SLOW_RUNS_MAX: Final = 20
"""Slow runs in the event loop, two less for each quick one, after which the model leaves it for good. So most runs must be
slow: on a machine where a third of them are interrupted, chance alone brings it there once in 10^9 tries."""
_clock: Final = time.perf_counter
"""The event loop's own clock counts milliseconds; most runs are shorter."""
_ASIDE_PATIENCE_SECONDS: Final = 0.1
"""How long a low-priority run waits for an idle moment before it takes a turn anyway."""


class Batch(Protocol):
    """Requests that are run together."""

    rows: int
    created: float
    """When its oldest request came, in seconds of the performance counter."""

    @property
    def input_bytes(self) -> int:
        """Bytes of its arrays that the queue counts."""

    def run(self, model: Run) -> list[Array]:
        """Run the model; most batches need one run. May be called in another thread."""
        ...

    def finish(self, outputs: list[Array]) -> int:
        """Answer all requests; return how many of them failed."""
        ...

    def apart(self, error: Exception) -> Sequence[Batch]:
        """Return each request as a batch of its own after a run that failed; none where that would be no other run."""

    def fail(self, error: Exception) -> int:
        """Answer all requests with the model's error; return how many there were."""

    def turn_away(self, status: int, message: str) -> None:
        """Refuse all requests without a run."""

    def release(self) -> None:
        """Let the batch be used again; nothing of it is read any more."""

    @property
    def requests(self) -> int:
        """How many requests there are."""

    @property
    def is_counted(self) -> bool:
        """Tell whether the requests are clients'; copies of others' requests are not."""

    def protocols(self) -> Mapping[str, int]:
        """Return how many requests are answered in which protocol; those that are not told are answered as JSON."""


class Batcher:
    """The queue in front of one model."""

    def __init__(
        self,
        model: Model,
        counters: Counters,
        *,
        max_rows: int,
        max_queue_rows: int,
        max_queue_bytes: int = 1 << 30,
        loop: asyncio.AbstractEventLoop,
        wait_seconds_max: float = 30.0,
    ) -> None:
        self.model = model
        self.max_rows = max_rows
        self.max_queue_rows = max_queue_rows
        self.max_queue_bytes = max_queue_bytes
        self.queue_rows = 0
        """Rows that wait or run."""
        self.queue_bytes = 0
        """Of their arrays, where these are not packed."""
        self.wait_seconds_max = wait_seconds_max
        """A batch whose oldest request has waited longer is answered 503 and not run."""
        self.inline = model.row_seconds <= INLINE_SECONDS_MAX and model.full_seconds <= INLINE_FULL_SECONDS_MAX
        self.accepted = 0
        """Batches so far: a test set run sees by it whether requests come."""
        self.waiting: deque[Batch] = deque()
        """Requests may join the last one for as long as it is here."""
        self.loop = loop
        self._counters = counters
        self._scheduled = False
        self._slow_runs = 0
        """Of those in the event loop, less two for each quick one; never below zero."""
        self._row_seconds_max = (INLINE_FULL_SECONDS_MAX - INLINE_SECONDS_MAX) / max(1, max_rows)
        self._running: list[Batch] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._settling: list[tuple[set[Batch], asyncio.Future[None]]] = []

    def has_room(self, rows: int, input_bytes: int) -> bool:
        """Tell whether so much may join the queue; a lone request of any size always may."""
        return (
            self.queue_rows + rows <= self.max_queue_rows and self.queue_bytes + input_bytes <= self.max_queue_bytes
        ) or not self.queue_rows

    def turned_away(self, *, is_counted: bool) -> None:
        """Count a request that found no room; copies of others' requests are not counted."""
        if is_counted:
            self._counters.full += 1

    def add(self, batch: Batch) -> None:
        """Let a new batch wait; requests may join it until it runs."""
        self.accepted += 1
        batch.created = _clock()
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

    def expire(self) -> None:
        """Turn away what has waited too long, while a run that takes its time goes on."""
        now = _clock()
        while self.waiting and now - self.waiting[0].created > self.wait_seconds_max:
            self._turn_away(self.waiting.popleft(), now)

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
            began = _clock()
            if began - batch.created > self.wait_seconds_max:
                self._turn_away(batch, began)
            elif self.inline and batch.rows <= self.max_rows:
                self._run_here(batch, began)
            else:
                self._running.append(batch)
                running = self.loop.run_in_executor(self._executor, _timed, batch, self.model.run)
                running.add_done_callback(functools.partial(self._done, batch, began))

    def _run_here(self, batch: Batch, began: float) -> None:
        ended = began
        try:
            outputs = batch.run(self.model.run)
        except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no common root
            failures = _finish_apart(batch, _run_apart(batch, error, self.model.run), error)
        else:
            ended = _clock()
            try:
                failures = batch.finish(outputs)
            except Exception as error:  # noqa: BLE001  # a defect of ours must not leave clients without an answer
                failures = batch.fail(error)
        run_seconds = ended - began
        if run_seconds > INLINE_SECONDS_MAX + batch.rows * self._row_seconds_max:
            self._found_slow(run_seconds, batch.rows)
        elif self._slow_runs:
            self._slow_runs = max(0, self._slow_runs - 2)
        self._count(batch, failures, began, run_seconds)

    def _found_slow(self, run_seconds: float, rows: int) -> None:
        """Leave the event loop where slow runs are the rule: on a busy machine, a single one may be slow by chance."""
        self._slow_runs += 1
        if self._slow_runs >= SLOW_RUNS_MAX:
            self.inline = False
            logs.info("model is slower than it was at first and leaves the event loop", seconds=run_seconds, rows=rows)

    def _done(self, batch: Batch, began: float, done: asyncio.Future[tuple[Callable[[], int], float]]) -> None:
        self._running.remove(batch)
        if not done.cancelled():
            run_seconds = 0.0
            try:
                finish, run_seconds = done.result()
                failures = finish()
            except Exception as error:  # noqa: BLE001  # as above
                failures = batch.fail(error)
            self._count(batch, failures, began, run_seconds)
        self._flush()

    def _count(self, batch: Batch, failures: int, began: float, run_seconds: float) -> None:
        self.queue_rows -= batch.rows
        self.queue_bytes -= batch.input_bytes
        if batch.is_counted:
            created = batch.created
            self._counters.failures += failures
            for protocol, requests in batch.protocols().items():
                self._counters.protocols[protocol] += requests
            self._counters.observe(
                batch.requests,
                batch.rows,
                wait_seconds=began - created,
                run_seconds=run_seconds,
                seconds=_clock() - created,
            )
        if self._settling:
            self._settle(batch)
        batch.release()

    def _turn_away(self, batch: Batch, now: float) -> None:
        waited = now - batch.created
        self.queue_rows -= batch.rows
        self.queue_bytes -= batch.input_bytes
        if batch.is_counted:
            self._counters.late += batch.requests
        batch.turn_away(503, f"waited {waited:.1f} s for the model, limit {self.wait_seconds_max:g} s; not run")
        if self._settling:
            self._settle(batch)
        batch.release()

    def _settle(self, batch: Batch) -> None:
        for pending, settled in self._settling:
            pending.discard(batch)
            if not pending and not settled.done():
                settled.set_result(None)
        self._settling = [(pending, settled) for pending, settled in self._settling if pending]


def _timed(batch: Batch, model: Run) -> tuple[Callable[[], int], float]:
    """Run in the compute thread; return what answers the requests, and the seconds of the run."""
    began = _clock()
    try:
        outputs = batch.run(model)
    except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no common root
        return functools.partial(_finish_apart, batch, _run_apart(batch, error, model), error), 0.0
    return functools.partial(batch.finish, outputs), _clock() - began


def _run_apart(batch: Batch, error: Exception, model: Run) -> list[tuple[Batch, list[Array] | Exception]]:
    """Run the requests of a failed run one by one; return each with its outputs or its own error."""
    results: list[tuple[Batch, list[Array] | Exception]] = []
    for part in batch.apart(error):
        try:
            results.append((part, part.run(model)))
        except Exception as own:  # noqa: BLE001  # as above
            results.append((part, own))
    return results


def _finish_apart(batch: Batch, results: Sequence[tuple[Batch, list[Array] | Exception]], error: Exception) -> int:
    """Answer the requests of a failed run; return how many of them failed."""
    if not results:
        return batch.fail(error)
    return sum(part.fail(found) if isinstance(found, Exception) else part.finish(found) for part, found in results)

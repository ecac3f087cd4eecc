"""A few kept connections to one target, one request at a time on each, and a bounded queue in front of them.

`forwarding` passes clients' requests on with it, `ledger` brings outcomes. What an answer means, and what the lack of
one means, is for them to say: each job's `done` is called once. Must not read bodies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from leadline_runtime import logs
from leadline_runtime.worker.links import Answer, HeaderLink, Job, Link, Target, connect

CONNECT_SECONDS: Final = 5.0
QUEUE_BYTES_MAX: Final = 64 << 20
"""Of requests that wait for a connection."""
_TICK_SECONDS: Final = 0.25


class Pool:
    """Connections to one target at a time."""

    def __init__(
        self,
        title: str,
        loop: asyncio.AbstractEventLoop,
        *,
        links_max: int,
        queue_max: int,
        make: type[Link[Job]] = HeaderLink,
    ) -> None:
        self._title = title
        """For the log, e.g. `forward target`."""
        self._loop = loop
        self._links_max = links_max
        self._queue_max = queue_max
        self._make = make
        self.target: Target | None = None
        self.unreachable = ""
        """Why there is no connection; empty: the last answer came, or nothing was asked yet."""
        self._idle: list[Link[Job]] = []
        self._links: set[Link[Job]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._queue: deque[Job] = deque()
        self._queue_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def aim(self, target: Target | None) -> None:
        """Send to this target from now on; None: nowhere."""
        if target == self.target:
            return
        self.target = target
        self.unreachable = ""
        for link in self._idle:
            link.close()
        self._idle = []

    def send(self, job: Job) -> bool:
        """Send a request when a connection is free; return whether there was room for it to wait."""
        size = len(job.request)
        if len(self._queue) >= self._queue_max or (self._queue and self._queue_bytes + size > QUEUE_BYTES_MAX):
            return False
        self._queue.append(job)
        self._queue_bytes += size
        self._pump()
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)
        return True

    def close(self) -> None:
        """Cut all connections."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening:
            task.cancel()
        for link in list(self._links):
            link.close()

    # What links call

    def opened(self, link: Link[Job]) -> None:
        """Note a new link."""
        self._links.add(link)

    def finished(self, link: Link[Job], job: Job, answer: Answer, *, reusable: bool) -> None:
        """Hand an answer on, and use the link again."""
        self.unreachable = ""
        job.done(answer)
        if reusable and link.target == self.target:
            self._idle.append(link)
            self._pump()
        else:
            link.close()

    def lost(self, link: Link[Job], jobs: Sequence[Job], *, answered: bool) -> None:
        """Note that a link ended; try its request once more if the target may never have seen it.

        A kept connection can end just as a request is written to it. Asking again is safe: inference changes nothing,
        and the ledger takes everything once.
        """
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if not jobs:
            self._pump()
        for job in jobs:
            if job.retried or answered:
                job.done(None)
            else:
                job.retried = True
                self._queue.appendleft(job)
                self._queue_bytes += len(job.request)
                self._pump(fresh=True)

    # Inside

    def _next(self) -> Job:
        job = self._queue.popleft()
        self._queue_bytes -= len(job.request)
        return job

    def _pump(self, *, fresh: bool = False) -> None:
        while self._queue and self._idle and not fresh:
            job = self._next()
            self._idle.pop().send(job, job.request)
        missing = len(self._queue) - len(self._opening)
        for _ in range(min(missing, self._links_max - len(self._links) - len(self._opening))):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        target = self.target
        if target is None:
            while self._queue:
                self._next().done(None)
            return
        try:
            link = await connect(self._loop, lambda: self._make(self, target), target, seconds=CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            if not self.unreachable:
                # Logged when it changes, not with every request.
                logs.warning(f"{self._title} does not answer", target=target.name, host=target.host, error=error)
            self.unreachable = str(error) or f"no connection within {CONNECT_SECONDS:g} s"
            if self._queue:
                self._next().done(None)
            return
        if target != self.target:
            link.close()  # nothing is to go there any more
            await self._open()
        elif self._queue:
            job = self._next()
            link.send(job, job.request)
        else:
            self._idle.append(link)

    def _tick(self) -> None:
        now = self._loop.time()
        while self._queue and self._queue[0].deadline < now:
            self._next().done(None)
        for link in list(self._links):
            if link.jobs and link.jobs[0].deadline < now:
                link.jobs[0].retried = True
                link.close()
        busy = self._queue or any(link.jobs for link in self._links)
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick) if busy else None

"""Passing a demoted pod's public requests on to the serving revision.

A client that keeps its connection must not meet the demoted model: its request goes on as it came to the serving
revision's own port, and the answer comes back with `connection: close`. Connections to the target are pooled and
bounded, and so is the queue for them. A target that is gone means 503, never an answer of the own model. Next step of
an answer: `Connection.answer`. Must not know the model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from leadline_wire import exchange

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.web.connection import Connection
from leadline_runtime.worker.links import Job, Link

LINKS_MAX: Final = 64
"""Connections to the target."""
QUEUE_MAX: Final = 1_024
"""Requests that wait for one of them."""
TIMEOUT_SECONDS: Final = 10.0
"""From a request's arrival to the end of its answer."""
_TICK_SECONDS: Final = 0.25


class Forwarder:
    """Forwards to one target at a time."""

    def __init__(self, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._counters = counters
        self._loop = loop
        self._target: exchange.Forward | None = None
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._queue: deque[Job] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_answered = True
        """Logged when it changes, not with every request."""

    def aim(self, target: exchange.Forward | None) -> None:
        """Forward to this target from now on; None: answer 503."""
        if target == self._target:
            return
        self._target = target
        for link in self._idle:
            link.close()
        self._idle = []

    def handle(self, connection: Connection) -> None:
        """Pass one request on."""
        if self._target is None:
            self._counters.unforwarded += 1
            connection.refuse(503, "this revision is on standby and has no revision to pass the request on to")
            return
        if len(self._queue) >= QUEUE_MAX:
            self._counters.unforwarded += 1
            connection.refuse(503, f"{QUEUE_MAX} requests wait to be passed on, the limit")
            return
        self._queue.append(Job(connection, self._loop.time() + TIMEOUT_SECONDS))
        self._pump()
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def close(self) -> None:
        """Cut all connections to the target."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening:
            task.cancel()
        for link in list(self._links):
            link.close()

    # What links call

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._links.add(link)

    def finished(self, link: Link, job: Job, answer: bytes, *, reusable: bool) -> None:
        """Send an answer back, and use the link again."""
        self._counters.forwarded += 1
        self._is_answered = True
        job.connection.answer(answer)
        if reusable and link.target == self._target:
            self._idle.append(link)
            self._pump()
        else:
            link.close()

    def lost(self, link: Link, job: Job | None, *, answered: bool) -> None:
        """Note that a link ended; try its request once more if the target may never have seen it.

        A kept connection can end just as a request is written to it. Inference changes nothing at the target, so asking
        again is safe.
        """
        self._links.discard(link)
        if link in self._idle:
            self._idle.remove(link)
        if job is None:
            self._pump()
        elif job.retried or answered:
            self._give_up(job)
        else:
            job.retried = True
            self._queue.appendleft(job)
            self._pump(fresh=True)

    # Inside

    def _pump(self, *, fresh: bool = False) -> None:
        while self._queue and self._idle and not fresh:
            self._idle.pop().send(self._queue.popleft())
        missing = len(self._queue) - len(self._opening)
        for _ in range(min(missing, LINKS_MAX - len(self._links) - len(self._opening))):
            task = self._loop.create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        target = self._target
        if target is None:
            self._give_up_all()
            return
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS / 2):
                _, link = await self._loop.create_connection(
                    lambda: Link(self, target),
                    target.host,
                    target.port,
                )
        except (OSError, TimeoutError) as error:
            if self._is_answered:
                self._is_answered = False
                logs.warning("forward target does not answer", target=target.revision, host=target.host, error=error)
            if self._queue:
                self._give_up(self._queue.popleft())
            return
        if self._queue:
            link.send(self._queue.popleft())
        else:
            self._idle.append(link)

    def _tick(self) -> None:
        now = self._loop.time()
        while self._queue and self._queue[0].deadline < now:
            self._give_up(self._queue.popleft())
        for link in list(self._links):
            if link.job is not None and link.job.deadline < now:
                link.job.retried = True
                link.close()
        busy = self._queue or any(link.job is not None for link in self._links)
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick) if busy else None

    def _give_up(self, job: Job) -> None:
        self._counters.unforwarded += 1
        revision = self._target.revision if self._target is not None else "none"
        job.connection.refuse(503, f"this revision is on standby, and the serving one ({revision}) does not answer")

    def _give_up_all(self) -> None:
        while self._queue:
            self._give_up(self._queue.popleft())

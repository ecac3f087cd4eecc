"""Passing a demoted pod's public requests on to the serving revision.

A client that keeps its connection must not meet the demoted model: its request goes on as it came to the serving
revision's own port, and the answer comes back with `connection: close`. Connections to the target are pooled and
bounded, and so is the queue for them. A target that is gone means 503, never an answer of the own model. Next step of
an answer: `Connection.answer`. Must not know the model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

import httptools
from leadline_wire import exchange

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

LINKS_MAX: Final = 64
"""Connections to the target."""
QUEUE_MAX: Final = 1_024
"""Requests that wait for one of them."""
TIMEOUT_SECONDS: Final = 10.0
"""From a request's arrival to the end of its answer."""
_ANSWER_BYTES_MAX: Final = 64 << 20
_TICK_SECONDS: Final = 0.25
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    },
)
"""RFC 9110, 7.6.1, and what is counted anew."""


class _Job:
    """One request on its way."""

    __slots__ = ("connection", "deadline", "is_head", "request", "retried")

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.is_head = connection.method == b"HEAD"
        self.request = _rebuilt(connection)
        self.retried = False


class Forwarder:
    """Forwards to one target at a time."""

    def __init__(self, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._counters = counters
        self._loop = loop
        self._target: exchange.Forward | None = None
        self._idle: list[_Link] = []
        self._links: set[_Link] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._queue: deque[_Job] = deque()
        self._timer: asyncio.TimerHandle | None = None

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
        self._queue.append(_Job(connection, self._loop.time() + TIMEOUT_SECONDS))
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

    def opened(self, link: _Link) -> None:
        """Note a new link."""
        self._links.add(link)

    def finished(self, link: _Link, job: _Job, answer: bytes, *, reusable: bool) -> None:
        """Send an answer back, and use the link again."""
        self._counters.forwarded += 1
        job.connection.answer(answer)
        if reusable and link.target == self._target:
            self._idle.append(link)
            self._pump()
        else:
            link.close()

    def lost(self, link: _Link, job: _Job | None, *, answered: bool) -> None:
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
                    lambda: _Link(self, target),
                    target.host,
                    target.port,
                )
        except (OSError, TimeoutError) as error:
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

    def _give_up(self, job: _Job) -> None:
        self._counters.unforwarded += 1
        revision = self._target.revision if self._target is not None else "none"
        job.connection.refuse(503, f"this revision is on standby, and the serving one ({revision}) does not answer")

    def _give_up_all(self) -> None:
        while self._queue:
            self._give_up(self._queue.popleft())


class _Link(asyncio.Protocol):
    """One connection to the target; one request at a time."""

    def __init__(self, forwarder: Forwarder, target: exchange.Forward) -> None:
        self.target = target
        self.job: _Job | None = None
        self._forwarder = forwarder
        self._lines: list[bytes] = []
        self._body: list[bytes] = []
        self._start()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._forwarder.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        job, self.job = self.job, None
        self._forwarder.lost(self, job, answered=self._begun)

    def send(self, job: _Job) -> None:
        """Send a request."""
        self.job = job
        if self._transport.is_closing():
            return  # `connection_lost` follows and takes care of the job
        self._transport.write(job.request)

    def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.job is None:
            self.close()  # nothing was asked
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _HOP_BY_HOP:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        if self.job is not None and self.job.is_head and self._parser.get_status_code() >= 200:
            # An answer to HEAD has a length and no body, which the parser cannot know.
            self._finish(reusable=False)

    def on_body(self, part: bytes) -> None:
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > _ANSWER_BYTES_MAX:
            self.close()

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            self._lines = []
            return
        self._finish(reusable=self._parser.should_keep_alive())

    def _finish(self, *, reusable: bool) -> None:
        job, self.job = self.job, None
        if job is None:
            return
        body = b"".join(self._body)
        status = self._parser.get_status_code()
        lines = b"".join(self._lines)
        if not job.is_head:
            lines += b"content-length: %d\r\n" % len(body)
        answer = b"%b%b\r\n%b" % (responses.first_line(status), lines, body)
        self._start()
        self._forwarder.finished(self, job, answer, reusable=reusable)

    def _start(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._lines = []
        self._body = []
        self._body_bytes = 0
        self._begun = False


def _rebuilt(connection: Connection) -> bytes:
    """Return the request as it came, with its body in one piece."""
    lines = b"".join(
        b"%b: %b\r\n" % (name, value) for name, value in connection.headers.items() if name not in _HOP_BY_HOP
    )
    body = connection.body
    return b"%b %b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (
        connection.method,
        connection.target,
        lines,
        len(body),
        body,
    )

"""One connection to the serving revision, and one request on its way there.

`forwarding` decides which request goes where and what a failure means; here are the bytes: the request as it came, less
what belongs to a single hop, and the answer put together again. Must not decide anything.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

import httptools
from leadline_wire import exchange

from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

_ANSWER_BYTES_MAX: Final = 64 << 20
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


class Job:
    """One request on its way."""

    __slots__ = ("connection", "deadline", "is_head", "request", "retried")

    def __init__(self, connection: Connection, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.is_head = connection.method == b"HEAD"
        self.request = _rebuilt(connection)
        self.retried = False


class Owner(Protocol):
    """What a link tells of itself; see `forwarding.Forwarder`."""

    def opened(self, link: Link) -> None:
        """Note a new link."""

    def finished(self, link: Link, job: Job, answer: bytes, *, reusable: bool) -> None:
        """Take a whole answer."""

    def lost(self, link: Link, job: Job | None, *, answered: bool) -> None:
        """Note that a link ended, perhaps with a request under way, perhaps in the midst of its answer."""


class Link(asyncio.Protocol):
    """One connection to the target; one request at a time."""

    def __init__(self, owner: Owner, target: exchange.Forward) -> None:
        self.target = target
        self.job: Job | None = None
        self._owner = owner
        self._lines: list[bytes] = []
        self._body: list[bytes] = []
        self._start()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Hand back a request that is not answered."""
        job, self.job = self.job, None
        self._owner.lost(self, job, answered=self._begun)

    def send(self, job: Job) -> None:
        """Send a request."""
        self.job = job
        if self._transport.is_closing():
            return  # `connection_lost` follows and takes care of the job
        self._transport.write(job.request)

    def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods."""
        if self.job is None:
            self.close()  # nothing was asked
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that is meant for the client."""
        name = name.lower()
        is_length_for_head = name == b"content-length" and self.job is not None and self.job.is_head
        if name not in _HOP_BY_HOP or is_length_for_head:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        """End an answer to HEAD."""
        if self.job is not None and self.job.is_head and self._parser.get_status_code() >= 200:
            # An answer to HEAD has a length and no body, which the parser cannot know.
            self._finish(reusable=False)

    def on_body(self, part: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(part)
        self._body_bytes += len(part)
        if self._body_bytes > _ANSWER_BYTES_MAX:
            self.close()

    def on_message_complete(self) -> None:
        """End an answer; an early one (1xx) is passed over."""
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
        self._owner.finished(self, job, answer, reusable=reusable)

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

"""One kept HTTP/1.1 connection from the worker to somebody else, and the requests on their way over it.

Requests passed on, copies and calls of the ledger all go this way: bytes out, answers back in the order of the
requests. `pool` has one request per link under way, `copying` as many as fit. Must not decide anything.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar, cast

import httptools

J = TypeVar("J")
L = TypeVar("L", bound="Link[Any]")
J_contra = TypeVar("J_contra", contravariant=True)
L_contra = TypeVar("L_contra", bound="Link[Any]", contravariant=True)
_ANSWER_BYTES_MAX: Final = 64 << 20
HOP_BY_HOP: Final = frozenset(
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


@dataclass(frozen=True, slots=True)
class Target:
    """Who is at the other end."""

    name: str
    """For messages: a revision, or `ledger`."""
    host: str
    port: int
    is_tls: bool = False


class Answer(NamedTuple):
    """One whole answer."""

    status: int
    lines: bytes
    """Header lines that are meant for the end of the chain; empty where the link does not keep them."""
    body: bytes


class Job:
    """One request on its way by itself; `done` is called once, with None where nobody answered."""

    __slots__ = ("deadline", "done", "is_head", "request", "retried")

    def __init__(
        self,
        request: bytes,
        deadline: float,
        done: Callable[[Answer | None], None],
        *,
        is_head: bool = False,
    ) -> None:
        self.request = request
        self.deadline = deadline
        """Loop time."""
        self.done = done
        self.is_head = is_head
        self.retried = False


class Owner(Protocol[L_contra, J_contra]):
    """What a link tells of itself."""

    def opened(self, link: L_contra) -> None:
        """Note a new link."""

    def finished(self, link: L_contra, job: J_contra, answer: Answer, *, reusable: bool) -> None:
        """Take a whole answer."""

    def lost(self, link: L_contra, jobs: Sequence[J_contra], *, answered: bool) -> None:
        """Note that a link ended, perhaps with requests under way, perhaps in the midst of the first one's answer."""


class Link(asyncio.Protocol, Generic[J]):
    """One connection to a target; a job is whatever its owner knows a request by."""

    def __init__(self, owner: Owner[Any, J], target: Target) -> None:
        self.target = target
        self.jobs: deque[J] = deque()
        """Sent and not answered, oldest first."""
        self._owner = owner
        self._lines: list[bytes] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._begun = False
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._owner.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Hand back what is not answered."""
        jobs = list(self.jobs)
        self.jobs.clear()
        self._owner.lost(self, jobs, answered=self._begun)
        # Parser and link hold each other.
        del self._parser

    @property
    def unsent_bytes(self) -> int:
        """What the other side has not taken yet."""
        return self._transport.get_write_buffer_size()

    def send(self, job: J, request: bytes) -> None:
        """Send a request."""
        self.jobs.append(job)
        self.write(request)

    def write(self, requests: bytes) -> None:
        """Write requests whose jobs are noted."""
        if not self._transport.is_closing():  # else `connection_lost` follows and takes care of the jobs
            self._transport.write(requests)

    def close(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods."""
        if not self.jobs:
            self.close()  # nothing was asked
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()

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
        self.finish(reusable=self._parser.should_keep_alive())

    def finish(self, *, reusable: bool) -> None:
        """Hand the answer that is complete to its owner."""
        if not self.jobs:
            self.close()  # more answers than requests
            return
        job = self.jobs.popleft()
        body, lines = b"".join(self._body), b"".join(self._lines)
        self._body, self._lines = [], []
        self._body_bytes = 0
        self._begun = False
        self._owner.finished(self, job, Answer(self._parser.get_status_code(), lines, body), reusable=reusable)


class HeaderLink(Link[Job]):
    """A link that keeps the headers of answers, and knows what an answer to HEAD looks like."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that is meant for the client."""
        name = name.lower()
        is_length_for_head = name == b"content-length" and self.jobs and self.jobs[0].is_head
        if name not in HOP_BY_HOP or is_length_for_head:
            self._lines.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        """End an answer to HEAD."""
        if self.jobs and self.jobs[0].is_head and self._parser.get_status_code() >= 200:
            # An answer to HEAD has a length and no body, which the parser cannot know.
            self.finish(reusable=False)


async def connect(loop: asyncio.AbstractEventLoop, make: Callable[[], L], target: Target, *, seconds: float) -> L:
    """Return a new link.

    Raises:
        OSError: There is nobody, or not within these seconds (TimeoutError).
    """
    context = ssl.create_default_context() if target.is_tls else None
    async with asyncio.timeout(seconds):
        _, link = await loop.create_connection(make, target.host, target.port, ssl=context)
    return link

"""One HTTP/1.1 connection: bytes in, one request at a time to the application, answers out in order.

llhttp (httptools) parses; here are the limits, the order of answers, backpressure and the ways a connection ends.
Requests that a client sends ahead wait in `_waiting` until the one before is answered, so an answer always belongs to
the request that the connection shows. This is the hottest Python code of the runtime: no object per request, no timer,
and rare cases behind one test. Must not know what is served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

import httptools

from leadline_runtime.web import responses

if TYPE_CHECKING:
    from leadline_runtime.web.server import Server

SLOWEST_BYTES_PER_SECOND: Final = 50_000
"""A body may take `body_seconds` plus its bytes so far at this rate: slow lines pass, a byte a second does not."""
_WAITING_HIGH: Final = 8
"""Requests sent ahead before we stop reading; one read can bring more, but no more than its bytes hold."""
_LINGER_SECONDS: Final = 2.0
"""How long we read and drop what a refused client still sends: closing at once would reset the connection, and the
client would see that instead of the answer."""
_LINGER_BYTES: Final = 4 << 20

_IDLE, _HEAD, _BODY, _LINGERING = range(4)
_RARE_HEADERS: Final = frozenset({b"transfer-encoding", b"expect"})

_Waiting = tuple[bytes, bytes, dict[bytes, bytes], bytes, bool]


class Connection(asyncio.Protocol):
    """The protocol of one connection; `Server.connection` makes them.

    Attributes:
        method, target, headers, body: The request to be answered; header names in lower case, target as sent.
    """

    __slots__ = (
        "_busy",
        "_checked",
        "_chunks",
        "_fed_bytes",
        "_head",
        "_keep",
        "_parser",
        "_paused",
        "_received_bytes",
        "_server",
        "_since",
        "_state",
        "_target",
        "_transport",
        "_waiting",
        "_write",
        "body",
        "headers",
        "method",
        "target",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._state = _IDLE
        self._busy = False
        self._paused = False
        self._keep = True
        self._fed_bytes = 0
        self._received_bytes = 0
        self._since = server.now
        self._chunks: list[bytes] = []
        self._waiting: deque[_Waiting | bytes] = deque()
        self._head: dict[bytes, bytes] = {}
        self._checked = self._head
        self._target = b""
        self._parser = httptools.HttpRequestParser(self)
        self.method = self.target = self.body = b""
        self.headers: dict[bytes, bytes] = {}

    # What the application uses

    def answer(self, answer: bytes) -> None:
        """Send the answer to the current request: a whole HTTP answer, as `responses` makes them."""
        if not self._keep or (self._server.closing and not self._waiting):
            self.answer_and_close(answer)
            return
        self._write(answer)
        self._busy = False
        self._since = self._server.now
        if self._waiting:
            self._next()

    def answer_and_close(self, answer: bytes) -> None:
        """Send the answer to the current request as the connection's last one."""
        if self._state == _LINGERING and not self._busy:
            return
        answer = responses.closing(answer)
        if self.method == b"HEAD":
            answer = responses.without_body(answer)
        self._write(answer)
        self._busy = False
        self._waiting.clear()
        if self._state == _IDLE:
            self._transport.close()
        else:
            self._linger()

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Answer the current request with an error and keep the connection; `extra` holds whole header lines."""
        self._server.count_refusal(status)
        answer = responses.error(status, message, extra=extra)
        self.answer(responses.without_body(answer) if self.method == b"HEAD" else answer)

    @property
    def is_open(self) -> bool:
        """Tell whether an answer can still reach the client."""
        return self in self._server.connections

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        server = self._server
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write
        if len(server.connections) >= server.limits.connections:
            server.count_refusal(503)
            answer = responses.error(503, f"this pod holds {server.limits.connections} connections, its limit")
            self._write(responses.closing(answer))
            self._linger()
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forget the connection; an answer that is still being worked on is dropped."""
        self._server.connections.discard(self)
        self._state = _LINGERING
        self._write = _discard
        self._waiting.clear()

    def eof_received(self) -> bool:
        """Keep the way back open for a client that shut down its sending side and waits for its answer."""
        if not self._busy:
            return False
        last = self._waiting[-1] if self._waiting else None
        if last is None:
            self._keep = False
        elif not isinstance(last, bytes):
            self._waiting[-1] = (*last[:4], False)
        return True

    def pause_writing(self) -> None:
        """Stop reading while the client does not read: what it asks for must not pile up here."""
        self._paused = True
        self._since = self._server.now
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on once the client has read."""
        self._paused = False
        self._since = self._server.now
        if len(self._waiting) < _WAITING_HIGH:
            self._transport.resume_reading()
        if self._waiting and not self._busy:
            self._next()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods."""
        if self._state == _LINGERING:
            self._fed_bytes += len(data)
            if self._fed_bytes > _LINGER_BYTES:
                self.abort()
            return
        self._fed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._parser.get_method() == b"CONNECT":
                self._fail(405, "CONNECT is not offered here")
            elif len(data) > upgrade.args[0]:
                # RFC 9110, 7.8: a server may ignore an upgrade, and goes on in HTTP/1.1 (Java's client always offers one).
                self.data_received(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if self._state != _LINGERING:
                self._fail(400, f"not a valid HTTP/1.1 request: {error}")
        else:
            if self._state == _HEAD and self._fed_bytes > self._server.limits.head_bytes:
                self._fail(431, f"request head is larger than {self._server.limits.head_bytes} bytes")
            elif self._state == _BODY and self._fed_bytes > self._raw_limit():
                # Chunk sizes, extensions and trailers count as well.
                self._fail(413, f"request is larger than {self._server.limits.body_bytes} bytes")

    # What the parser calls

    def on_message_begin(self) -> None:
        """Start a request."""
        if self._state == _LINGERING:
            return
        self._state = _HEAD
        if not self._busy:
            self._since = self._server.now
        self._head = {}
        self._target = b""
        self._chunks = []
        self._received_bytes = 0

    def on_url(self, part: bytes) -> None:
        """Take a piece of the request target."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; repeated ones are joined as RFC 9110 has it."""
        name = name.lower()
        head = self._head
        if name in head:
            value = b"%b, %b" % (head[name], value)
        head[name] = value

    def on_headers_complete(self) -> None:
        """Check the head before any byte of the body is taken."""
        if self._state == _LINGERING:
            return
        self._state = _BODY
        # Trailers come through `on_header` as well and must not change a head that has been checked.
        head = self._checked = self._head
        self._head = {}
        limits = self._server.limits
        if not 0 < self._fed_bytes <= limits.head_bytes and _head_bytes(self._target, head) > limits.head_bytes:
            self._fail(431, f"request head is larger than {limits.head_bytes} bytes")
        elif b"host" not in head and self._parser.get_http_version() != "1.0":
            self._fail(400, "header host: expected exactly one, got none")
        elif b"," in head.get(b"host", b""):
            self._fail(400, "header host: expected exactly one")
        elif len(head.get(b"content-length", b"")) > 4 and int(head[b"content-length"]) > limits.body_bytes:
            self._fail(413, f"body of {int(head[b'content-length'])} bytes, expected at most {limits.body_bytes}")
        elif not _RARE_HEADERS.isdisjoint(head):
            self._check_rare(head)

    def on_body(self, part: bytes) -> None:
        """Take a piece of the body."""
        if self._state == _LINGERING:
            return
        self._received_bytes += len(part)
        if self._received_bytes > self._server.limits.body_bytes:
            self._fail(413, f"body is larger than {self._server.limits.body_bytes} bytes")
            return
        self._chunks.append(part)

    def on_message_complete(self) -> None:
        """Hand a whole request to the application, or let it wait for the one before."""
        if self._state == _LINGERING:
            return
        method = self._parser.get_method()
        if method == b"CONNECT":
            return
        self._state = _IDLE
        self._fed_bytes = 0
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._busy or self._waiting:
            self._waiting.append((method, self._target, self._checked, body, self._parser.should_keep_alive()))
            if len(self._waiting) >= _WAITING_HIGH:
                self._transport.pause_reading()
            return
        self._busy = True
        self.method = method
        self.target = self._target
        self.headers = self._checked
        self.body = body
        self._keep = self._parser.should_keep_alive()
        self._server.app(self)

    # What the server calls

    def check(self, now: float, linger_from: float | None) -> None:
        """End this connection if it took too long; `linger_from` is set when idle ones are to be closed after it."""
        limits = self._server.limits
        waited = now - self._since
        if self._paused or self._transport.get_write_buffer_size():
            if waited > limits.write_seconds:
                self.abort()
        elif self._state == _LINGERING:
            if waited > _LINGER_SECONDS and not self._busy:
                self.abort()
        elif self._busy:
            return
        elif self._state == _IDLE:
            lingered = linger_from is not None and now >= linger_from and waited >= _LINGER_SECONDS / 2
            if waited > limits.idle_seconds or lingered:
                self._transport.close()
        elif self._state == _HEAD:
            if waited > limits.head_seconds:
                self._fail(408, f"request head did not arrive within {limits.head_seconds:g} s")
        elif waited > limits.body_seconds + self._received_bytes / SLOWEST_BYTES_PER_SECOND:
            self._fail(408, f"request body did not arrive in time: {self._received_bytes} bytes in {waited:.0f} s")

    def abort(self) -> None:
        """Cut the connection without sending what is left."""
        self._transport.abort()

    # Inside

    def _next(self) -> None:
        """Take up the oldest request that was sent ahead."""
        if self._paused:
            return
        waiting = self._waiting.popleft()
        if len(self._waiting) == _WAITING_HIGH - 1:
            self._transport.resume_reading()
        if isinstance(waiting, bytes):
            self._keep = False
            self._busy = True
            self.method = b""
            self.answer_and_close(waiting)
            return
        self._busy = True
        self.method, self.target, self.headers, self.body, self._keep = waiting
        self._server.app(self)

    def _fail(self, status: int, message: str) -> None:
        """Refuse what came in, after the answers that are still owed, and end the connection."""
        self._server.count_refusal(status)
        answer = responses.error(status, message)
        self._since = self._server.now
        if self._busy or self._waiting:
            self._state = _LINGERING
            self._waiting.append(answer)
            return
        self._state = _LINGERING
        self._write(responses.closing(answer))
        self._linger()

    def _linger(self) -> None:
        """Close our side and drop what still comes, for a while."""
        self._state = _LINGERING
        self._fed_bytes = 0
        self._since = self._server.now
        transport = self._transport
        if transport.can_write_eof():
            transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()

    def _check_rare(self, head: dict[bytes, bytes]) -> None:
        coding = head.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            self._fail(501, f"transfer-encoding: expected chunked or none, got {coding.decode('latin-1')!r}")
            return
        expectation = head.get(b"expect")
        if expectation is None:
            return
        if expectation.lower() != b"100-continue":
            self._fail(417, f"expect: expected 100-continue, got {expectation.decode('latin-1')!r}")
        elif not self._busy and not self._waiting:
            self._write(responses.CONTINUE)

    def _raw_limit(self) -> int:
        limits = self._server.limits
        return limits.head_bytes + 2 * limits.body_bytes


def _head_bytes(target: bytes, head: dict[bytes, bytes]) -> int:
    return len(target) + sum(len(name) + len(value) + 4 for name, value in head.items())


def _discard(answer: bytes) -> None:
    """Take the answer to a client that is gone."""

"""One HTTP/1.1 connection: bytes in, one request at a time to the application, answers out in order.

llhttp (httptools) parses; here are the limits, the order of answers, backpressure and the ways a connection ends.
Requests that a client sends ahead wait in `_waiting` until the one before is answered, so an answer always belongs to
the request that the connection shows. This is the hottest Python code of the runtime: no object and no timer per
request, pieces go from the parser straight into lists, and rare cases stand behind one test. A client that keeps its
connection sends the same head with each request; once the parser has taken it, a request that came whole and whose head
is the same, byte for byte but for the digits of its content-length, is not parsed again. Must not know what is served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import httptools

from leadline_runtime import logs
from leadline_runtime.web import responses

if TYPE_CHECKING:
    from leadline_runtime.web.server import Server

SLOWEST_BYTES_PER_SECOND: Final = 50_000
"""A body may take its seconds plus its bytes so far at this rate: slow lines pass, a byte a second does not."""
_WAITING_HIGH: Final = 8
"""Requests sent ahead before we stop reading; one read can bring more, but no more than its bytes hold."""
_LINGER_SECONDS: Final = 2.0
"""How long we read and drop what a refused client still sends: closing at once would reset the connection, and the
client would see that instead of the answer."""
_LINGER_BYTES: Final = 64 << 20

_LEARN_MAX: Final = 4
"""Heads that are remembered in a connection's life: where each request has another one, that is a waste of time."""
_LENGTH_DIGITS_MAX: Final = 9
_CARRIAGE_RETURN: Final = ord("\r")
_LENGTH_NAME: Final = b"\r\ncontent-length:"

_HEAD, _BODY, _UPGRADE, _ENDING = range(4)
"""Where the parser is; between two requests it is at the next one's head."""

_Waiting = tuple[bytes, bytes, dict[bytes, bytes], bytes, bool]


class _RefusedError(Exception):
    """Stops the parser from inside one of its callbacks."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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
        "_held_bytes",
        "_keep",
        "_known",
        "_learn_left",
        "_parser",
        "_paused",
        "_server",
        "_since",
        "_state",
        "_targets",
        "_transport",
        "_waiting",
        "_write",
        "body",
        "headers",
        "method",
        "on_body",
        "on_url",
        "target",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._state = _HEAD
        self._busy = False
        self._paused = False
        self._keep = True
        self._fed_bytes = 0
        self._held_bytes = 0
        self._known: tuple[bytes, int, bytes, int] | None = None
        """Head before and after the digits of its content-length, each with its length; set only while the parser stands
        between two requests and the last one had this head."""
        self._learn_left = _LEARN_MAX
        self._since = server.now
        self._waiting: deque[_Waiting | bytes] = deque()
        self._head: dict[bytes, bytes] = {}
        self._checked = self._head
        self._chunks: list[bytes] = []
        self._targets: list[bytes] = []
        # The parser calls these for each piece of body and target: builtin methods, so without a Python frame.
        self.on_body = self._chunks.append
        self.on_url = self._targets.append
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
        self.body = b""  # an idle connection must not keep megabytes
        self._since = self._server.now
        if self._waiting:
            self._next()

    def answer_and_close(self, answer: bytes) -> None:
        """Send the answer to the current request as the connection's last one."""
        answer = responses.closing(answer)
        if self.method == b"HEAD":
            answer = responses.without_body(answer)
        self._write(answer)
        self._end(at_once=self._is_between_requests() and not self._waiting)

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Answer the current request with an error and keep the connection; `extra` holds whole header lines.

        Does nothing where it was answered before: a batch that fails halfway refuses all of its requests.
        """
        if not self._busy:
            return
        self._server.count_refusal(status)
        answer = responses.error(status, message, extra=extra)
        self.answer(responses.without_body(answer) if self.method == b"HEAD" else answer)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        server = self._server
        self._transport = cast("asyncio.Transport", transport)
        self._write: Callable[[bytes], None] = self._transport.write
        if len(server.connections) >= server.limits.connections:
            self._fail(503, f"this pod holds {server.limits.connections} connections, its limit")
        server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forget the connection; an answer that is still being worked on is dropped."""
        self._server.connections.discard(self)
        self._state = _ENDING
        self._write = _discard
        self._waiting.clear()
        self._chunks.clear()
        self._let_go()
        # Parser and connection hold each other.
        del self._parser

    def eof_received(self) -> bool:
        """Keep the way back open for a client that shut down its sending side and waits for its answer."""
        if not self._busy or self._state == _ENDING:
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
        """Feed the parser, which calls the `on_` methods; a request with a known head needs no parser."""
        known = self._known
        if known is not None:
            before, at, after, after_bytes = known
            if not self._busy and data.startswith(before):
                end = data.find(b"\r", at, at + _LENGTH_DIGITS_MAX + 1)
                digits = data[at:end]
                body = data[end + after_bytes :]
                if (
                    digits.isdigit()
                    and data.startswith(after, end)
                    and len(body) == int(digits) <= self._server.body_bytes
                ):
                    self._busy = True
                    self.headers[b"content-length"] = digits
                    self.body = body
                    try:
                        self._server.app(self)
                    except Exception as error:  # noqa: BLE001  # as the parser's callbacks do
                        self._stopped(error)
                    return
            self._known = None
        self._fed_bytes += len(data)
        if self._state == _ENDING:
            if self._fed_bytes > _LINGER_BYTES:
                self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._stopped(error.__context__)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._fail(400, f"not a valid HTTP/1.1 request: {error}")
        else:
            if self._fed_bytes:
                self._check_partial(len(data))
            elif self._learn_left:
                self._learn(data)

    # What the parser calls, besides `on_body` and `on_url`

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; repeated ones are joined as RFC 9110 has it."""
        name = name.lower()
        head = self._head
        if name in head:
            if name == b"host":
                raise _RefusedError(400, "header host: expected exactly one")
            value = b"%b, %b" % (head[name], value)
        head[name] = value

    def on_headers_complete(self) -> None:
        """Check the head before any byte of the body is taken."""
        if self._state == _ENDING:
            raise _RefusedError(400, "the connection is ending")
        # Trailers come through `on_header` as well and must not change a head that has been checked.
        head = self._checked = self._head
        self._head = {}
        self._state = _BODY
        server = self._server
        if not 0 < self._fed_bytes <= server.head_bytes:
            self._check_head_size(head)
        length = head.get(b"content-length")
        if length is not None and len(length) > server.safe_digits and int(length) > server.body_bytes:
            raise _RefusedError(413, f"body of {int(length)} bytes, expected at most {server.body_bytes}")
        if b"host" not in head or b"transfer-encoding" in head or b"expect" in head or b"upgrade" in head:
            self._check_rare(head)

    def on_message_complete(self) -> None:
        """Hand a whole request to the application, or let it wait for the one before."""
        parser = self._parser
        method = parser.get_method()
        if self._state != _BODY or method == b"CONNECT":
            if self._state == _UPGRADE:
                return
            raise _RefusedError(405, "CONNECT is not offered here")
        targets, chunks = self._targets, self._chunks
        target = targets[0] if len(targets) == 1 else b"".join(targets)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        targets.clear()
        chunks.clear()
        server = self._server
        if len(body) > server.body_bytes:
            raise _RefusedError(413, f"body is larger than {server.body_bytes} bytes")
        self._state = _HEAD
        self._fed_bytes = 0
        if self._held_bytes:
            self._let_go()
        if self._busy or self._waiting:
            self._waiting.append((method, target, self._checked, body, parser.should_keep_alive()))
            if len(self._waiting) >= _WAITING_HIGH:
                self._transport.pause_reading()
            return
        self._busy = True
        self.method = method
        self.target = target
        self.headers = self._checked
        self.body = body
        self._keep = parser.should_keep_alive()
        server.app(self)

    # What the server calls

    def check(self, now: float, linger_from: float | None) -> None:
        """End this connection if it took too long; `linger_from` is set when idle ones are to be closed after it."""
        limits = self._server.limits
        waited = now - self._since
        if self._paused or self._transport.get_write_buffer_size():
            if waited > limits.write_seconds:
                self.abort()
        elif self._busy:
            return
        elif self._state == _ENDING:
            if waited > _LINGER_SECONDS:
                self.abort()
        elif self._is_between_requests():
            lingered = linger_from is not None and now >= linger_from and waited >= _LINGER_SECONDS / 4
            if waited > limits.idle_seconds or lingered:
                self._end(at_once=True)
        elif self._state == _HEAD:
            if waited > limits.head_seconds:
                self._fail(408, f"request head did not arrive within {limits.head_seconds:g} s")
        elif waited > limits.body_seconds + (received := sum(map(len, self._chunks))) / SLOWEST_BYTES_PER_SECOND:
            self._fail(408, f"request body did not arrive in time: {received} bytes in {waited:.1f} s")

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
            self._write(waiting)
            self._end(at_once=False)
            return
        self._busy = True
        self.method, self.target, self.headers, self.body, self._keep = waiting
        self._server.app(self)

    def _learn(self, data: bytes) -> None:
        """Remember the head of a request that came whole and alone: the same bytes mean the same once more."""
        head = self._checked
        length = head.get(b"content-length")
        if self._waiting or self._state != _HEAD or not self._keep or length is None or b"expect" in head:
            return
        self._learn_left -= 1
        end = data.find(b"\r\n\r\n") + 4
        at = data[:end].lower().find(_LENGTH_NAME) + len(_LENGTH_NAME)
        start = data.find(length, at)
        if (
            end + int(length) != len(data)
            or data[at:start].strip(b" ")
            or data[start + len(length)] != _CARRIAGE_RETURN
        ):
            return
        after = data[start + len(length) : end]
        self._known = data[:start], start, after, len(after)

    def _is_between_requests(self) -> bool:
        return self._state == _HEAD and not (self._fed_bytes or self._targets or self._head)

    def _check_partial(self, fed_bytes: int) -> None:
        """Look at a request of which a part is still to come."""
        if self._fed_bytes <= fed_bytes:
            self._since = self._server.now
        server, limits = self._server, self._server.limits
        if self._state == _HEAD:
            if self._fed_bytes > limits.head_bytes:
                self._fail(431, f"request head is larger than {limits.head_bytes} bytes")
            return
        # Chunk sizes, extensions and trailers count as well, so that none of them is without bound.
        raw_limit = limits.head_bytes + 2 * limits.body_bytes
        if self._fed_bytes > limits.body_bytes and (
            self._fed_bytes > raw_limit or sum(map(len, self._chunks)) > limits.body_bytes
        ):
            self._fail(413, f"body is larger than {limits.body_bytes} bytes")
            return
        self._held_bytes += fed_bytes
        server.held_bytes += fed_bytes
        if server.held_bytes > limits.held_bytes:
            self._fail(503, f"this pod holds {limits.held_bytes} bytes of bodies that are not complete, its limit")

    def _let_go(self) -> None:
        """Count this connection's incomplete body no more."""
        self._server.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _check_head_size(self, head: dict[bytes, bytes]) -> None:
        """Count the head's own bytes, where what was fed since its begin may hold others."""
        size = sum(map(len, self._targets)) + sum(len(name) + len(value) + 4 for name, value in head.items())
        if size > self._server.limits.head_bytes:
            raise _RefusedError(431, f"request head is larger than {self._server.limits.head_bytes} bytes")

    def _check_rare(self, head: dict[bytes, bytes]) -> None:
        if b"host" not in head and self._parser.get_http_version() != "1.0":
            raise _RefusedError(400, "header host: expected exactly one, got none")
        coding = head.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise _RefusedError(501, f"transfer-encoding: expected chunked or none, got {coding.decode('latin-1')!r}")
        if self._parser.should_upgrade():
            self._state = _UPGRADE
            return
        expectation = head.get(b"expect")
        if expectation is None:
            return
        if expectation.lower() != b"100-continue":
            raise _RefusedError(417, f"expect: expected 100-continue, got {expectation.decode('latin-1')!r}")
        if not self._busy and not self._waiting:
            self._write(responses.CONTINUE)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as RFC 9110, 7.8, allows: Java's client offers an upgrade with every request.

        The parser takes no body after such a head, so a new one gets the head without the offer.
        """
        if self._state != _UPGRADE:
            return
        method, target, head = self._parser.get_method(), b"".join(self._targets), self._checked
        lines = [b"%b: %b" % line for line in head.items() if line[0] not in {b"connection", b"upgrade"}]
        if b"close" in head.get(b"connection", b"").lower():
            lines.append(b"connection: close")
        self._targets.clear()
        self._parser = httptools.HttpRequestParser(self)
        self._fed_bytes = 0
        self.data_received(b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *lines, b"", b""]) + rest)

    def _stopped(self, cause: BaseException | None) -> None:
        """Answer for what stopped the parser inside a callback."""
        if self._state == _ENDING:
            return
        if isinstance(cause, _RefusedError):
            self._fail(cause.status, str(cause))
        else:
            logs.error("request handler failed", exc_info=cause or True)
            self._busy = False
            self._fail(500, "internal error of the runtime; its log has the details")

    def _fail(self, status: int, message: str) -> None:
        """Refuse what came in, after the answers that are still owed, and end the connection."""
        self._server.count_refusal(status)
        self._chunks.clear()
        self._let_go()
        answer = responses.closing(responses.error(status, message))
        if self._busy or self._waiting:
            self._state = _ENDING
            self._fed_bytes = 0
            self._waiting.append(answer)
            return
        self._write(answer)
        self._end(at_once=False)

    def _end(self, *, at_once: bool) -> None:
        """Close our side; not at once if the client may still be sending: drop that for a while."""
        self._busy = False
        self._waiting.clear()
        self._state = _ENDING
        self._known = None
        self._fed_bytes = 0
        self._since = self._server.now
        transport = self._transport
        if at_once or transport.is_closing() or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()
            transport.resume_reading()


def _discard(data: bytes | bytearray | memoryview) -> None:  # in the place of Transport.write
    """Take the answer to a client that is gone."""

"""One HTTP/1.1 connection: bytes in, one request at a time to the application; `answering` has the way out.

llhttp (httptools) parses; here are the limits, backpressure and what is refused. Requests that a client sends ahead wait
until the one before is answered, so an answer always belongs to the request that the connection shows. This is the hottest Python code of the runtime: no object and no timer per
request, pieces go from the parser straight into lists, and rare cases stand behind one test. A client that keeps its
connection sends the same head with each request; once the parser has taken it, a request that came whole and whose head
is the same, byte for byte but for the digits of its content-length, is not parsed again. Must not know what is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import httptools

from leadline_runtime import logs
from leadline_runtime.web import answering, filling, heads, pieces, responses, turns
from leadline_runtime.web.answering import BODY, ENDING, HEAD, UPGRADE, WAITING_HIGH

if TYPE_CHECKING:
    from leadline_runtime.web.server import Server

SLOWEST_BYTES_PER_SECOND: Final = 50_000
"""A body, or an answer, may take its seconds plus its bytes so far at this rate: slow lines pass, a byte a second does
not."""
_PREFACE_BEGIN: Final = b"PRI "
"""Another protocol's first bytes; they are looked at as a whole."""
_LINGER_SECONDS: Final = 2.0
"""How long we read and drop what a refused client still sends: closing at once would reset the connection, and the
client would see that instead of the answer."""
_LINGER_BYTES: Final = 64 << 20
LEFT_IDLE_SECONDS: Final = 3.0
"""How long a connection must have been idle to be closed where the client is to go elsewhere. One in use is closed after its next
answer instead: a request that meets the close on its way is lost to the client."""

_LEARN_MAX: Final = 4
"""Heads that are remembered in a connection's life: where each request has another one, that is a waste of time."""


class Connection(answering.Answering):
    """The protocol of one connection; `Server.connection` makes them.

    Attributes:
        method, target, headers, body: The request to be answered; header names in lower case, target as sent.
            A body for which the server's application gave memory is a view of that.
    """

    __slots__ = (
        "_begin",
        "_checked",
        "_chunks",
        "_filling",
        "_held_bytes",
        "_learn_left",
        "_parser",
        "_paused",
        "_pieces",
        "_unsent_bytes",
        "on_body",
        "on_url",
    )

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._paused = False
        self._begin = b""
        """The first bytes of a request that comes in pieces."""
        self._held_bytes = 0
        self._unsent_bytes = 0
        """The most that the client had still to take at once, since it had taken everything."""
        self._filling: filling.Filling | None = None
        self._learn_left = _LEARN_MAX
        self._checked = self._head
        self._chunks: list[bytes] = []
        self._pieces = pieces.Pieces(self._chunks)
        # The parser calls these for each piece of body and target: builtin methods, so without a Python frame.
        self.on_body = self._chunks.append
        self.on_url = self._targets.append
        self._parser = httptools.HttpRequestParser(self)

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
        self._state = ENDING
        self._write = answering.discard
        self._drop_waiting()
        if self._turns is not None:
            self._turns.drop()
        self._chunks.clear()
        self._filling = None
        self._let_go()
        # Parser and connection hold each other.
        del self._parser

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
        if self._waiting and not self._busy:
            self._next()
        if len(self._waiting) < WAITING_HIGH:
            self._read_on()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods; a request with a known head needs no parser."""
        known = self._known
        if known is not None:
            before, at, after, after_bytes = known
            if not self._busy and data.startswith(before):
                end = data.find(b"\r", at, at + heads.LENGTH_DIGITS_MAX + 1)
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
        if len(data) <= turns.WHOLE_BYTES or self.is_of_body(len(data)) or data.startswith(_PREFACE_BEGIN):
            self.feed(data)
            return
        if self._state == HEAD and not self._fed_bytes:
            data = self._feed_head(data)
        if data:
            self._transport.pause_reading()
            self._turns = turns.Turns(self._server, self, data)
            if self._server.held_bytes > self._server.limits.held_bytes:
                self._fail_held()
            self._turns.take()

    # What the parser calls, besides `on_body` and `on_url`

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; repeated ones are joined as RFC 9110 has it."""
        name = name.lower()
        head = self._head
        if name in head:
            value = heads.joined(name, head[name], value)
        head[name] = value

    def on_headers_complete(self) -> None:
        """Check the head before any byte of the body is taken."""
        if self._state == ENDING:
            raise heads.RefusedError(400, "the connection is ending")
        # Trailers come through `on_header` as well and must not change a head that has been checked.
        head = self._checked = self._head
        self._head = {}
        self._state = BODY
        server = self._server
        if len(head) > heads.FIELDS_MAX:
            raise heads.RefusedError(431, f"request head has {len(head)} headers, expected at most {heads.FIELDS_MAX}")
        if not 0 < self._fed_bytes <= server.head_bytes:
            # What was fed since this head's begin may hold the end of another request.
            heads.check_size(self._targets, head, server.head_bytes)
        length = head.get(b"content-length")
        if length is not None and len(length) > server.safe_digits:
            head[b"content-length"] = heads.bounded(length, server.body_bytes)
        if b"host" not in head or b"transfer-encoding" in head or b"expect" in head or b"upgrade" in head:
            self._check_rare(head)

    def on_message_complete(self) -> None:
        """Hand a whole request to the application, or let it wait for the one before."""
        parser = self._parser
        method = parser.get_method()
        if self._state != BODY or method == b"CONNECT":
            if self._state == UPGRADE:
                return
            raise heads.RefusedError(405, "CONNECT is not offered here")
        targets, chunks = self._targets, self._chunks
        target = targets[0] if len(targets) == 1 else b"".join(targets)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        targets.clear()
        chunks.clear()
        keep = parser.should_keep_alive()
        if keep and b"connection" in self._checked and parser.get_http_version() == "1.0":
            keep = False  # it would want to be told, in a way that HTTP/1.1 has no more
        server = self._server
        if len(body) > server.body_bytes:
            raise heads.RefusedError(413, f"body is larger than {server.body_bytes} bytes")
        self._state = HEAD
        self._fed_bytes = 0
        if self._head:
            self._head = {}  # trailers are no part of the next request
        if self._held_bytes:
            self._let_go()
        if self._busy or self._waiting:
            if not self._wait((method, target, self._checked, body, keep)):
                raise heads.RefusedError(503, self._server.held_too_much())
            if len(self._waiting) >= WAITING_HIGH:
                self._transport.pause_reading()
            return
        self._busy = True
        self.method = method
        self.target = target
        self.headers = self._checked
        self.body = body
        self._keep = keep
        server.app(self)

    # What a `Filling` calls

    def filled(self, count: int) -> None:
        """Note that more of a large body came; hand on the request when it is whole."""
        body = self._filling
        if self._state == ENDING:
            # The answer before was this connection's last one.
            self._let_go()
            self._end_filling()
            return
        if body is None or not self._hold(count) or body.at < len(body.memory):
            return
        parser = self._parser
        whole = cast("bytes", body.memory)
        keep = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        request = (parser.get_method(), b"".join(self._targets), self._checked, whole, keep)
        self._targets.clear()
        # The old one still waits for the body.
        self._parser = httptools.HttpRequestParser(self)
        self._end_filling()
        self._let_go()
        self._state = HEAD
        self._fed_bytes = 0
        if not self._wait(request):
            self._fail_held()
        elif not self._busy and len(self._waiting) == 1:
            self._next()
        elif len(self._waiting) >= WAITING_HIGH:
            self._transport.pause_reading()

    # What the server calls

    def check(self, now: float, linger_from: float | None) -> None:
        """End this connection if it took too long; `linger_from` is set when idle ones are to be closed after it."""
        limits = self._server.limits
        waited = now - self._since
        unsent = self._transport.get_write_buffer_size()
        self._unsent_bytes = max(unsent, self._unsent_bytes) if unsent else 0
        if self._paused or unsent:
            if waited > limits.write_seconds + (self._unsent_bytes - unsent) / SLOWEST_BYTES_PER_SECOND:
                self.abort()
        elif self._busy:
            return
        elif self._state == ENDING:
            if waited > _LINGER_SECONDS:
                self.abort()
        elif self._is_between_requests():
            lingered = linger_from is not None and now >= linger_from and waited >= LEFT_IDLE_SECONDS
            if waited > limits.idle_seconds or lingered:
                self._end(at_once=True)
        elif self._state == HEAD:
            if waited > limits.head_seconds:
                self._fail(408, f"request head did not arrive within {limits.head_seconds:g} s")
        else:
            received = self._filling.at if self._filling is not None else sum(map(len, self._chunks))
            if waited > limits.body_seconds + received / SLOWEST_BYTES_PER_SECOND:
                self._fail(408, f"request body did not arrive in time: {received} bytes in {waited:.1f} s")

    # What turns call

    def feed(self, data: bytes) -> None:
        """Feed the parser, which calls the `on_` methods."""
        is_begin = not (self._fed_bytes or self._targets)
        self._fed_bytes += len(data)
        if self._state == ENDING:
            if self._fed_bytes > _LINGER_BYTES:
                self.abort()
            return
        rest = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._stopped(error.__context__)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            if not self._is_taken_over(data):
                self._fail(400, f"not a valid HTTP/1.1 request: {error}")
        else:
            if self._fed_bytes:
                self._check_partial(data)
            elif self._learn_left and is_begin:
                self._learn(data)
            return
        if rest is not None:
            # Out here: what is raised while an exception is handled would have that one as its cause.
            self._ignore_upgrade(rest)

    def may_feed(self) -> bool:
        """Tell whether more requests may come; what comes after the end is dropped."""
        return self._state == ENDING or (not self._paused and len(self._waiting) < WAITING_HIGH)

    def is_of_body(self, count: int) -> bool:
        """Tell whether so many more bytes belong to the body that is coming, or to nothing: after the end all is dropped."""
        if self._state == ENDING:
            return True
        length = self._checked.get(b"content-length")
        return self._state == BODY and length is not None and int(length) - sum(map(len, self._chunks)) >= count

    def read_more(self) -> None:
        """Read again: all that was read has been fed."""
        self._turns = None
        if self.may_feed() and not self._transport.is_closing():
            self._transport.resume_reading()

    # Inside

    def _feed_head(self, data: bytes) -> bytes:
        """Feed the head that begins a large piece, and what there is of its body; return what belongs to other requests.

        A body that the application wants in its own memory goes there, and the parser never sees it.
        """
        end = data.find(b"\r\n\r\n", 0, turns.WHOLE_BYTES) + 4
        if end < 4:
            return data
        self.feed(data[:end])
        rest = memoryview(data)[end:]
        body = self._filling
        if body is not None:
            count = min(len(rest), len(body.memory) - body.at)
            body.put(rest[:count])
            self.filled(count)
            rest = rest[count:]
        elif self.is_of_body(len(rest)):
            self.feed(bytes(rest))
            return b""
        return bytes(rest)

    def _learn(self, data: bytes) -> None:
        """Remember the head of a request that came whole and alone: the same bytes mean the same once more."""
        head = self._checked
        length = head.get(b"content-length")
        if self._waiting or self._state != HEAD or not self._keep or length is None or b"expect" in head:
            return
        if not data.startswith(b"%b %b HTTP/" % (self.method, self.target)):
            return  # its first bytes came with the request before
        self._learn_left -= 1
        self._known = heads.known(data, length)

    def _check_partial(self, data: bytes) -> None:
        """Look at a request of which a part is still to come."""
        fed_bytes = len(data)
        if self._fed_bytes <= fed_bytes:
            self._since = self._server.now
            self._begin = data[: len(heads.PREFACE)]
            self._pieces.begin()
        elif len(self._begin) < len(heads.PREFACE):
            self._begin += data[: len(heads.PREFACE)]
        server, limits = self._server, self._server.limits
        if self._state == HEAD:
            if self._fed_bytes > limits.head_bytes:
                self._fail(431, f"request head is larger than {limits.head_bytes} bytes")
            elif len(self._head) > heads.FIELDS_MAX:
                self._fail(431, f"request head has more than {heads.FIELDS_MAX} headers")
            return
        self._head.clear()  # of trailers, which nobody reads
        self._pieces.look(fed_bytes)
        if self._pieces.quiet_bytes > limits.head_bytes:
            self._fail(431, f"chunk extension or trailers are larger than {limits.head_bytes} bytes")
            return
        # Chunk sizes, extensions and trailers count as well, so that none of them is without bound.
        raw_limit = limits.head_bytes + 2 * limits.body_bytes
        if self._fed_bytes > limits.body_bytes and (
            self._fed_bytes > raw_limit or sum(map(len, self._chunks)) > limits.body_bytes
        ):
            self._fail(413, f"body is larger than {limits.body_bytes} bytes")
            return
        may_fill = (
            self._state == BODY and not self._paused and len(self._waiting) < WAITING_HIGH and self._turns is None
        )
        if self._hold(fed_bytes) and may_fill:
            what = (b"".join(self._targets), self._checked, self._chunks)
            self._filling = filling.begin(self, self._transport, server.memory, what)

    def _hold(self, count: int) -> bool:
        """Count bytes of an incomplete body; return False where all of them together are too many."""
        server = self._server
        self._held_bytes += count
        server.held_bytes += count
        if server.held_bytes > server.limits.held_bytes:
            self._fail_held()
            return False
        return True

    def _end_filling(self) -> None:
        self._filling = None
        if not self._transport.is_closing():
            filling.read_by(self._transport, self)

    def _fail_held(self) -> None:
        self._fail(503, self._server.held_too_much())

    def _let_go(self) -> None:
        """Count this connection's incomplete body no more."""
        self._server.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _check_rare(self, head: dict[bytes, bytes]) -> None:
        upgrades = self._parser.should_upgrade()
        waits = heads.check_rare(head, is_1_0=self._parser.get_http_version() == "1.0", upgrades=upgrades)
        if upgrades:
            self._state = UPGRADE
        elif waits and not self._busy and not self._waiting:
            self._write(responses.CONTINUE)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as RFC 9110, 7.8, allows: Java's client offers an upgrade with every request.

        The parser takes no body after such a head, so a new one gets the head without the offer.
        """
        if self._state != UPGRADE:
            return
        head = heads.without_upgrade(self._parser.get_method(), b"".join(self._targets), self._checked)
        self._targets.clear()
        self._parser = httptools.HttpRequestParser(self)
        self._fed_bytes = 0
        self.feed(head + rest)

    def _is_taken_over(self, data: bytes) -> bool:
        """Hand the connection over where the client speaks HTTP/2, whose preface no HTTP/1.1 parser takes."""
        make = self._server.http2
        if make is None or self._busy or self._waiting or self._state != HEAD:
            return False
        before = self._fed_bytes - len(data)
        begin = (self._begin if before else b"") + data
        if before >= len(heads.PREFACE) or not begin.startswith(heads.PREFACE[: len(begin)]):
            return False
        rest = self._turns.drop() if self._turns is not None else b""
        self._state = ENDING
        self._write = answering.discard
        self._server.hand_over(self, make(self._server), self._transport, begin + rest)
        return True

    def _stopped(self, cause: BaseException | None) -> None:
        """Answer for what stopped the parser inside a callback."""
        if self._state == ENDING:
            return
        if isinstance(cause, heads.RefusedError):
            self._fail(cause.status, str(cause))
        else:
            logs.error("request handler failed", exc_info=cause or True, **logs.of_request(self.headers))
            self._busy = False
            self._fail(500, "internal error of the runtime; its log has the details")

    def _fail(self, status: int, message: str) -> None:
        """Refuse what came in, after the answers that are still owed, and end the connection."""
        self._server.count_refusal(status)
        self._chunks.clear()
        self._let_go()
        if self._filling is not None:
            self._end_filling()
        answer = responses.closing(responses.error(status, message))
        if self._busy or self._waiting:
            self._state = ENDING
            self._fed_bytes = 0
            self._waiting.append(answer)
            return
        self._write(answer)
        self._end(at_once=False)

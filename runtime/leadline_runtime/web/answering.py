"""The way out of one HTTP/1.1 connection: answers in the order of the requests, and the end.

Requests that a client sends ahead wait in `_waiting` until the one before is answered. `connection` has the way in and
fills what is declared here. Must not parse, and must not know what is served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from leadline_runtime.web import heads, responses, turns

if TYPE_CHECKING:
    from leadline_runtime.web.connection import Connection
    from leadline_runtime.web.server import Server

WAITING_HIGH: Final = 8
"""Requests sent ahead before we stop reading; one read can bring more, but no more than its bytes hold."""

HEAD, BODY, UPGRADE, ENDING = range(4)
"""Where the parser is; between two requests it is at the next one's head."""

_Waiting = tuple[bytes, bytes, dict[bytes, bytes], bytes, bool]


class Answering(asyncio.Protocol):
    """What an application sees of a connection.

    Attributes:
        method, target, headers, body: The request to be answered; header names in lower case, target as sent.
    """

    __slots__ = (
        "_busy",
        "_fed_bytes",
        "_head",
        "_is_taking",
        "_keep",
        "_known",
        "_server",
        "_since",
        "_state",
        "_targets",
        "_transport",
        "_turns",
        "_waiting",
        "_waiting_bytes",
        "_write",
        "body",
        "headers",
        "method",
        "target",
    )

    _paused: bool
    _transport: asyncio.Transport
    _write: Callable[[bytes], None]

    def __init__(self, server: Server) -> None:
        self._server = server
        self._state = HEAD
        self._busy = False
        self._is_taking = False
        """Requests that were sent ahead are being taken up, by a call further out."""
        self._keep = True
        self._fed_bytes = 0
        self._known: heads.Known | None = None
        """Head before and after the digits of its content-length, each with its length; set only while the parser stands
        between two requests and the last one had this head."""
        self._since = server.now
        self._waiting: deque[_Waiting | bytes] = deque()
        self._waiting_bytes = 0
        """Of their bodies."""
        self._turns: turns.Turns | None = None
        """Of what was read and is still to be fed; no more is read until it has been."""
        self._head: dict[bytes, bytes] = {}
        self._targets: list[bytes] = []
        self.method = self.target = self.body = b""
        self.headers: dict[bytes, bytes] = {}

    @property
    def in_flight(self) -> int:
        """Return how many requests are still to be answered."""
        return self._busy + len(self._waiting)

    def answer(self, answer: bytes) -> None:
        """Send the answer to the current request: a whole HTTP answer, as `responses` makes them."""
        if not self._keep or (self._server.closing and not self._waiting and self._turns is None):
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

    def abort(self) -> None:
        """Cut the connection without sending what is left."""
        self._transport.abort()

    def _wait(self, request: _Waiting) -> bool:
        """Let a request wait for the one before; return False where the bodies that are held would be too many."""
        server = self._server
        size = len(request[3])
        if size and server.held_bytes + size > server.limits.held_bytes:
            return False
        self._waiting.append(request)
        self._waiting_bytes += size
        server.held_bytes += size
        return True

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._server.held_bytes -= self._waiting_bytes
        self._waiting_bytes = 0

    def _read_on(self) -> None:
        if self._turns is not None:
            self._turns.go_on()
        else:
            self._transport.resume_reading()

    def _next(self) -> None:
        """Take up the oldest request that was sent ahead, and those after it for as long as each is answered at once.

        In a loop: hundreds may wait, and the answer to each comes back here.
        """
        if self._is_taking:
            return
        self._is_taking = True
        try:
            while self._waiting and not self._busy and not self._paused:
                waiting = self._waiting.popleft()
                if len(self._waiting) == WAITING_HIGH - 1:
                    self._read_on()
                if isinstance(waiting, bytes):
                    self._write(waiting)
                    self._end(at_once=False)
                    return
                self._busy = True
                self.method, self.target, self.headers, self.body, self._keep = waiting
                self._waiting_bytes -= len(self.body)
                self._server.held_bytes -= len(self.body)
                self._server.app(cast("Connection", self))
        finally:
            self._is_taking = False

    def _is_between_requests(self) -> bool:
        return self._state == HEAD and not (self._fed_bytes or self._targets or self._head)

    def _end(self, *, at_once: bool) -> None:
        """Close our side; not at once if the client may still be sending: drop that for a while."""
        self._busy = False
        self._drop_waiting()
        self._state = ENDING
        self._known = None
        self._fed_bytes = 0
        self._since = self._server.now
        self._write = discard
        transport = self._transport
        if at_once or transport.is_closing() or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()
            transport.resume_reading()


def discard(data: bytes | bytearray | memoryview) -> None:  # in the place of Transport.write
    """Take what comes after the last answer, or after the client is gone."""

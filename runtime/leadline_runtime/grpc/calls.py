"""One gRPC call: a stream whose body is messages, answered by a message or by a status.

A `Call` is to the service what a `web.connection.Connection` is to the REST routes: it has `body`, `headers`, `answer` and
`refuse`. The body keeps its gRPC frame (see `framing`). What comes over HTTP/2 without being gRPC is answered like a
request over HTTP/1.1, by the same routes (`plain`). Next step of a call: `web.server.Server.rpc`. Must not know methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, cast

from leadline_runtime import errors
from leadline_runtime.grpc import framing, plain, status
from leadline_runtime.http2 import headers, streams
from leadline_runtime.http2.connection import Connection
from leadline_runtime.web.connection import SLOWEST_BYTES_PER_SECOND

if TYPE_CHECKING:
    from leadline_runtime.web import connection as http1
    from leadline_runtime.web.server import Server

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {b"H": 3_600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_NOTHING: Final = bytearray()
"""Never added to."""
_TYPES: Final = (b"application/grpc", b"application/grpc+proto")


class Caller(Protocol):
    """Whoever asks, by whatever way: a call, one message of a stream, another pod over HTTP/1.1."""

    head: headers.Head
    body: bytes
    """One message in its frame."""
    headers: dict[bytes, bytes]

    def answer(self, answer: bytes) -> None:
        """Send a message, in its frame."""

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Send an error, given as HTTP status; does nothing where it was answered before."""


class Receiver(Protocol):
    """Takes the messages of one call as they come."""

    def took(self, body: bytes) -> None:
        """Take a message in its frame."""

    def ended(self) -> None:
        """Take note that no more messages will come."""

    def leave(self) -> None:
        """End the call, as its client is to go elsewhere."""

    def cancelled(self) -> None:
        """Take note that nobody listens any more."""


class Port:
    """What the calls of one port share."""

    def __init__(
        self,
        rpc: Callable[[Caller], None],
        receivers: Mapping[bytes, Callable[[Call], Receiver]],
        clock: Callable[[], float],
    ) -> None:
        self.rpc = rpc
        """Answers one call, now or later; exchanged at run time where a pod's role changes."""
        self.receivers = receivers
        """By path: makes the one that takes the messages, for methods with more than one."""
        self.clock = clock
        """Loop time."""

    def protocol(self, server: Server) -> Connection:
        """Return the protocol of a connection in HTTP/2."""
        return Connection(server, Call, self)


class Known:
    """What one head says of a call."""

    __slots__ = ("coding", "is_simple", "make", "refusal", "timeout_seconds")

    def __init__(self, head: headers.Head, port: Port) -> None:
        values = head.values
        self.refusal: tuple[int, str] | None = None
        self.coding = values.get(b"grpc-encoding", b"identity")
        self.timeout_seconds: float | None = None
        if not framing.is_known(self.coding):
            shown = self.coding.decode("latin-1")
            self.refusal = 501, f"grpc-encoding: expected identity, deflate or gzip, got {shown!r}"
        timeout = values.get(b"grpc-timeout")
        if timeout is not None:
            match = _TIMEOUT.fullmatch(timeout)
            if match is None:
                shown = timeout.decode("latin-1")
                self.refusal = 400, f"grpc-timeout: expected up to 8 digits and one of HMSmun, got {shown!r}"
            else:
                self.timeout_seconds = int(match[1]) * _SECONDS[match[2]]
        if head.method != b"POST":
            self.refusal = 405, f"expected POST, got {head.method.decode('latin-1')}"
        self.make = port.receivers.get(head.path)
        self.is_simple = self.refusal is None and timeout is None and self.make is None
        """Its message can be taken at once, where it is not compressed."""


class Call(streams.Stream):
    """A call, or a plain request over HTTP/2."""

    __slots__ = ("_deadline", "_receiver", "_rest", "has_begun", "headers")

    def __init__(self, connection: Connection, number: int, head: headers.Head, window: int) -> None:
        streams.Stream.__init__(self, connection, number, head, window)
        self.headers = head.values
        self._deadline = 0.0
        """Loop time; 0: none."""
        self._receiver: Receiver | None = None
        self._rest = _NOTHING
        """What is there of the next message."""
        self.has_begun = False
        """Messages were sent: what ends the call are trailers alone."""

    # What answers it

    def answer(self, answer: bytes) -> None:
        """Send the only message of the answer, in its frame."""
        self.connection.sender.respond(self, status.HEAD, answer, status.DONE)

    def refuse(self, status_: int, message: str, *, extra: bytes = b"") -> None:  # noqa: ARG002  # as connections have it
        """End the call with an error, given as HTTP status; does nothing where it has ended."""
        connection = self.connection
        if self.id not in connection.streams:
            return
        connection.server.count_refusal(status_)
        if not is_grpc(self.head):
            plain.refuse(self, status_, message)
            return
        code = status.of_http(status_)
        connection.sender.finish(self, status.trailers(code, message) if self.has_begun else status.only(code, message))
        # Whoever takes the messages must not wait for more.
        self.cancelled()

    def send(self, message: bytes) -> None:
        """Send one of many messages, in its frame."""
        sender = self.connection.sender
        if not self.has_begun:
            self.has_begun = True
            sender.start(self, status.HEAD)
        sender.push(self, message)

    def finish(self) -> None:
        """End a call of many messages well."""
        if not self.has_begun:
            self.has_begun = True
            self.connection.sender.start(self, status.HEAD)
        self.connection.sender.finish(self, status.DONE)

    # What the connection calls

    def begun(self) -> None:
        """Take messages one by one where the method has many."""
        known: Known | None = self.head.known
        if (known is not None and known.is_simple) or not is_grpc(self.head):
            return
        known = self._known()
        if known.refusal is not None:
            self.refuse(*known.refusal)
            return
        self._set_deadline(known)
        if known.make is not None:
            self.is_piecewise = True
            self._rest = bytearray()
            self._receiver = known.make(self)

    def completed(self) -> None:
        """Answer the call."""
        known = self.head.known
        if known is not None and known.is_simple and framing.is_whole(self.body):
            self.connection.application.rpc(self)
            return
        if is_grpc(self.head):
            self._complete(self._known())
        else:
            # To the routes it is a connection with one request.
            self.connection.server.app(cast("http1.Connection", plain.Request(self)))

    def took(self, part: bytes) -> None:
        """Take messages apart, and hand on those that are whole."""
        receiver, rest, connection = self._receiver, self._rest, self.connection
        assert receiver is not None
        limit = connection.server.body_bytes
        before = len(rest)
        rest += part
        at = 0
        while len(rest) - at >= framing.HEAD_BYTES:
            end = at + framing.HEAD_BYTES + int.from_bytes(rest[at + 1 : at + 5], "big")
            if end - at > limit:
                self.refuse(413, f"message is larger than {limit} bytes")
                return
            if end > len(rest):
                break
            try:
                message = framing.plain(bytes(rest[at:end]), self._known().coding, limit)
            except errors.BadRequestError as error:
                self.refuse(error.status, str(error))
                return
            receiver.took(message)
            at = end
        del rest[:at]
        if at or not before:
            self.since = connection.server.now
        if not self.is_complete:
            connection.sender.hold(self, len(rest) - before)
        elif rest:
            self.refuse(400, f"the last message lacks some of its frame: {len(rest)} bytes are there")
        else:
            receiver.ended()

    def check(self, now: float) -> None:
        """End a call whose time is over: its client has ceased to wait."""
        if self._deadline and now > self._deadline:
            self.refuse(504, "the deadline of the call has passed")
        elif self._rest and self.is_piecewise:
            waited = now - self.since
            allowed = self.connection.server.limits.body_seconds + len(self._rest) / SLOWEST_BYTES_PER_SECOND
            if waited > allowed:
                self.refuse(408, f"message did not arrive in time: {len(self._rest)} bytes in {waited:.1f} s")

    def leave(self) -> None:
        """End a call that could go on for ever."""
        if self._receiver is not None:
            self._receiver.leave()

    def cancelled(self) -> None:
        """Tell the one who takes the messages."""
        if self._receiver is not None:
            self._receiver.cancelled()

    # Inside

    def _known(self) -> Known:
        known: Known | None = self.head.known
        if known is None:
            known = self.head.known = Known(self.head, self.connection.application)
        return known

    def _complete(self, known: Known) -> None:
        """Take a call that is not of the simple kind, or the first with its head."""
        if known.refusal is not None:
            self.refuse(*known.refusal)
            return
        if not self._deadline:
            self._set_deadline(known)
        if known.make is not None:
            self._rest = bytearray()
            self._receiver = known.make(self)
            self.took(self.body)
            return
        try:
            self.body = framing.plain(self.body, known.coding, self.connection.server.body_bytes)
        except errors.BadRequestError as error:
            self.refuse(error.status, str(error))
            return
        self.connection.application.rpc(self)

    def _set_deadline(self, known: Known) -> None:
        if known.timeout_seconds is not None:
            self._deadline = self.connection.application.clock() + known.timeout_seconds


def is_grpc(head: headers.Head) -> bool:
    """Tell whether a request is a call."""
    return head.values.get(b"content-type", b"").partition(b";")[0] in _TYPES

"""gRPC calls, and plain requests over HTTP/2, that tell an observer of themselves; used only where there is one.

What `connections` is to HTTP/1.1. A call of many messages is one record, from its head to its end. Calls that come from
our own pods over HTTP/1.1 are seen there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from leadline_runtime.grpc import calls, plain, status
from leadline_runtime.http2 import headers
from leadline_runtime.http2.connection import Connection
from leadline_runtime.telemetry import observing
from leadline_runtime.web import connection as http1
from leadline_runtime.web import responses

if TYPE_CHECKING:
    from leadline_runtime.telemetry.tracing import Span
    from leadline_runtime.web.server import Server

_OK = 0
_CANCELLED = 1


class ObservedPort(calls.Port):
    """What the calls of one port share, where they are observed."""

    def __init__(
        self,
        rpc: Callable[[calls.Caller], None],
        receivers: Mapping[bytes, Callable[[calls.Call], calls.Receiver]],
        clock: Callable[[], float],
        *,
        name: str,
        observer: observing.Observer,
    ) -> None:
        super().__init__(rpc, receivers, clock)
        self.name = name
        self.observer = observer

    def protocol(self, server: Server) -> Connection:
        """Return the protocol of a connection in HTTP/2."""
        return _Link(server, ObservedCall, self)


class _Link(Connection):
    """A connection that knows who is at its other end."""

    client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client's address."""
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if peer else ""
        super().connection_made(transport)


class ObservedCall(calls.Call):
    """A call that is noted."""

    __slots__ = ("_began", "_sent_bytes", "_span")

    def __init__(self, connection: Connection, number: int, head: headers.Head, window: int) -> None:
        super().__init__(connection, number, head, window)
        self._began = 0.0
        self._sent_bytes = 0
        self._span: Span | None = None

    # What the connection calls

    def begun(self) -> None:
        """Note a call of many messages when its head is there."""
        super().begun()
        if self.is_piecewise:
            self.note()

    def completed(self) -> None:
        """Note a request when it is whole."""
        self.note()
        if calls.is_grpc(self.head):
            super().completed()
        else:
            self.connection.server.app(cast("http1.Connection", ObservedRequest(self)))

    def cancelled(self) -> None:
        """Note that nobody waits any more."""
        self.noted(observing.CLIENT_GONE, 0, grpc_status=_CANCELLED)
        super().cancelled()

    # What answers it

    def answer(self, answer: bytes) -> None:
        """Send the only message of the answer, and note it."""
        self.noted(200, len(answer), grpc_status=_OK)
        super().answer(answer)

    def send(self, message: bytes) -> None:
        """Send one of many messages."""
        self._sent_bytes += len(message)
        super().send(message)

    def finish(self) -> None:
        """End a call of many messages well."""
        self.noted(200, self._sent_bytes, grpc_status=_OK)
        super().finish()

    def refuse(self, status_: int, message: str, *, extra: bytes = b"") -> None:
        """End the call with an error."""
        if self.id in self.connection.streams:
            is_call = calls.is_grpc(self.head)
            self.noted(status_, self._sent_bytes, grpc_status=status.of_http(status_) if is_call else None)
        super().refuse(status_, message, extra=extra)

    # What observes it

    def note(self) -> None:
        """Note that the request begins."""
        if self._began:
            return
        self._began = observing.now()
        observer = self._port.observer
        is_call = calls.is_grpc(self.head)
        span = self._span = observer.span(
            self.head.method, self.head.path, self.headers, self._client(), protocol="gRPC" if is_call else "HTTP/2"
        )
        if span is not None:
            # For a standby pod, which passes headers on as they are; many calls share one dictionary.
            self.headers = {**self.headers, b"traceparent": span.traceparent}

    def noted(self, status_: int, response_bytes: int, *, grpc_status: int | None) -> None:
        """Note how the request ended, once."""
        if not self._began:
            self.note()
        if self._began < 0:
            return
        self._port.observer.ended(
            self._began,
            self._span,
            port=self._port.name,
            client=self._client(),
            method=self.head.method,
            target=self.head.path,
            headers=self.headers,
            body=self.body,
            status=status_,
            response_bytes=response_bytes,
            protocol="HTTP/2" if grpc_status is None else "gRPC",
            grpc_status=grpc_status,
        )
        self._began = -1.0

    @property
    def _port(self) -> ObservedPort:
        return cast("ObservedPort", self.connection.application)

    def _client(self) -> str:
        return cast("_Link", self.connection).client


class ObservedRequest(plain.Request):
    """A plain request over HTTP/2 that is noted."""

    __slots__ = ("_observed",)

    def __init__(self, call: ObservedCall) -> None:
        super().__init__(call)
        self._observed = call

    def answer(self, answer: bytes) -> None:
        """Send a whole answer of HTTP/1.1, and note it."""
        self._observed.noted(int(answer[9:12]), len(answer) - answer.find(b"\r\n\r\n") - 4, grpc_status=None)
        super().answer(answer)

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Send an error."""
        answer = responses.error(status, message, extra=extra)
        response_bytes = 0 if self.method == b"HEAD" else len(answer) - answer.find(b"\r\n\r\n") - 4
        self._observed.noted(status, response_bytes, grpc_status=None)
        super().refuse(status, message, extra=extra)

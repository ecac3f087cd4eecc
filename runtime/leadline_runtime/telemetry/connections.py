"""Connections and ports that tell an observer of each request; used only where there is one.

They add to `web.connection` what costs time: with everything off, a port makes plain connections, and no request pays for
a question whether anybody looks. Where only errors are told, a good request costs two looks at the clock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from leadline_runtime.telemetry import observing
from leadline_runtime.web import server
from leadline_runtime.web.connection import Connection

if TYPE_CHECKING:
    from leadline_runtime.telemetry.tracing import Span

_STATUS_AT: Final = slice(9, 12)
"""Where an answer's status stands, after `HTTP/1.1 `."""
_CLASS_AT: Final = 9
_ERROR_CLASS: Final = ord("4")
_HEAD_END: Final = b"\r\n\r\n"


class ObservedConnection(Connection):
    """A connection whose requests are noted."""

    __slots__ = ("_as_sent", "_client", "_observer", "_only_errors", "_port", "_span", "began")

    def __init__(self, port: ObservedServer, observer: observing.Observer) -> None:
        super().__init__(port)
        self._observer = observer
        self._only_errors = observer.log is None or observer.log.only_errors
        self._port = port.name
        self._client = ""
        self._span: Span | None = None
        self._as_sent: dict[bytes, bytes] | None = None
        self.began = 0.0
        """When the request that is being answered was whole; 0: there is none."""

    def trace(self) -> None:
        """Begin the request's span, if it is sampled."""
        span = self._span = self._observer.span(self.method, self.target, self.headers, self._client)
        if span is not None:
            # For a standby pod, which passes headers on as they are. A copy: a client that sends the same head again
            # is given this dictionary again.
            self._as_sent = self.headers
            self.headers = {**self.headers, b"traceparent": span.traceparent}

    def answer(self, answer: bytes) -> None:
        """Send the answer, and note it first."""
        if self.began:
            self._sent(answer)
        Connection.answer(self, answer)

    def answer_and_close(self, answer: bytes) -> None:
        """Do the same for the connection's last answer."""
        if self.began:
            self._sent(answer)
        Connection.answer_and_close(self, answer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client's address."""
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if peer else ""
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a request whose client is gone."""
        if self.began:
            self._noted(observing.CLIENT_GONE, 0)
        super().connection_lost(exc)

    def _sent(self, answer: bytes) -> None:
        if self._only_errors and self._span is None and answer[_CLASS_AT] < _ERROR_CLASS:
            self.began = 0.0
        else:
            self._noted(int(answer[_STATUS_AT]), len(answer) - answer.find(_HEAD_END) - len(_HEAD_END))

    def _noted(self, status: int, response_bytes: int) -> None:
        if self._as_sent is not None:
            self.headers, self._as_sent = self._as_sent, None
        self._observer.ended(
            self.began,
            self._span,
            port=self._port,
            client=self._client,
            method=self.method,
            target=self.target,
            headers=self.headers,
            body=self.body,
            status=status,
            response_bytes=response_bytes,
        )
        self.began = 0.0
        self._span = None

    def _fail(self, status: int, message: str) -> None:
        if self.began and not self._busy:
            self._noted(status, 0)
        else:
            self._observer.refused(self._port, status, self._client)
        super()._fail(status, message)


class ObservedServer(server.Server):
    """A port whose connections are observed."""

    def __init__(
        self, app: server.Application, limits: server.Limits, *, now: float, name: str, observer: observing.Observer
    ) -> None:
        self.name = name
        self._observer = observer
        super().__init__(app, limits, now=now)

    @property
    def app(self) -> server.Application:
        """What answers requests; each is noted before."""
        return self._begun

    @app.setter
    def app(self, app: server.Application) -> None:
        now, traced = observing.now, self._observer.tracer is not None

        def begun(connection: Connection) -> None:
            # Requests over other protocols come here as well, with a caller of their own that notes them.
            if isinstance(connection, ObservedConnection):
                connection.began = now()
                if traced:
                    connection.trace()
            app(connection)

        self._begun = begun

    def connection(self) -> Connection:
        """Return the protocol of one new connection."""
        return ObservedConnection(self, self._observer)

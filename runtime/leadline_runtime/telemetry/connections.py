"""Connections and ports that tell an observer of each request; used only where there is one.

They add to `web.connection` what costs time: with everything off, a port makes plain connections, and no request pays for
a question whether anybody looks.
"""

import asyncio
from typing import Final

from leadline_runtime.telemetry.observing import CLIENT_GONE, Observer, Seen
from leadline_runtime.web import server
from leadline_runtime.web.connection import Connection

_STATUS_AT: Final = slice(9, 12)
"""Where an answer's status stands, after `HTTP/1.1 `."""
_HEAD_END: Final = b"\r\n\r\n"


class ObservedConnection(Connection):
    """A connection whose requests are noted."""

    __slots__ = ("_as_sent", "_client", "_observer", "_port", "_seen")

    def __init__(self, port: "ObservedServer", observer: Observer) -> None:
        super().__init__(port)
        self._observer = observer
        self._port = port.name
        self._client = ""
        self._seen: Seen | None = None
        self._as_sent: dict[bytes, bytes] | None = None

    def begin(self) -> None:
        """Note the request that is about to be answered."""
        seen = self._seen = self._observer.begin(self._port, self.method, self.target, self.headers, self._client)
        if seen.span is not None:
            # For a standby pod, which passes headers on as they are. A copy: a client that sends the same head again
            # is given this dictionary again.
            self._as_sent = self.headers
            self.headers = {**self.headers, b"traceparent": seen.span.traceparent}

    def answer(self, answer: bytes) -> None:
        """Send the answer, and note it first."""
        if self._seen is not None:
            self._noted(int(answer[_STATUS_AT]), len(answer) - answer.find(_HEAD_END) - len(_HEAD_END))
        super().answer(answer)

    def answer_and_close(self, answer: bytes) -> None:
        """Do the same for the connection's last answer."""
        if self._seen is not None:
            self._noted(int(answer[_STATUS_AT]), len(answer) - answer.find(_HEAD_END) - len(_HEAD_END))
        super().answer_and_close(answer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client's address."""
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if peer else ""
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a request whose client is gone."""
        if self._seen is not None:
            self._noted(CLIENT_GONE, 0)
        super().connection_lost(exc)

    def _noted(self, status: int, response_bytes: int) -> None:
        seen, self._seen = self._seen, None
        assert seen is not None
        seen.end(status, self.body, response_bytes)
        if self._as_sent is not None:
            self.headers, self._as_sent = self._as_sent, None

    def _fail(self, status: int, message: str) -> None:
        if self._seen is not None and not self._busy:
            self._noted(status, 0)
        else:
            self._observer.refused(self._port, status, self._client)
        super()._fail(status, message)


class ObservedServer(server.Server):
    """A port whose connections are observed."""

    def __init__(
        self, app: server.Application, limits: server.Limits, *, now: float, name: str, observer: Observer
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
        def begun(connection: Connection) -> None:
            assert isinstance(connection, ObservedConnection)
            connection.begin()
            app(connection)

        self._begun = begun

    def connection(self) -> Connection:
        """Return the protocol of one new connection."""
        return ObservedConnection(self, self._observer)

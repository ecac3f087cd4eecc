"""One listening port: its connections, limits, clock, and its end.

A `Server` holds what the connections of one port share. `closing` makes every answer the last one of its connection and
closes idle connections a second later: a demoted pod's public port does that for as long as it is demoted, all ports do
it while the process drains. Must not know what is served.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from leadline_runtime.web import connection as connections
from leadline_runtime.web.filling import Memory

TICK_SECONDS: Final = 0.5
"""Resolution of all timeouts: one pass over the connections instead of a timer per request."""
LINGER_SECONDS: Final = 1.0
"""How long an idle connection may still bring a request once the server is closing."""
BACKLOG: Final = 1_024
"""Connections that the kernel holds until we accept them."""

Application = Callable[[connections.Connection], None]
"""Answers one request, now or later, by calling `Connection.answer` once."""


class Held(Protocol):
    """A connection of any protocol, as its server sees it."""

    @property
    def in_flight(self) -> int:
        """How many requests are still to be answered."""

    def check(self, now: float, linger_from: float | None) -> None:
        """End it if it took too long; `linger_from` is set when idle ones are to be closed after it."""

    def abort(self) -> None:
        """Cut it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one port stands; seconds are counted by ticks of half a second."""

    head_bytes: int = 64 << 10
    body_bytes: int = 16 << 20
    held_bytes: int = 512 << 20
    """Of bodies that are not complete or were sent ahead, all connections together: many large ones must not end the
    process."""
    connections: int = 4_096
    streams: int = 20_000
    """Requests under way over HTTP/2, all connections together; counted by ticks."""
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    """For a body's first bytes; more bytes buy more time, see `connection.SLOWEST_BYTES_PER_SECOND`."""
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    """A client that reads nothing for so long is cut off."""


class Server:
    """What the connections of one port share."""

    def __init__(self, app: Application, limits: Limits, *, now: float = 0.0) -> None:
        self.app = app
        """Exchanged at run time where a pod's role changes: the next request goes to the new one."""
        self.memory: Memory | None = None
        """Gives memory for large bodies; None: they are put together from pieces."""
        self.limits = limits
        # What every request looks at, one step nearer.
        self.head_bytes = limits.head_bytes
        self.body_bytes = limits.body_bytes
        self.safe_digits = len(str(limits.body_bytes)) - 1
        """A content-length of so many digits is within the limit."""
        self.now = now
        """Monotonic seconds as of the last tick."""
        self.connections: set[Held] = set()
        self.http2: Callable[[Server], asyncio.Protocol] | None = None
        """Makes the protocol that takes over a connection which begins in HTTP/2; None: such are refused."""
        self.open_streams = 0
        """Requests under way over HTTP/2, as of the last tick."""
        self.call_soon: Callable[[Callable[[], None]], object] | None = None
        """The event loop's; None while nothing listens: then nobody else waits for a turn."""
        self.closing = False
        self.held_bytes = 0
        """Of bodies that are not complete or were sent ahead."""
        self.accepted = 0
        """Connections so far: whoever waits for silence sees by it that there was none."""
        self.refusals: dict[int, int] = {}
        """Answers given by the protocol itself (4xx, 503), by status."""
        self._closing_since = 0.0
        self._listeners: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection(self) -> connections.Connection:
        """Return the protocol of one new connection."""
        self.accepted += 1
        return connections.Connection(self)

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Accept connections from a bound socket until `close`, or until what is returned is closed."""
        loop = asyncio.get_running_loop()
        self.call_soon = loop.call_soon
        listening = await loop.create_server(self.connection, sock=listener, backlog=BACKLOG)
        self._listeners = [each for each in self._listeners if each.is_serving()]
        self._listeners.append(listening)
        if self._timer is None:
            self._tick(loop)
        return listening

    def in_flight(self) -> int:
        """Return how many requests are being answered."""
        return sum(connection.in_flight for connection in self.connections)

    def close_connections(self, *, closing: bool) -> None:
        """Make each answer its connection's last one, or stop doing that."""
        if closing and not self.closing:
            self._closing_since = self.now
        self.closing = closing

    def check(self, now: float) -> None:
        """End what took too long: slow heads and bodies, idle and stuck connections."""
        self.now = now
        self.open_streams = 0
        linger_from = self._closing_since + LINGER_SECONDS if self.closing else None
        for connection in list(self.connections):
            connection.check(now, linger_from)

    def close(self) -> None:
        """Stop listening and cut what is left."""
        for listener in self._listeners:
            listener.close()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    def hand_over(
        self, old: connections.Connection, new: asyncio.Protocol, transport: asyncio.Transport, begin: bytes
    ) -> None:
        """Let another protocol have a connection, from its first bytes on."""
        self.connections.discard(old)
        transport.set_protocol(new)
        new.connection_made(transport)
        new.data_received(begin)

    def held_too_much(self) -> str:
        """Return why no more of a body is taken."""
        return f"this pod holds {self.limits.held_bytes} bytes of requests that are incomplete or sent ahead, its limit"

    def count_refusal(self, status: int) -> None:
        """Count an answer that no application gave."""
        self.refusals[status] = self.refusals.get(status, 0) + 1

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.check(loop.time())
        self._timer = loop.call_later(TICK_SECONDS, self._tick, loop)

"""What a connection has read and not yet given to its parser, so that the others have their turn.

Nine thousand small requests fit into one read. Answered in one go, a hundred clients that send them would hold up the others
for seconds, and what waits to be answered would take many times the memory of its bytes. So a large piece that may hold
several requests is fed a little at a time, once per pass of the event loop, and no more is read until it is used up. Must
not parse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from leadline_runtime.web.server import Server

WHOLE_BYTES: Final = 8_192
"""What may hold several requests is fed at once up to here."""
_TURN_BYTES: Final = 2_048
"""Of a larger piece, what is fed in one turn."""


class Eater(Protocol):
    """The connection, as it is seen from here."""

    def feed(self, data: bytes) -> None:
        """Give this to the parser."""

    def may_feed(self) -> bool:
        """Tell whether more requests may come: not too many wait, and the client reads."""

    def is_of_body(self, count: int) -> bool:
        """Tell whether so many more bytes belong to the body that is coming, and so to one request."""

    def read_more(self) -> None:
        """Read from the socket again: all has been fed."""


class Turns:
    """One piece, until it is used up or dropped."""

    __slots__ = ("_eater", "_is_due", "_rest", "_server")

    def __init__(self, server: Server, eater: Eater, data: bytes) -> None:
        server.held_bytes += len(data)
        self._server = server
        self._eater = eater
        self._rest = memoryview(data)
        self._is_due = False

    def take(self) -> None:
        """Feed as much as a turn allows; ask for another one if something is left."""
        self._is_due = False
        eater, server = self._eater, self._server
        while self._rest and eater.may_feed():
            rest = self._rest
            count = len(rest) if eater.is_of_body(len(rest)) else min(len(rest), _TURN_BYTES)
            self._rest = rest[count:]
            server.held_bytes -= count
            eater.feed(bytes(rest[:count]))
            if server.call_soon is not None:
                break
        if not self._rest:
            eater.read_more()
        elif eater.may_feed():
            self.go_on()

    def go_on(self) -> None:
        """Take a turn in the next pass of the event loop; at once where there is none."""
        if self._server.call_soon is None:
            self.take()
        elif not self._is_due:
            self._is_due = True
            self._server.call_soon(self.take)

    def drop(self) -> bytes:
        """Forget what is left, and return it."""
        rest = bytes(self._rest)
        self._server.held_bytes -= len(rest)
        self._rest = memoryview(b"")
        return rest

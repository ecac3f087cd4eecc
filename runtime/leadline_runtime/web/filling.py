"""Large bodies of known length, read by the event loop straight into the memory that the application wants them in.

While such a body comes in, a `Filling` stands in for its connection at the transport: no parser, no pieces to be joined,
no copy. The connection keeps all limits and counts. Must not know what a body is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

SMALLEST_BYTES: Final = 64 << 10
"""Less than that is not worth the change."""

Memory = Callable[[bytes, dict[bytes, bytes], int], memoryview | None]
"""Returns memory for a body by target, headers and length, where the application wants it there."""


class _Owner(Protocol):
    """The connection that is stood in for."""

    def filled(self, count: int) -> None: ...

    def eof_received(self) -> bool: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Filling(asyncio.BufferedProtocol):
    """A body that is coming in."""

    __slots__ = ("_owner", "at", "memory")

    def __init__(self, owner: _Owner, memory: memoryview) -> None:
        self.memory = memory
        """As long as the body."""
        self.at = 0
        """Bytes that are in."""
        self._owner = owner

    def put(self, piece: bytes | memoryview) -> None:
        """Take what came before the change."""
        end = self.at + len(piece)
        self.memory[self.at : end] = piece
        self.at = end

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Return where the next bytes belong, and room for no more than the body's."""
        return self.memory[self.at :]

    def buffer_updated(self, nbytes: int) -> None:
        """Note that so many came."""
        self.at += nbytes
        self._owner.filled(nbytes)

    def eof_received(self) -> bool:
        """Let the connection decide."""
        return self._owner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection."""
        self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._owner.resume_writing()


def begin(
    owner: _Owner,
    transport: asyncio.Transport,
    memory: Memory | None,
    what: tuple[bytes, dict[bytes, bytes], list[bytes]],
) -> Filling | None:
    """Have the rest of a large body read straight into the memory that the application gives; None where it gives none.

    Args:
        owner: The connection.
        transport: Its.
        memory: The application's.
        what: The request's target and head, and the pieces of its body that came.
    """
    target, head, chunks = what
    length = head.get(b"content-length")
    if memory is None or length is None or int(length) - sum(map(len, chunks)) < SMALLEST_BYTES:
        return None
    room = memory(target, head, int(length))
    if room is None:
        return None
    filling = Filling(owner, room)
    for chunk in chunks:
        filling.put(chunk)
    chunks.clear()
    read_by(transport, filling)
    return filling


def read_by(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    """Let a transport tell this protocol from now on; uvloop looks at its kind when reading starts."""
    transport.set_protocol(protocol)
    transport.pause_reading()
    transport.resume_reading()

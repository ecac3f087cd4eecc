"""The frames of a connection beside HEADERS and DATA, and what may be wrapped around those two.

`connection` calls `take` with a whole frame. Must not know requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leadline_runtime.http2 import frames, patience

if TYPE_CHECKING:
    from leadline_runtime.http2.connection import Connection

CONTINUATIONS_MAX: Final = 16
"""Pieces of a header block after its first."""
_PRIORITY_BYTES: Final = 5


class Block:
    """A header block that comes in pieces."""

    def __init__(self, stream: int, flags: int, first: bytes, *, depends_on_itself: bool) -> None:
        self.stream = stream
        self.flags = flags
        self.depends_on_itself = depends_on_itself
        self._pieces = [first]
        self._bytes = len(first)

    def add(self, flags: int, piece: bytes, connection: Connection) -> bool:
        """Take a piece; tell whether it was the last.

        Raises:
            ConnectionFaultError: There are too many, or they are too large: the block cannot be skipped, for the table.
        """
        connection.pay(patience.LARGE if len(piece) < patience.SMALL_BYTES else patience.SMALL)
        self._pieces.append(piece)
        self._bytes += len(piece)
        if len(self._pieces) > 1 + CONTINUATIONS_MAX or self._bytes > connection.server.limits.head_bytes:
            raise frames.ConnectionFaultError(
                frames.ENHANCE_YOUR_CALM,
                f"header block of over {connection.server.limits.head_bytes} bytes or {CONTINUATIONS_MAX} continuations",
            )
        return bool(flags & frames.END_HEADERS)

    def joined(self) -> bytes:
        """Return the whole block."""
        return b"".join(self._pieces)


def take(connection: Connection, kind: int, flags: int, stream: int, payload: bytes) -> None:
    """Take one frame.

    Raises:
        ConnectionFaultError: It breaks the protocol, or there were too many.
        StreamFaultError: The same, of a single stream.
    """
    connection.pay(patience.SMALL)
    if kind == frames.WINDOW_UPDATE:
        _take_window(connection, stream, payload)
    elif kind == frames.PING:
        _take_ping(connection, flags, stream, payload)
    elif kind == frames.SETTINGS:
        _take_settings(connection, flags, stream, payload)
    elif kind == frames.RST_STREAM:
        _expect_length(kind, payload, 4)
        if stream == 0 or stream > connection.last_stream:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"RST_STREAM on stream {stream}, never opened")
        connection.given_up(stream)
    elif kind == frames.PRIORITY:
        _take_priority(stream, payload)
    elif kind == frames.GOAWAY:
        if stream or len(payload) < 8:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "GOAWAY on a stream, or too short")
    elif kind in {frames.PUSH_PROMISE, frames.CONTINUATION}:
        raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"frame of kind {kind} where there may be none")
    # Other kinds are extensions, to be passed over (RFC 9113, 5.5).


def without_extras(flags: int, stream: int, data: bytes, at: int, end: int) -> tuple[int, int, bool]:
    """Return where a payload without padding and priority starts and ends, and whether its stream depends on itself.

    Raises:
        ConnectionFaultError: There is more padding than payload.
    """
    padding = 0
    loops = False
    if flags & frames.PADDED:
        if at == end:
            raise frames.ConnectionFaultError(frames.FRAME_SIZE_ERROR, "padded frame without a length of padding")
        padding = data[at]
        at += 1
    if flags & frames.PRIORITIZED:
        if end - at < _PRIORITY_BYTES:
            raise frames.ConnectionFaultError(frames.FRAME_SIZE_ERROR, "frame is too short for its priority")
        loops = _depends_on(data[at : at + 4]) == stream
        at += _PRIORITY_BYTES
    if padding > end - at:
        raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "more padding than payload")
    return at, end - padding, loops


def _depends_on(word: bytes) -> int:
    return int.from_bytes(word, "big") & frames.STREAM_BITS


def _expect_length(kind: int, payload: bytes, length: int) -> None:
    if len(payload) != length:
        raise frames.ConnectionFaultError(
            frames.FRAME_SIZE_ERROR, f"frame of kind {kind}: expected {length} bytes, got {len(payload)}"
        )


def _take_window(connection: Connection, number: int, payload: bytes) -> None:
    _expect_length(frames.WINDOW_UPDATE, payload, 4)
    more = int.from_bytes(payload, "big") & frames.STREAM_BITS
    sender = connection.sender
    if number == 0:
        if not more:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 bytes")
        sender.window += more
        if sender.window > frames.WINDOW_BYTES_MAX:
            raise frames.ConnectionFaultError(frames.FLOW_CONTROL_ERROR, "the connection's window is beyond 2^31-1")
    else:
        if number > connection.last_stream:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"WINDOW_UPDATE on stream {number}, never opened")
        stream = connection.streams.get(number)
        if stream is None:
            return
        if not more:
            raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 bytes")
        stream.window += more
        if stream.window > frames.WINDOW_BYTES_MAX:
            raise frames.StreamFaultError(frames.FLOW_CONTROL_ERROR, "the stream's window is beyond 2^31-1")
    if sender.blocked:
        sender.pump()


def _take_ping(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    _expect_length(frames.PING, payload, 8)
    if stream:
        raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "PING on a stream")
    if not flags & frames.ACK:
        connection.write(frames.frame(frames.PING, frames.ACK, 0, payload))


def _take_settings(connection: Connection, flags: int, stream: int, payload: bytes) -> None:
    if stream:
        raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
    if flags & frames.ACK:
        _expect_length(frames.SETTINGS, payload, 0)
        return
    if len(payload) % 6:
        raise frames.ConnectionFaultError(frames.FRAME_SIZE_ERROR, "SETTINGS: expected six bytes each")
    connection.pay(patience.LARGE)
    sender = connection.sender
    for name, value in frames.SETTING.iter_unpack(payload):
        if name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_BYTES_MAX:
                raise frames.ConnectionFaultError(frames.FLOW_CONTROL_ERROR, "initial window is beyond 2^31-1")
            sender.set_initial_window(value)
        elif name == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES <= value <= frames.FRAME_BYTES_MAX:
                raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            sender.set_frame_bytes(value)
        elif name == frames.HEADER_TABLE_SIZE:
            if value < frames.TABLE_BYTES:
                sender.shrink_table()
        elif name == frames.ENABLE_PUSH and value > 1:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
    connection.write(frames.SETTINGS_ACK)
    if sender.blocked:
        sender.pump()


def _take_priority(stream: int, payload: bytes) -> None:
    if stream == 0:
        raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "PRIORITY on the connection")
    if len(payload) != _PRIORITY_BYTES:
        raise frames.StreamFaultError(frames.FRAME_SIZE_ERROR, "PRIORITY: expected five bytes")
    if _depends_on(payload[:4]) == stream:
        raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "stream depends on itself")

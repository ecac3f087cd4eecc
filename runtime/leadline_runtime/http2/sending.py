"""The way out of one connection: answers within the windows that the client grants, the rest in turn as it makes room.

The usual answer (small, room for it, nothing before it) is one write. What is larger than a frame or a window waits per
stream, and streams take turns frame by frame, so that a large answer holds up no small one. What waits is counted with
the server's held bytes, and a client that makes no room in time loses the stream. Must not read frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from leadline_runtime.http2 import frames, headers, patience

if TYPE_CHECKING:
    from leadline_runtime.http2.connection import Connection
    from leadline_runtime.http2.streams import Stream

_FRAME_BYTES_MAX: Final = 1 << 20
"""Our largest frame, where the client takes so large ones: larger would let one stream hold up the others."""
_SHRINK: Final = b"\x20"
"""Sets the dynamic table that we do not use to 0 bytes (RFC 7541, 4.2), as we must once the client lowers its limit."""
_head = frames.HEAD.pack
_word = frames.WORD


class Outgoing:
    """What a stream still has to send."""

    __slots__ = ("is_whole", "parts", "sent_bytes", "since", "trailers")

    def __init__(self, now: float) -> None:
        self.parts: deque[memoryview] = deque()
        self.is_whole = False
        """No more parts will come."""
        self.trailers: headers.Block | None = None
        """What ends the stream after the parts; None: the last part does."""
        self.since = now
        self.sent_bytes = 0


class Sender:
    """Sends for one connection."""

    __slots__ = (
        "_connection",
        "_frame_bytes",
        "_must_shrink",
        "_paused",
        "_server",
        "_streams",
        "blocked",
        "initial_window",
        "window",
        "write",
    )

    def __init__(self, connection: Connection, streams: dict[int, Stream], write: Callable[[bytes], None]) -> None:
        self.write = write
        self.window = frames.WINDOW_BYTES
        """Bytes that the client takes on all streams together."""
        self.initial_window = frames.WINDOW_BYTES
        """Bytes that it takes on a new stream."""
        self.blocked: dict[int, Stream] = {}
        """Streams that wait for room."""
        self._connection = connection
        self._server = connection.server
        self._streams = streams
        self._frame_bytes = frames.FRAME_BYTES
        self._must_shrink = False
        self._paused = False

    # What the application uses

    def respond(self, stream: Stream, head: headers.Block, data: bytes, trailers: headers.Block) -> None:
        """Send a whole answer with trailers; nothing where the client gave the stream up."""
        size = len(data)
        if (
            size <= stream.window
            and size <= self.window
            and size <= self._frame_bytes
            and stream.is_complete
            and not self.blocked
            and not self._must_shrink
            and not self._paused
        ):
            number = stream.id
            if self._streams.pop(number, None) is None:
                return
            self.window -= size
            self._connection.purse += patience.ANSWER
            word = _word(number)
            self.write(
                b"%b%b%b%b%b%b%b%b"
                % (
                    head.start,
                    word,
                    head.body,
                    _head(size >> 16, size & 0xFFFF, 0, 0, number),
                    data,
                    trailers.last,
                    word,
                    trailers.body,
                )
            )
            return
        self.start(stream, head)
        self.push(stream, data)
        self.finish(stream, trailers)

    def respond_plainly(self, stream: Stream, head: headers.Block, data: bytes) -> None:
        """Send a whole answer without trailers."""
        if stream.id not in self._streams:
            return
        if not data:
            self.finish(stream, head)
            return
        self.start(stream, head)
        self._append(stream, data).is_whole = True
        self._send(stream)

    def start(self, stream: Stream, head: headers.Block) -> None:
        """Send the head of an answer whose data is to come."""
        if stream.id in self._streams:
            self._write_block(stream, head, ends=False)

    def push(self, stream: Stream, data: bytes) -> None:
        """Send data of an answer, as far as there is room now."""
        if data and stream.id in self._streams:
            self._append(stream, data)
            self._send(stream)

    def finish(self, stream: Stream, trailers: headers.Block) -> None:
        """End the answer once its data is sent; where nothing was sent before, this is all of it."""
        if stream.id not in self._streams:
            return
        outgoing = stream.outgoing
        if outgoing is None:
            self._write_block(stream, trailers, ends=True)
            self._connection.answered(stream)
        elif not outgoing.is_whole:
            outgoing.is_whole = True
            outgoing.trailers = trailers

    # What the connection uses

    def pause(self) -> None:
        """Stop sending data: the transport has enough."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self.pump()

    def pump(self) -> None:
        """Send what there is room for, the streams in turn."""
        blocked = self.blocked
        moved = True
        while moved:
            moved = False
            for stream in list(blocked.values()):
                if self._paused or self.window <= 0:
                    return
                moved = self._send_frame(stream) or moved

    def forget(self, stream: Stream) -> None:
        """Drop what a stream that ended had to send."""
        self.blocked.pop(stream.id, None)
        if stream.held_bytes:
            self.hold(stream, -stream.held_bytes)
        stream.outgoing = None

    def set_initial_window(self, size: int) -> None:
        """Take the client's window for each stream, those that are open as well.

        Raises:
            ConnectionFaultError: A stream's window would be larger than any may be.
        """
        more = size - self.initial_window
        self.initial_window = size
        for stream in self._streams.values():
            stream.window += more
            if stream.window > frames.WINDOW_BYTES_MAX:
                raise frames.ConnectionFaultError(frames.FLOW_CONTROL_ERROR, "window of a stream is beyond 2^31-1")

    def set_frame_bytes(self, size: int) -> None:
        """Take the client's limit of a frame."""
        self._frame_bytes = min(size, _FRAME_BYTES_MAX)

    def shrink_table(self) -> None:
        """Say with the next header block that we use no table."""
        self._must_shrink = True

    def hold(self, stream: Stream, more_bytes: int) -> None:
        """Count bytes that are held for a stream, or (less than 0) are not any more."""
        stream.held_bytes += more_bytes
        self._server.held_bytes += more_bytes

    # Inside

    def _append(self, stream: Stream, data: bytes) -> Outgoing:
        outgoing = stream.outgoing
        if outgoing is None:
            outgoing = stream.outgoing = Outgoing(self._server.now)
            self.blocked[stream.id] = stream
        outgoing.parts.append(memoryview(data))
        self.hold(stream, len(data))
        return outgoing

    def _send(self, stream: Stream) -> None:
        """Send what there is room for; give the stream up where too much waits, of all connections together."""
        self.pump()
        if stream.outgoing is not None and self._server.held_bytes > self._server.limits.held_bytes:
            self._connection.reset(stream, frames.ENHANCE_YOUR_CALM)

    def _send_frame(self, stream: Stream) -> bool:
        """Send one frame of a stream; tell whether there was room."""
        outgoing = stream.outgoing
        room = min(self.window, stream.window, self._frame_bytes)
        if outgoing is None or room <= 0:
            return False
        part = outgoing.parts[0]
        size = min(len(part), room)
        self.window -= size
        stream.window -= size
        if size == len(part):
            outgoing.parts.popleft()
        else:
            outgoing.parts[0] = part[size:]
        outgoing.sent_bytes += size
        self.hold(stream, -size)
        if size >= frames.FRAME_BYTES // 4:
            self._connection.purse += patience.SENT
        is_last = not outgoing.parts
        ends = is_last and outgoing.is_whole and outgoing.trailers is None
        self.write(_head(size >> 16, size & 0xFFFF, 0, ends, stream.id) + part[:size])
        if is_last:
            self.blocked.pop(stream.id, None)
            stream.outgoing = None
            if outgoing.trailers is not None:
                self._write_block(stream, outgoing.trailers, ends=True)
            if outgoing.is_whole:
                self._connection.answered(stream)
        return True

    def _write_block(self, stream: Stream, block: headers.Block, *, ends: bool) -> None:
        if self._must_shrink:
            self._must_shrink = False
            flags = frames.END_HEADERS | (frames.END_STREAM if ends else 0)
            self.write(frames.frame(frames.HEADERS, flags, stream.id, _SHRINK + block.body))
            return
        self.write(b"%b%b%b" % (block.last if ends else block.start, _word(stream.id), block.body))

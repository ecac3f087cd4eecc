"""One HTTP/2 connection: bytes in, frames taken apart, requests to the application.

`web.connection` hands a transport over that began with the preface. The usual request is two frames, HEADERS with a
block that was seen before and DATA; these take no detour here. `control` has the other kinds of frames, `sending` the
way out. Whatever a client does is bounded: streams, header blocks, bodies, bytes held, time, and work that brings no
answer (`patience`). Must not know what is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from leadline_runtime import logs
from leadline_runtime.http2 import control, ended, frames, headers, patience, sending
from leadline_runtime.http2.streams import Stream
from leadline_runtime.web import connection as http1

if TYPE_CHECKING:
    from leadline_runtime.web.server import Server

STREAMS_MAX: Final = 1_000
"""Requests under way on one connection; a client waits, or opens another connection."""
WINDOW_BYTES: Final = 16 << 20
"""What a client may send on all streams before it hears of us; renewed as it is read, for bodies are bounded apart."""
LINGER_SECONDS: Final = 1.0
"""How long requests that crossed our GOAWAY are still taken."""
_LINGER_BYTES: Final = 64 << 20
_LAST_SECONDS: Final = 2.0
"""How long we read and drop what a client sends after it was told why the connection ends."""
_CHUNK_OVERHEAD_BYTES: Final = 64
"""What a piece of a body costs beside its bytes."""

_unpack = frames.HEAD.unpack_from

Make = Callable[["Connection", int, headers.Head, int], Stream]
"""Makes the application's stream."""


class Connection(asyncio.Protocol):
    """The protocol of one connection."""

    def __init__(self, server: Server, make: Make, application: Any = None) -> None:
        self.server = server
        self.application = application
        """For the application's streams."""
        self.streams: dict[int, Stream] = {}
        self.last_stream = 0
        """Highest number that the client has used."""
        self.purse: int = patience.FULL
        """See `patience`."""
        self.is_leaving = False
        """The client was told to open no more streams."""
        self._make = make
        self._decoder = headers.Decoder(server.limits.head_bytes)
        self._heads = self._decoder.heads
        self._body_bytes = server.limits.body_bytes
        self._window = WINDOW_BYTES
        self._rest = b""
        self._has_preface = False
        self._has_settings = False
        self._ending = False
        self._is_asked = False
        self._fed_bytes = 0
        self._since = self._drained = server.now
        self._leaving_since = 0.0
        self._refuse_above = frames.STREAM_BITS
        self._block: control.Block | None = None
        self._ended = ended.Ended()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over and say what we take."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self.sender = sending.Sender(self, self.streams, self.write)
        self.server.connections.add(self)
        settings = {
            frames.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
            # A body that is too large is refused with words before it could fill this.
            frames.INITIAL_WINDOW_SIZE: min(self._body_bytes + WINDOW_BYTES, frames.WINDOW_BYTES_MAX),
            frames.MAX_HEADER_LIST_SIZE: self.server.limits.head_bytes,
        }
        self.write(frames.settings(settings) + frames.window_update(0, WINDOW_BYTES - frames.WINDOW_BYTES))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Forget the connection and drop what is still being worked on."""
        self.server.connections.discard(self)
        self._ending = True
        self._drop_streams()

    def eof_received(self) -> bool:
        """Close: a client that shut down its sending side could not even acknowledge what we send."""
        return False

    def pause_writing(self) -> None:
        """Stop reading while the client does not read."""
        self._drained = self.server.now
        self.sender.pause()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on once the client has read."""
        self._drained = self.server.now
        self._transport.resume_reading()
        self.sender.resume()

    def data_received(self, data: bytes) -> None:
        """Take frames apart; what is left of the last one waits for its end."""
        if self._ending:
            self._fed_bytes += len(data)
            if self._fed_bytes > _LINGER_BYTES:
                self.abort()
            return
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        try:
            if not self._has_preface:
                at = self._take_preface(data)
                if not self._has_preface:
                    self._rest = data
                    return
            start = at
            while size - at >= 9:
                high, length, kind, flags, stream = _unpack(data, at)
                if high or length > frames.FRAME_BYTES:
                    self.fail(frames.FRAME_SIZE_ERROR, f"frame of over {frames.FRAME_BYTES} bytes")
                    return
                end = at + 9 + length
                if end > size:
                    break
                try:
                    self._take(kind, flags, stream & frames.STREAM_BITS, data, at + 9, end)
                except frames.StreamFaultError as fault:
                    self._end_stream(stream & frames.STREAM_BITS, fault.code)
                at = end
                if self._ending:
                    return
        except frames.ConnectionFaultError as fault:
            self.fail(fault.code, str(fault))
            return
        except Exception:  # noqa: BLE001  # a defect of ours must not look like the client's
            logs.error("request handler failed", exc_info=True)
            self.fail(frames.INTERNAL_ERROR, "internal error of the runtime; its log has the details")
            return
        if at > start:
            self._since = self.server.now
            self._is_asked = False
        self._rest = data[at:]

    # What `sending`, `control` and the application use

    def answered(self, stream: Stream) -> None:
        """Note that a stream's answer is sent."""
        self.streams.pop(stream.id, None)
        self.sender.forget(stream)
        self.purse += patience.ANSWER
        if not stream.is_complete:
            # The client need not send the rest (RFC 9113, 8.1).
            self.write(frames.reset(stream.id, frames.NO_ERROR))
            self._ended.reset(stream.id)

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream without an answer."""
        if self.streams.pop(stream.id, None) is not None:
            self.sender.forget(stream)
            self.write(frames.reset(stream.id, code))
            self._ended.reset(stream.id)
            stream.cancelled()

    def given_up(self, number: int) -> None:
        """Note that the client gave a stream up."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            self.sender.forget(stream)
            self.pay(patience.LARGE)
            stream.cancelled()

    def pay(self, price: int) -> None:
        """Pay for work that brings nobody an answer.

        Raises:
            ConnectionFaultError: The purse is empty.
        """
        self.purse -= price
        if self.purse < 0:
            raise frames.ConnectionFaultError(
                frames.ENHANCE_YOUR_CALM, "too many pings, settings, resets, window updates or empty frames per request"
            )

    def make_room(self, stream: Stream, size: int) -> None:
        """Let the client send more on a stream whose pieces have been taken."""
        if stream.id in self.streams and not stream.is_complete:
            self.write(frames.window_update(stream.id, size))

    def fail(self, code: int, message: str) -> None:
        """Say why the connection ends, and end it."""
        if self._ending:
            return
        self.server.count_refusal(503 if code == frames.ENHANCE_YOUR_CALM else 400)
        self.write(frames.goaway(self.last_stream, code, message))
        self._drop_streams()
        self._end()

    # What the server calls

    @property
    def in_flight(self) -> int:
        """Return how many requests are still to be answered."""
        return len(self.streams)

    def check(self, now: float, linger_from: float | None) -> None:
        """End what took too long; `linger_from` is set when the client is to go elsewhere."""
        limits = self.server.limits
        self.purse = min(self.purse + patience.PER_TICK, patience.FULL)
        self.server.open_streams += len(self.streams)
        if not self._transport.get_write_buffer_size():
            self._drained = now
        waited = now - self._since
        if self._ending:
            if waited > _LAST_SECONDS:
                self.abort()
            return
        if now - self._drained > limits.write_seconds:
            self.abort()
            return
        if (self._rest or self._block is not None or not self._has_settings) and waited > limits.head_seconds:
            self.fail(frames.ENHANCE_YOUR_CALM, f"frame did not arrive within {limits.head_seconds:g} s")
            return
        if self.streams and waited > limits.idle_seconds:
            # Who holds a stream open may be gone without a word.
            if waited > 2 * limits.idle_seconds:
                self.abort()
                return
            if not self._is_asked:
                self._is_asked = True
                self.write(frames.frame(frames.PING, 0, 0, bytes(8)))
        for stream in list(self.streams.values()):
            self._check_stream(stream, now)
        if linger_from is not None or (not self.streams and waited > limits.idle_seconds):
            self._leave(now)

    def abort(self) -> None:
        """Cut the connection without sending what is left."""
        self._transport.abort()

    # Frames

    def _take(  # noqa: PLR0917  # once per frame: by name it takes longer
        self, kind: int, flags: int, number: int, data: bytes, at: int, end: int
    ) -> None:
        """Take one frame, whose payload is `data[at:end]`."""
        if self._block is not None:
            if kind != frames.CONTINUATION or number != self._block.stream:
                raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "expected the rest of a header block")
            if self._block.add(flags, data[at:end], self):
                block, self._block = self._block, None
                self._take_block(block.stream, block.flags, block.joined(), depends_on_itself=block.depends_on_itself)
        elif kind == frames.HEADERS and self._has_settings:
            if number & 1 == 0:
                raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"a client's stream is not {number}")
            loops = False
            if flags & (frames.PADDED | frames.PRIORITIZED):
                at, end, loops = control.without_extras(flags, number, data, at, end)
            if flags & frames.END_HEADERS:
                self._take_block(number, flags, data[at:end], depends_on_itself=loops)
            else:
                self._block = control.Block(number, flags, data[at:end], depends_on_itself=loops)
        elif kind == frames.DATA and self._has_settings:
            self._take_data(flags, number, data, at, end)
        elif not self._has_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "expected SETTINGS first")
            control.take(self, kind, flags, number, data[at:end])
            self._has_settings = True
        else:
            control.take(self, kind, flags, number, data[at:end])

    def _take_block(self, number: int, flags: int, block: bytes, *, depends_on_itself: bool) -> None:
        """Take a whole header block: of a new request, or after a body."""
        if number <= self.last_stream:
            self._take_trailers(number, flags, block)
            return
        # A block is decoded whatever becomes of its stream: it may change the table.
        head = self._heads.get(block)
        is_refused = number > self._refuse_above
        if number > self.last_stream + 2:
            self._ended.skipped(self.last_stream + 1, number - 1)
        self.last_stream = number
        if head is None:
            head = self._decoder.head(block)
        if is_refused:
            # The client was told that nobody looks at it; its data goes the same way.
            self._ended.reset(number)
            return
        if depends_on_itself:
            raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "stream depends on itself")
        server = self.server
        if len(self.streams) >= STREAMS_MAX or server.open_streams > server.limits.streams:
            raise frames.StreamFaultError(frames.REFUSED_STREAM, "too many streams")
        stream = self._make(self, number, head, self.sender.initial_window)
        self.streams[number] = stream
        if flags & frames.END_STREAM:
            if head.content_length:
                raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "no body where content-length promises one")
            self._complete(stream)
        else:
            stream.since = server.now
            stream.begun()

    def _take_data(self, flags: int, number: int, data: bytes, at: int, end: int) -> None:
        """Take a piece of a body, mostly all of it."""
        size = end - at
        self._window -= size
        if self._window < WINDOW_BYTES // 2:
            if self._window < 0:
                raise frames.ConnectionFaultError(frames.FLOW_CONTROL_ERROR, "more than the connection's window")
            self.write(frames.window_update(0, WINDOW_BYTES - self._window))
            self._window = WINDOW_BYTES
        stream = self.streams.get(number)
        if stream is None or stream.is_complete:
            self._ended.check_data(number, self.last_stream)
            return
        if flags & frames.PADDED:
            at, end, _ = control.without_extras(frames.PADDED, number, data, at, end)
        part = data[at:end]
        stream.received_bytes = received = stream.received_bytes + end - at
        if stream.is_piecewise:
            if not flags & frames.END_STREAM and size < patience.SMALL_BYTES:
                self.pay(patience.SMALL)
            stream.is_complete = bool(flags & frames.END_STREAM)
            stream.took(part)
            self._check_held(stream)
            if size:
                self.make_room(stream, size)
            return
        if received > self._body_bytes:
            stream.refuse(413, f"message is larger than {self._body_bytes} bytes")
            return
        if not flags & frames.END_STREAM:
            self._keep(stream, part)
            return
        if stream.chunks is None:
            stream.body = part
        else:
            stream.chunks.append(part)
            stream.body = b"".join(stream.chunks)
            stream.chunks = None
            self.sender.forget(stream)
        if stream.head.content_length not in {None, received}:
            raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "body is not as long as content-length says")
        self._complete(stream)

    def _keep(self, stream: Stream, part: bytes) -> None:
        """Keep a piece of a body of which more is to come."""
        if len(part) < patience.SMALL_BYTES:
            self.pay(patience.SMALL)
        if stream.chunks is None:
            stream.chunks = []
        if part:
            stream.chunks.append(part)
        self.sender.hold(stream, len(part) + _CHUNK_OVERHEAD_BYTES)
        self._check_held(stream)

    def _check_held(self, stream: Stream) -> None:
        limit = self.server.limits.held_bytes
        if self.server.held_bytes > limit:
            stream.refuse(503, f"this pod holds {limit} bytes of bodies that are not complete, its limit")

    def _complete(self, stream: Stream) -> None:
        stream.is_complete = True
        stream.completed()

    def _take_trailers(self, number: int, flags: int, block: bytes) -> None:
        """Take a header block on a stream that is or was there."""
        fields = self._decoder.fields(block)
        stream = self.streams.get(number)
        if stream is None:
            self._ended.check_headers(number)
            return
        if stream.is_complete:
            raise frames.ConnectionFaultError(frames.STREAM_CLOSED, f"stream {number} had ended")
        if not flags & frames.END_STREAM:
            raise frames.StreamFaultError(frames.PROTOCOL_ERROR, "second header block does not end the stream")
        headers.check_trailers(fields)
        self._take_data(frames.END_STREAM, number, b"", 0, 0)

    # Ends

    def _end_stream(self, number: int, code: int) -> None:
        """Answer a stream's fault."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            self.sender.forget(stream)
            stream.cancelled()
        self.write(frames.reset(number, code))
        self._ended.reset(number)
        # A client can have us reset its streams by faults just as it can do it itself.
        self.pay(patience.LARGE)

    def _take_preface(self, data: bytes) -> int:
        """Return where the first frame starts, once the preface is whole."""
        if not frames.PREFACE.startswith(data[:24]):
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, "expected the connection preface of HTTP/2")
        if len(data) < 24:
            return 0
        self._has_preface = True
        return 24

    def _check_stream(self, stream: Stream, now: float) -> None:
        """End one stream that took too long."""
        stream.check(now)
        limits, outgoing = self.server.limits, stream.outgoing
        rate = http1.SLOWEST_BYTES_PER_SECOND
        if outgoing is not None:
            if now - outgoing.since > limits.write_seconds + outgoing.sent_bytes / rate:
                self.reset(stream, frames.CANCEL)
        elif not stream.is_complete and not stream.is_piecewise:
            waited = now - stream.since
            if waited > limits.body_seconds + stream.received_bytes / rate:
                stream.refuse(
                    408, f"request body did not arrive in time: {stream.received_bytes} bytes in {waited:.1f} s"
                )

    def _leave(self, now: float) -> None:
        """Send the client elsewhere: first a word, then the last stream that is answered, then the end."""
        if not self.is_leaving:
            self.is_leaving = True
            self._leaving_since = now
            self.write(frames.goaway(frames.STREAM_BITS, frames.NO_ERROR, "this pod is being left"))
            return
        if now - self._leaving_since < LINGER_SECONDS:
            return
        if self._refuse_above == frames.STREAM_BITS:
            self._refuse_above = self.last_stream
            self.write(frames.goaway(self.last_stream, frames.NO_ERROR, "this pod is being left"))
        for stream in list(self.streams.values()):
            stream.leave()
        if not self.streams:
            self._end()

    def _drop_streams(self) -> None:
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            self.sender.forget(stream)
            stream.cancelled()
        self._rest = b""
        self._block = None

    def _end(self) -> None:
        """Close our side, and drop what the client still sends for a while: a reset would take our last word away."""
        self._ending = True
        self._since = self.server.now
        transport = self._transport
        if transport.is_closing() or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()
            transport.resume_reading()

"""A client's end of an HTTP/2 connection, without a socket: frames in and out, and what became of its streams."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import hpack
from leadline_runtime.http2 import connection, frames, headers, streams
from leadline_runtime.web import server

from tests.unit.runtime.wires import Transport

HEAD = headers.Block([(b":status", b"200"), (b"content-type", b"text/plain")])
DONE = headers.Block([(b"done", b"yes")])
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "x")]


class Stream(streams.Stream):
    """Keeps requests until the test answers them."""

    def completed(self) -> None:
        self.connection.application.asked.append(self)
        if self.connection.application.echo:
            self.respond(self.body)

    def begun(self) -> None:
        self.connection.application.begun += 1
        self.is_piecewise = self.head.path == b"/pieces"

    def took(self, part: bytes) -> None:
        self.connection.application.pieces.append(part)

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        if self.id in self.connection.streams:
            self.connection.application.refused.append((status, message))
            block = headers.Block([(b":status", b"%d" % status)])
            self.connection.sender.respond_plainly(self, block, message.encode())

    def cancelled(self) -> None:
        self.connection.application.cancelled.append(self.id)

    def respond(self, data: bytes) -> None:
        self.connection.sender.respond(self, HEAD, data, DONE)


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        at = 4 if self.kind == frames.GOAWAY else 0
        return int.from_bytes(self.payload[at : at + 4], "big")

    @property
    def ends(self) -> bool:
        return bool(self.flags & frames.END_STREAM) and self.kind in {frames.DATA, frames.HEADERS}


@dataclass
class Answer:
    fields: list[tuple[str, str]] = field(default_factory=list)
    data: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> str:
        return dict(self.fields).get(":status", "")


class Client:
    """One client of a port, with what the port's application saw."""

    def __init__(
        self,
        limits: server.Limits | None = None,
        *,
        echo: bool = False,
        settings: dict[int, int] | None = None,
        shared: Client | None = None,
        begin: bytes | None = None,
    ) -> None:
        self.asked: list[Stream] = []
        self.begun = 0
        self.pieces: list[bytes] = []
        self.refused: list[tuple[int, str]] = []
        self.cancelled: list[int] = []
        self.echo = echo
        self.server = shared.server if shared else server.Server(lambda _: None, limits or server.Limits())
        self.connection = self.make_connection()
        self.transport = Transport()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.read = 0
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        usual = frames.PREFACE + frames.settings(settings or {}) + frames.SETTINGS_ACK
        self.send(usual if begin is None else begin)

    def make_connection(self) -> connection.Connection:
        return connection.Connection(self.server, Stream, self)

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def block(self, fields: list[tuple[str, str]]) -> bytes:
        return self.encoder.encode(fields)

    def ask(
        self, number: int, body: bytes | None = b"", *, path: str = "/a", more: list[tuple[str, str]] | None = None
    ) -> None:
        """Send a request; without a body only its head, whose stream stays open."""
        fields = [item if item[0] != ":path" else (":path", path) for item in REQUEST] + (more or [])
        data = frames.frame(frames.HEADERS, frames.END_HEADERS, number, self.block(fields))
        if body is not None:
            parts = [body[at : at + frames.FRAME_BYTES] for at in range(0, len(body), frames.FRAME_BYTES)] or [b""]
            for part in parts[:-1]:
                data += frames.frame(frames.DATA, 0, number, part)
            data += frames.frame(frames.DATA, frames.END_STREAM, number, parts[-1])
        self.send(data)

    def received(self) -> list[Frame]:
        """Return the frames since the last call."""
        data = bytes(self.transport.sent)
        found = []
        while self.read < len(data):
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", data, self.read)
            end = self.read + 9 + (high << 16 | low)
            assert end <= len(data), "a frame in pieces"
            found.append(Frame(kind, flags, stream, data[self.read + 9 : end]))
            self.read = end
        return found

    def answers(self) -> dict[int, Answer]:
        """Return what came since the last look, by stream."""
        found: dict[int, Answer] = {}
        for frame in self.received():
            if frame.stream == 0:
                continue
            answer = found.setdefault(frame.stream, Answer())
            assert not answer.ended or frame.kind in {frames.RST_STREAM, frames.WINDOW_UPDATE}, "a frame after the end"
            if frame.kind == frames.HEADERS:
                answer.fields += self.decoder.decode(frame.payload)
            elif frame.kind == frames.DATA:
                answer.data += frame.payload
            elif frame.kind == frames.RST_STREAM:
                answer.reset = frame.code
            answer.ended = answer.ended or frame.ends
        return found

    def ended_with(self) -> int | None:
        """Return the code of the GOAWAY that came last; None: there is none."""
        gone = [frame.code for frame in self.received() if frame.kind == frames.GOAWAY]
        return gone[-1] if gone else None

    def window(self, stream: int, more: int) -> None:
        self.send(frames.window_update(stream, more))

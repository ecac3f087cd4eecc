"""One connection with one request in flight, over HTTP/1.1 and HTTP/2, with no library: for checks and for `steady.py`.

The same bytes go out each time, so that the client costs little beside the server. HTTP/2 is as much as one unary gRPC
call at a time needs; header blocks of answers are not decoded, so a call without data counts as failed. Must not time
anything, and imports only the standard library: it has to start fast.
"""

import re
import socket
import struct

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_FRAME_MAX = 16_384
_WINDOW_MAX = (1 << 31) - 1
_FIRST_WINDOW = 65_535


class WireError(Exception):
    """The server closed, refused or answered what cannot be read."""


class Http:
    """HTTP/1.1."""

    def __init__(
        self, port: int, path: str, headers: dict[str, str], body: bytes, timeout: float | None = None
    ) -> None:
        lines = [f"POST {path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._request = "\r\n".join([*lines, "", ""]).encode() + body
        self.socket = _connect(port, timeout)
        self._data = b""

    def send(self) -> None:
        self.socket.sendall(self._request)

    def receive(self) -> tuple[bytes, bytes] | None:
        """Read what is there; return head and body of an answer that is whole."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise WireError("the server closed the connection")
        self._data = self._data + data if self._data else data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self._data, 0, end)
        if length:
            if len(self._data) < end + 4 + int(length[1]):
                return None
            body = self._data[end + 4 :]
        elif self._data.endswith(b"0\r\n\r\n"):
            body = _unchunked(self._data[end + 4 :])
        else:
            return None
        head, self._data = self._data[:end], b""
        if not head.startswith(b"HTTP/1.1 200"):
            first = head.partition(b"\r\n")[0].decode("latin-1")
            raise WireError(f"{first}: {body[:300].decode(errors='replace')}")
        return head, body


class Grpc:
    """gRPC's unary call over HTTP/2 without TLS."""

    def __init__(
        self, port: int, path: str, headers: dict[str, str], body: bytes, timeout: float | None = None
    ) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": f"127.0.0.1:{port}", **headers}
        # Literals that are not indexed: the block is the same for each request.
        self._head = b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields.items())
        self._body = body
        self.socket = _connect(port, timeout)
        # Push off, and windows so large that the server never waits for us.
        settings = struct.pack(">HIHI", 2, 0, 4, _WINDOW_MAX)
        opened = _frame(_WINDOW, 0, 0, struct.pack(">I", _WINDOW_MAX - _FIRST_WINDOW))
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + opened)
        self._data, self._answer = b"", b""
        self._stream, self._taken = -1, 0
        self._room, self._stream_room, self._first_room = _FIRST_WINDOW, 0, _FIRST_WINDOW
        self._left = b""

    def send(self) -> None:
        self._stream += 2
        self._answer = b""
        self._left, self._stream_room = self._body, self._first_room
        self._flush(_frame(_HEADERS, _END_HEADERS, self._stream, self._head))

    def receive(self) -> tuple[bytes, bytes] | None:
        """Read what is there; return the message of a call that has ended, with no head."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise WireError("the server closed the connection")
        self._data += data
        place, ended = 0, False
        while len(self._data) - place >= 9:
            size = int.from_bytes(self._data[place : place + 3])
            if len(self._data) < place + 9 + size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._data, place + 3)
            ended |= self._frame_came(kind, flags, stream, self._data[place + 9 : place + 9 + size])
            place += 9 + size
        self._data = self._data[place:]
        if not ended:
            return None
        if not self._answer:
            raise WireError("the call ended with no message: the server refused it")
        return b"", self._answer

    def _frame_came(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        """Take one frame; tell whether it ends the call."""
        if kind == _SETTINGS and not flags & _ACK:
            for identifier, value in struct.iter_unpack(">HI", payload):
                if identifier == 4:
                    self._stream_room += value - self._first_room
                    self._first_room = value
            self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW:
            more = int.from_bytes(payload)
            if stream == 0:
                self._room += more
            elif stream == self._stream:
                self._stream_room += more
            self._flush(b"")
        elif kind in {_RST, _GOAWAY} and stream in {0, self._stream}:
            raise WireError(f"the server ended the {'call' if kind == _RST else 'connection'}: {payload!r}")
        elif kind == _DATA:
            self._took(len(payload))
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            self._answer += payload
        return kind in {_DATA, _HEADERS} and bool(flags & _END_STREAM) and stream == self._stream

    def _took(self, size: int) -> None:
        self._taken += size
        if self._taken > 1 << 29:
            self.socket.sendall(_frame(_WINDOW, 0, 0, struct.pack(">I", self._taken)))
            self._taken = 0

    def _flush(self, first: bytes) -> None:
        """Send as much of the body as both windows allow."""
        parts = [first]
        while self._left:
            size = min(len(self._left), self._room, self._stream_room, _FRAME_MAX)
            if size <= 0:
                break
            piece, self._left = self._left[:size], self._left[size:]
            self._room -= size
            self._stream_room -= size
            parts.append(_frame(_DATA, 0 if self._left else _END_STREAM, self._stream, piece))
        sent = b"".join(parts)
        if sent:
            self.socket.sendall(sent)


def ask(wire: Http | Grpc) -> tuple[dict[str, str], bytes]:
    """Send once and wait for the answer; return its headers and body."""
    wire.send()
    while (answer := wire.receive()) is None:
        pass
    head, body = answer
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}, body


def _connect(port: int, timeout: float | None) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    raw = value.encode()
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    raise ValueError(f"{value}: too long a header")


def _unchunked(data: bytes) -> bytes:
    parts, place = [], 0
    while True:
        end = data.index(b"\r\n", place)
        size = int(data[place:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        place = end + 4 + size

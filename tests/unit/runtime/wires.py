"""A client's end of a connection, without a socket: what was written to it, and what was done to it."""

from dataclasses import dataclass, field

import httptools
from leadline_runtime.web import responses, server
from leadline_runtime.web.connection import Connection


@dataclass
class Transport:
    """Stands for the event loop's transport."""

    sent: bytearray = field(default_factory=bytearray)
    unsent_bytes: int = 0
    closed: bool = False
    aborted: bool = False
    shut: bool = False
    reading: bool = True

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.sent += data

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.shut = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Reader:
    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.current = Answer()
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.current.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.current.body += data

    def on_message_complete(self) -> None:
        self.current.status = self.parser.get_status_code()
        self.answers.append(self.current)
        self.current = Answer()


def answers(data: bytes) -> list[Answer]:
    """Return the answers in what a client received; none of them is to a HEAD."""
    reader = _Reader()
    reader.parser.feed_data(bytes(data))
    return reader.answers


class Port:
    """A port whose application keeps the requests until the test answers them."""

    def __init__(self, limits: server.Limits | None = None, *, echo: bool = False) -> None:
        self.asked: list[tuple[bytes, bytes, bytes]] = []
        self.open: list[Connection] = []
        self.server = server.Server(self._echo if echo else self._keep, limits or server.Limits())

    def connect(self) -> tuple[Connection, Transport]:
        connection, transport = self.server.connection(), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        return connection, transport

    def answer(self, text: str) -> None:
        self.open.pop(0).answer(responses.json(text.encode()))

    def _keep(self, connection: Connection) -> None:
        self.asked.append((connection.method, connection.target, connection.body))
        self.open.append(connection)

    def _echo(self, connection: Connection) -> None:
        self.asked.append((connection.method, connection.target, connection.body))
        connection.answer(responses.json(b"%b %b %b" % (connection.method, connection.target, connection.body)))


def request(target: str = "/a", body: bytes = b"", *, method: str = "POST", head: str = "host: x\r\n") -> bytes:
    """Return a request as a client sends it."""
    return f"{method} {target} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body

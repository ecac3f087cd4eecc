"""Calls between our own pods, over HTTP/1.1: the message in its gRPC frame is the body, the path is the method's.

A demoted pod passes calls on and copies go out over the same kept connections as those of REST, so nothing of ours needs
a client of HTTP/2. An error is answered as on the REST port. Must not know methods.
"""

from __future__ import annotations

from typing import Final

from leadline_runtime.http2 import headers
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

TYPE: Final = b"application/grpc"


class Call:
    """One such call, as the service sees a caller."""

    __slots__ = ("_connection", "body", "head", "headers")

    def __init__(self, connection: Connection, path: bytes | None = None) -> None:
        self._connection = connection
        self.headers = connection.headers
        self.head = headers.Head(b"POST", path or connection.target, connection.headers, None)
        self.body = connection.body

    def answer(self, answer: bytes) -> None:
        """Send a message, in its frame."""
        self._connection.answer(responses.content(answer, TYPE))

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Send an error."""
        self._connection.refuse(status, message, extra=extra)

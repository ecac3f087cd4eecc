"""Requests over HTTP/2 that are no gRPC: answered by the same routes as over HTTP/1.1, whose answers are translated here.

So a proxy or a mesh that speaks HTTP/2 to its pods reaches the REST port as well. Must not know paths.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from leadline_runtime.http2 import headers
from leadline_runtime.web import responses

if TYPE_CHECKING:
    from leadline_runtime.grpc.calls import Call

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_OF_CONNECTIONS: Final = (b"connection", b"keep-alive", b"transfer-encoding")


class Request:
    """What the routes take for a connection with one request."""

    __slots__ = ("_call", "body", "headers", "method", "target")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.method = call.head.method
        self.target = call.head.path
        self.headers = call.headers
        self.body = call.body

    def answer(self, answer: bytes) -> None:
        """Send a whole answer of HTTP/1.1."""
        lines, _, body = answer.partition(b"\r\n\r\n")
        first, *rest = lines.split(b"\r\n")
        match = _STATUS.match(first)
        assert match is not None, "an answer as `responses` makes them"
        fields = [(b":status", match[1])]
        for line in rest:
            name, _, value = line.partition(b":")
            if name.lower() not in _OF_CONNECTIONS:
                fields.append((name.lower(), value.strip()))
        call = self._call
        call.connection.sender.respond_plainly(call, headers.Block(fields), body)

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Send an error."""
        call = self._call
        if call.id in call.connection.streams:
            call.connection.server.count_refusal(status)
            refuse(call, status, message, extra=extra)


def refuse(call: Call, status: int, message: str, *, extra: bytes = b"") -> None:
    """Answer a request with an error as the REST port has it."""
    answer = responses.error(status, message, extra=extra)
    Request(call).answer(responses.without_body(answer) if call.head.method == b"HEAD" else answer)

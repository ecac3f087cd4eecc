"""Whole HTTP answers as bytes, put together once where that is possible.

Handlers pass what these functions return to `Connection.answer`. Must not look at connections.
"""

import http
from typing import Final

import orjson
from leadline_wire import receipts

JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
"""Head of the usual answer; takes the body's length in bytes."""
RECEIPT_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%b: %%b\r\ncontent-length: %%d\r\n\r\n"
    % receipts.HEADER.encode()
)
"""The same for an answer of one row with its receipt; takes the receipt first."""
BINARY_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
    b"inference-header-content-length: %d\r\ncontent-length: %d\r\n\r\n"
)
"""Head of an answer with binary tensors; takes the lengths of its JSON header and of the whole body, in bytes."""
BINARY_RECEIPT_HEAD: Final = BINARY_HEAD.replace(
    b"\r\ninference", b"\r\n%b: %%b\r\ninference" % receipts.HEADER.encode(), 1
)
"""The same for an answer of one row with its receipt; takes the receipt first."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
RETRY_AFTER: Final = b"retry-after: 1\r\n"
"""Header line of 429 and 503, in seconds."""
_FIRST_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus
}


def json(body: bytes, status: int = 200, *, extra: bytes = b"") -> bytes:
    """Return an answer with a JSON body; `extra` holds whole header lines."""
    return content(body, b"application/json", status, extra=extra)


def content(body: bytes, media_type: bytes, status: int = 200, *, extra: bytes = b"") -> bytes:
    """Return an answer with a body of any media type; `extra` holds whole header lines."""
    return b"%bcontent-type: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
        first_line(status),
        media_type,
        extra,
        len(body),
        body,
    )


def error(status: int, message: str, *, extra: bytes = b"") -> bytes:
    """Return an error as the Open Inference Protocol has it; 429 and 503 say when to come back."""
    if status in {429, 503}:
        extra += RETRY_AFTER
    return json(orjson.dumps({"error": message}), status, extra=extra)


def first_line(status: int) -> bytes:
    """Return the status line with its end; a status without a known phrase has none."""
    return _FIRST_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def closing(answer: bytes) -> bytes:
    """Return the answer with the header that tells the client not to reuse the connection."""
    return answer.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def without_body(answer: bytes) -> bytes:
    """Return what HEAD gets: the same head, no body."""
    return answer[: answer.index(b"\r\n\r\n") + 4]

"""gRPC's status codes, and the header blocks that carry them.

The application speaks in HTTP statuses, like that of the REST port; here is what each is called in gRPC. Must not know
calls.
"""

from __future__ import annotations

import re
from typing import Final

from leadline_runtime.http2 import headers
from leadline_runtime.http2.compression import Field

OK: Final = 0
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
NOT_FOUND: Final = 5
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14

_BY_HTTP: Final = {
    400: INVALID_ARGUMENT,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    405: UNIMPLEMENTED,
    408: DEADLINE_EXCEEDED,
    413: RESOURCE_EXHAUSTED,
    415: UNIMPLEMENTED,
    429: RESOURCE_EXHAUSTED,
    500: INTERNAL,
    501: UNIMPLEMENTED,
    503: UNAVAILABLE,
    504: DEADLINE_EXCEEDED,
}
_MESSAGE_CHARACTERS_MAX: Final = 1_000
_ESCAPED: Final = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_TYPE: Final = (b"content-type", b"application/grpc")
_CODINGS: Final = (b"grpc-accept-encoding", b"identity, deflate, gzip")
_PUSHBACK: Final = (b"grpc-retry-pushback-ms", b"1000")
"""When to come back, for clients with a retry policy: what Retry-After is in HTTP."""

HEAD: Final = headers.Block([(b":status", b"200"), _TYPE])
"""Begins every answer with messages."""
DONE: Final = headers.Block([(b"grpc-status", b"0")])
"""Ends an answer that went well."""


def of_http(status: int) -> int:
    """Return the code for an HTTP status."""
    return _BY_HTTP.get(status, INVALID_ARGUMENT if status < 500 else INTERNAL)


def trailers(code: int, message: str) -> headers.Block:
    """Return what ends a call that has begun to answer."""
    return headers.Block(_fields(code, message))


def only(code: int, message: str) -> headers.Block:
    """Return the whole answer of a call that failed: a single header block."""
    return headers.Block([(b":status", b"200"), _TYPE, *_fields(code, message), _CODINGS])


def _fields(code: int, message: str) -> list[Field]:
    fields = [(b"grpc-status", b"%d" % code)]
    if message:
        raw = message[:_MESSAGE_CHARACTERS_MAX].encode("utf-8", "replace")
        fields.append((b"grpc-message", _ESCAPED.sub(lambda match: b"%%%02X" % match[0][0], raw)))
    if code in {UNAVAILABLE, RESOURCE_EXHAUSTED}:
        fields.append(_PUSHBACK)
    return fields

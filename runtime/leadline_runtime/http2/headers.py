"""Header blocks: what RFC 9113 asks of a request's fields, and the blocks of answers, made once.

A client repeats itself: from its second request on a block is mostly indexes into the tables. A block that leaves the
dynamic table alone means the same for as long as the table stays as it is, so `Decoder` keeps what it said; and a field
that was found to be one is not looked at again. Blocks of ours use no dynamic table and can be sent on any connection.
Must not know streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from leadline_runtime.http2 import compression, frames
from leadline_runtime.http2.compression import Field

_KNOWN_MAX: Final = 64
"""Blocks whose meaning is kept, per connection."""
_FIELDS_MAX: Final = 512
"""Fields that are known to be well-formed, of all connections."""
_FIELD_BYTES_MAX: Final = 512
"""Longest that is remembered."""
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PATH: Final = re.compile(rb"(?:/[!-~]*|\*)")
"""Method and path go on in lines of HTTP/1.1, so they must fit into one."""
_PSEUDO: Final = frozenset({b":method", b":path", b":scheme", b":authority"})
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""What belongs to a single connection of HTTP/1.1 has no place here (RFC 9113, 8.2.2)."""


class Head:
    """One request's head, checked; shared by all requests with the same block, so nobody may change it."""

    __slots__ = ("content_length", "known", "method", "path", "values")

    def __init__(self, method: bytes, path: bytes, values: dict[bytes, bytes], content_length: int | None) -> None:
        self.method = method
        self.path = path
        self.values = values
        """By name in lower case, repeated ones joined; `:authority` is `host`."""
        self.content_length = content_length
        self.known: Any = None
        """What the application made of it, kept with it."""


class Block:
    """A header block of ours, ready to be sent as one HEADERS frame on any stream."""

    __slots__ = ("body", "last", "start")

    def __init__(self, fields: Iterable[Field]) -> None:
        self.body = b"".join(_literal(name, value) for name, value in fields)
        if len(self.body) > frames.FRAME_BYTES:
            raise ValueError(f"header block of {len(self.body)} bytes, expected at most {frames.FRAME_BYTES}")
        length = len(self.body).to_bytes(3, "big")
        self.start = b"%b%c%c" % (length, frames.HEADERS, frames.END_HEADERS)
        """The frame's head up to the stream's number, for a block that data or another block follows."""
        self.last = b"%b%c%c" % (length, frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
        """The same for a stream's last block."""


class Decoder:
    """Decodes the blocks of one connection, in their order."""

    __slots__ = ("_blocks", "heads")

    def __init__(self, list_bytes_max: int) -> None:
        self._blocks = compression.Decoder(list_bytes_max)
        self.heads: dict[bytes, Head] = {}
        """By blocks that leave the dynamic table alone."""

    def fields(self, block: bytes) -> list[Field]:
        """Return a block's fields.

        Raises:
            ConnectionFaultError: It cannot be decoded.
        """
        fields, changes = self._blocks.decode(block)
        if changes:
            self.heads.clear()
        return fields

    def head(self, block: bytes) -> Head:
        """Return the head of a request that is not in `heads`.

        Raises:
            ConnectionFaultError: It cannot be decoded.
            StreamFaultError: It is malformed.
        """
        fields, changes = self._blocks.decode(block)
        if changes or len(self.heads) >= _KNOWN_MAX:
            self.heads.clear()
        checked = head(fields)
        if not changes:
            self.heads[block] = checked
        return checked


def head(fields: list[Field]) -> Head:
    """Return the head that a request's fields make.

    Raises:
        StreamFaultError: They are malformed (RFC 9113, 8.1 to 8.3).
    """
    pseudo: dict[bytes, bytes] = {}
    values: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] == b":":
            if values or name in pseudo or name not in _PSEUDO or not _VALUE.fullmatch(value):
                raise _malformed(
                    f"pseudo-header {name.decode('latin-1')!r} is not one of a request, or not in its place"
                )
            pseudo[name] = value
        else:
            _add(values, (name, value))
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if method == b"CONNECT" or not method or not path or not pseudo.get(b":scheme"):
        raise _malformed("expected one each of :method, :scheme and :path, and not CONNECT")
    if not _METHOD.fullmatch(method):
        raise _malformed(":method: expected a word such as POST")
    if not _PATH.fullmatch(path):
        raise _malformed(":path: expected / and what a URI may hold")
    if b":authority" in pseudo:
        values[b"host"] = pseudo[b":authority"]
    length = values.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 20):
        raise _malformed("content-length is not a number")
    return Head(method, path, values, None if length is None else int(length))


def check_trailers(fields: list[Field]) -> None:
    """Check the fields after a body, which nobody asks for.

    Raises:
        StreamFaultError: They are malformed.
    """
    values: dict[bytes, bytes] = {}
    for field in fields:
        _add(values, field)


def _add(values: dict[bytes, bytes], field: Field) -> None:
    name, value = field
    if field not in _well_formed:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise _malformed(
                f"header {name.decode('latin-1')[:80]!r}: not a field name in lower case, or not its value"
            )
        if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
            raise _malformed(f"header {name.decode('latin-1')} has no place in HTTP/2")
        if len(name) + len(value) <= _FIELD_BYTES_MAX:
            if len(_well_formed) >= _FIELDS_MAX:
                _well_formed.clear()
            _well_formed.add(field)
    if name in values:
        value = values[name] + (b"; " if name == b"cookie" else b", ") + value
    values[name] = value


_well_formed: Final[set[Field]] = set()
"""Fields that were looked at."""


def _malformed(message: str) -> frames.StreamFaultError:
    return frames.StreamFaultError(frames.PROTOCOL_ERROR, message)


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a field without indexing and without Huffman code: a client needs no table for it."""
    if name == b":status":
        index = _STATUS.get(value)
        if index is not None:
            return b"%c" % (0x80 | index)
        return b"\x08" + _string(value)
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < 0x7F:
        return b"%c%b" % (length, text)
    rest, digits = length - 0x7F, bytearray(b"\x7f")
    while rest >= 0x80:
        digits.append(rest & 0x7F | 0x80)
        rest >>= 7
    digits.append(rest)
    return bytes(digits) + text


_STATUS: Final = {b"200": 8, b"204": 9, b"206": 10, b"304": 11, b"400": 12, b"404": 13, b"500": 14}
"""Statuses with a place in the static table."""

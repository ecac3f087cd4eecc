"""Header blocks: hpack decodes what `scan` let pass, `head` checks what RFC 9113 asks of a request; answers' are made once.

A client repeats itself: from its second request on a block is mostly indexes into the tables. A block that leaves the
dynamic table alone means the same for as long as the table stays as it is, so `Decoder` keeps what it said. Blocks of
ours use no dynamic table and can be sent on any connection. Must not know streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import hpack

from leadline_runtime.http2 import frames

Field = tuple[bytes, bytes]

_KNOWN_MAX: Final = 64
"""Blocks whose meaning is kept, per connection."""
_INTEGER_BYTES_MAX: Final = 5
"""An integer of more bytes is beyond all that a block can hold; hpack would build it, digit by digit."""
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?:[^\0\r\n\t ](?:[^\0\r\n]*[^\0\r\n\t ])?)?")
_PATH: Final = re.compile(rb"(?:/[!-~]*|\*)")
"""A path goes on in lines of HTTP/1.1, so it must fit into one."""
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

    __slots__ = ("_hpack", "heads")

    def __init__(self, list_bytes_max: int) -> None:
        self._hpack = hpack.Decoder(max_header_list_size=list_bytes_max)
        self.heads: dict[bytes, Head] = {}
        """By blocks that leave the dynamic table alone."""

    def fields(self, block: bytes) -> list[Field]:
        """Return a block's fields.

        Raises:
            ConnectionFaultError: It cannot be decoded, so that the tables of both sides differ from now on.
        """
        if scan(block):
            self.heads.clear()
        return self._decoded(block)

    def head(self, block: bytes) -> Head:
        """Return the head of a request that is not in `heads`.

        Raises:
            ConnectionFaultError: It cannot be decoded.
            StreamFaultError: It is malformed.
        """
        changes = scan(block)
        if changes or len(self.heads) >= _KNOWN_MAX:
            self.heads.clear()
        checked = head(self._decoded(block))
        if not changes:
            self.heads[block] = checked
        return checked

    def _decoded(self, block: bytes) -> list[Field]:
        try:
            return self._hpack.decode(block, raw=True)  # type: ignore[return-value]  # raw: pairs of bytes
        except hpack.OversizedHeaderListError as error:
            raise frames.ConnectionFaultError(
                frames.ENHANCE_YOUR_CALM, f"header list is larger than {self._hpack.max_header_list_size} bytes"
            ) from error
        except hpack.HPACKError as error:
            raise frames.ConnectionFaultError(frames.COMPRESSION_ERROR, f"header block: {error}") from error


def scan(block: bytes) -> bool:
    """Tell whether a block changes the dynamic table.

    Raises:
        ConnectionFaultError: It ends too early, or holds an integer beyond reason.
    """
    changes = False
    at, size = 0, len(block)
    while at < size:
        first = block[at]
        if first & 0x80:
            if first & 0x7F == 0x7F:
                at = _integer(block, at, 0x7F)[1]
            else:
                at += 1
        elif first & 0xE0 == 0x20:
            changes = True
            at = _integer(block, at, 0x1F)[1]
        else:
            changes = changes or bool(first & 0x40)
            name, at = _integer(block, at, 0x3F if first & 0x40 else 0x0F)
            for _ in range(1 if name else 2):
                length, at = _integer(block, at, 0x7F)
                at += length
    if at > size:
        raise frames.ConnectionFaultError(frames.COMPRESSION_ERROR, "header block ends within a string")
    return changes


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
            _add(values, name, value)
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if method == b"CONNECT" or not method or not path or not pseudo.get(b":scheme"):
        raise _malformed("expected one each of :method, :scheme and :path, and not CONNECT")
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
    for name, value in fields:
        _add(values, name, value)


def _add(values: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise _malformed(
            f"header {name.decode('latin-1')[:80]!r}: not a field name in lower case, or not a field value"
        )
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise _malformed(f"header {name.decode('latin-1')} has no place in HTTP/2")
    if name in values:
        value = values[name] + (b"; " if name == b"cookie" else b", ") + value
    values[name] = value


def _malformed(message: str) -> frames.StreamFaultError:
    return frames.StreamFaultError(frames.PROTOCOL_ERROR, message)


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Return an integer of HPACK (RFC 7541, 5.1) and where it ends."""
    if at >= len(block):
        raise frames.ConnectionFaultError(frames.COMPRESSION_ERROR, "header block ends within a field")
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 7 * _INTEGER_BYTES_MAX, 7):
        if at >= len(block):
            break
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise frames.ConnectionFaultError(frames.COMPRESSION_ERROR, "header block holds an integer that never ends")


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

"""gRPC's messages in their frames: a byte that says whether it is compressed, its length in four bytes, the message.

A message keeps its frame on its way through the runtime, so that nothing is copied and a request's body shows by its
first byte, which no JSON has, that it is one. Must not know what is in a message.
"""

from __future__ import annotations

import zlib
from typing import Final

from leadline_runtime import errors

HEAD_BYTES: Final = 5
MARK: Final = 0
"""First byte of a frame whose message is not compressed."""
_COMPRESSED: Final = 1
_WINDOWS: Final = {b"gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


def framed(message: bytes) -> bytes:
    """Return a message in its frame."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def varint(number: int) -> bytes:
    """Return a number as protocol buffers have it."""
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def message_of(frame: bytes) -> memoryview:
    """Return the message within a frame that was checked."""
    return memoryview(frame)[HEAD_BYTES:]


def is_whole(body: bytes) -> bool:
    """Tell whether a body is one message that is not compressed."""
    return len(body) >= HEAD_BYTES and body[0] == MARK and int.from_bytes(body[1:5], "big") == len(body) - HEAD_BYTES


def plain(body: bytes, coding: bytes, bytes_max: int) -> bytes:
    """Return the one message of a body in a frame, not compressed.

    Raises:
        BadRequestError: There is none or more than one, or it is compressed in a way that was not agreed upon.
    """
    if len(body) < HEAD_BYTES or int.from_bytes(body[1:5], "big") != len(body) - HEAD_BYTES:
        length = int.from_bytes(body[1:5], "big") if len(body) >= HEAD_BYTES else None
        raise errors.BadRequestError(
            f"expected one message in its frame, got {len(body)} bytes"
            + (f" where the frame says {length} after its {HEAD_BYTES}" if length is not None else "")
        )
    if body[0] == MARK:
        return body
    if body[0] != _COMPRESSED:
        raise errors.BadRequestError(f"message frame: expected 0 or 1 as its first byte, got {body[0]}")
    window = _WINDOWS.get(coding)
    if window is None:
        raise errors.BadRequestError("message is compressed, but grpc-encoding does not say how")
    inflater = zlib.decompressobj(window)
    try:
        message = inflater.decompress(memoryview(body)[HEAD_BYTES:], bytes_max + 1)
    except zlib.error as error:
        raise errors.BadRequestError(f"message does not decompress as {coding.decode()}: {error}") from error
    if len(message) > bytes_max:
        raise errors.BadRequestError(f"message is larger than {bytes_max} bytes once decompressed", status=413)
    if not inflater.eof or inflater.unused_data:
        raise errors.BadRequestError(f"message does not decompress as {coding.decode()}: it ends too early or too late")
    return framed(message)


def is_known(coding: bytes) -> bool:
    """Tell whether messages may be compressed so."""
    return coding == b"identity" or coding in _WINDOWS

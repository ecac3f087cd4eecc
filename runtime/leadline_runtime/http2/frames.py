"""Frames of RFC 9113 as bytes: their kinds, flags, codes and sizes, and the few that we write.

Reading is `connection`'s, which takes a frame's head apart in place. Must not keep anything.
"""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client with prior knowledge sends first (RFC 9113, 3.4)."""
HEAD_BYTES: Final = 9
HEAD: Final = struct.Struct(">BHBBI")
"""A frame's length (high byte, low bytes), kind, flags and stream."""
STREAM_BITS: Final = 0x7FFFFFFF
"""Of the last field of a frame's head; the bit above is reserved and means nothing."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

FRAME_BYTES: Final = 16_384
"""Largest payload that we take, the default that every client knows; what is larger comes in more frames."""
FRAME_BYTES_MAX: Final = (1 << 24) - 1
WINDOW_BYTES: Final = 65_535
"""Windows before anybody said otherwise."""
WINDOW_BYTES_MAX: Final = (1 << 31) - 1
TABLE_BYTES: Final = 4_096
"""Dynamic tables before anybody said otherwise."""

WORD: Final = struct.Struct(">I").pack
SETTING: Final = struct.Struct(">HI")
SETTINGS_ACK: Final = b"\0\0\0\4\1\0\0\0\0"


class ConnectionFaultError(Exception):
    """Ends the connection with GOAWAY: the client broke the protocol, or we lost track of it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StreamFaultError(Exception):
    """Ends one stream with RST_STREAM."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """Return our settings."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*item) for item in values.items()))


def window_update(stream: int, more_bytes: int) -> bytes:
    """Let the client send more, on one stream or (0) on all together."""
    return frame(WINDOW_UPDATE, 0, stream, WORD(more_bytes))


def reset(stream: int, code: int) -> bytes:
    """End a stream out of turn."""
    return frame(RST_STREAM, 0, stream, WORD(code))


def goaway(last_stream: int, code: int, message: str = "") -> bytes:
    """Tell the client that streams above the last one are not taken up, and why."""
    return frame(GOAWAY, 0, 0, WORD(last_stream) + WORD(code) + message.encode()[:200])

"""What a connection remembers of streams that are not open, to tell what crossed our word from what breaks the protocol.

Bounded: of streams that we ended the last few hundred, of numbers that the client left out the last few gaps. Must not
write anything.
"""

from __future__ import annotations

from typing import Final

from leadline_runtime.http2 import frames

_RESET_MAX: Final = 256
_GAPS_MAX: Final = 8


class Ended:
    """The streams of one connection that are not open."""

    __slots__ = ("_gaps", "_reset")

    def __init__(self) -> None:
        self._reset: dict[int, None] = {}
        self._gaps: list[tuple[int, int]] = []

    def reset(self, number: int) -> None:
        """Note that we ended a stream: the client may not know yet."""
        self._reset[number] = None
        if len(self._reset) > _RESET_MAX:
            del self._reset[next(iter(self._reset))]

    def skipped(self, first: int, last: int) -> None:
        """Note numbers that the client left out, which it may not use any more."""
        self._gaps.append((first, last))
        del self._gaps[:-_GAPS_MAX]

    def check_data(self, number: int, last_stream: int) -> None:
        """Pass over data of a stream that we ended.

        Raises:
            ConnectionFaultError: The stream was never opened.
            StreamFaultError: It had ended.
        """
        if number in self._reset:
            return
        if number == 0 or number > last_stream or number & 1 == 0:
            raise frames.ConnectionFaultError(frames.PROTOCOL_ERROR, f"DATA on stream {number}, which is not open")
        raise frames.StreamFaultError(frames.STREAM_CLOSED, f"DATA on stream {number}, which had ended")

    def check_headers(self, number: int) -> None:
        """Pass over trailers of a stream that we ended.

        Raises:
            ConnectionFaultError: The stream was never opened, or had ended.
        """
        if number in self._reset:
            return
        was_never_open = any(first <= number <= last for first, last in self._gaps)
        code = frames.PROTOCOL_ERROR if was_never_open else frames.STREAM_CLOSED
        raise frames.ConnectionFaultError(code, f"HEADERS on stream {number}, which is not open")

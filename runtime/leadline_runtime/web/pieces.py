"""The pieces of a body that is coming in, kept small in number, and what comes between them.

A client may cut its body into pieces of two bytes, each of which costs twenty times as many; and it may send chunk
extensions and trailers that are no body at all. Looked at only while a request is not whole. Must not parse.
"""

from typing import Final

_JOIN_MIN: Final = 512
"""Pieces that are put together into one: what such a one costs beside its bytes no longer matters."""


class Pieces:
    """Looks at the list that the parser fills."""

    __slots__ = ("_chunks", "_count", "_joined", "quiet_bytes")

    def __init__(self, chunks: list[bytes]) -> None:
        self.quiet_bytes = 0
        """Fed since the last piece of the body: chunk sizes, extensions and trailers."""
        self._chunks = chunks
        self._count = 0
        self._joined = 0
        """How many at the list's begin have been put together."""

    def begin(self) -> None:
        """Look at another body from now on."""
        self.quiet_bytes = self._count = self._joined = 0

    def look(self, fed_bytes: int) -> None:
        """Note that so many bytes were fed since the last look."""
        chunks = self._chunks
        if len(chunks) == self._count:
            self.quiet_bytes += fed_bytes
            return
        self.quiet_bytes = 0
        if len(chunks) - self._joined >= _JOIN_MIN:
            chunks[self._joined :] = [b"".join(chunks[self._joined :])]
            self._joined += 1
        self._count = len(chunks)

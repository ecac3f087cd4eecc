"""What keeps model bytes, whatever it is made of: `volume` or `bucket`.

A namespace has to bring the bytes even where another one did before, for who knows a digest only must not get the model.
"""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from leadline_ledger import errors

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Found:
    """A blob: a file, or bytes that come from elsewhere."""

    size: int
    path: Path | None = None
    read: Callable[[int, int], AsyncIterator[bytes]] | None = None
    """Where there is no path: gives the bytes from one place up to another, some at a time."""


class Blobs(Protocol):
    """Keeps blobs; each is complete or not there."""

    trouble: str
    """Why it cannot be used at all, in one line; empty: it can."""

    @property
    def held_bytes(self) -> int | None:
        """Bytes of all blobs; None: not known."""

    async def open(self) -> None:
        """Begin; where that is not possible, `trouble` says why and it can be called again."""

    async def put(self, namespace: str, digest: str, size: int, chunks: AsyncIterator[bytes]) -> bool:
        """Keep bytes; return whether this is new to the namespace.

        Raises:
            BadInputError: The digest is none, or other bytes came.
            BusyError: Too many are being put already.
            FullError: There is no room, and nothing that may go.
            UnavailableError: It cannot be used now.
        """

    async def find(self, namespace: str, digest: str) -> Found:
        """Return a blob that the namespace put.

        Raises:
            NotFoundError: It put none of that digest.
            UnavailableError: It cannot be used now.
        """


def name_of(digest: str) -> str:
    """Return the hexadecimal digits of a digest.

    Raises:
        BadInputError: It is none.
    """
    found = _DIGEST.fullmatch(digest)
    if not found:
        raise errors.BadInputError(f"expected sha256: and 64 lowercase hexadecimal digits, got {digest[:80]!r}")
    return found[1]

"""Bytes that are being put: to a file, checked, and on the disk before anything is made of them."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from leadline_ledger import errors

UPLOADS_MAX: Final = 8
"""At the same time; each holds a chunk in memory and keeps the disk busy."""


def check(size: int, uploads: int, *, largest: int) -> None:
    """Refuse what is too large, or one too many.

    Raises:
        TooLargeError: It has more bytes than the largest may.
        BusyError: So many are being put already.
    """
    if size > largest:
        raise errors.TooLargeError(f"blob of {size} bytes, expected at most {largest}")
    if uploads >= UPLOADS_MAX:
        raise errors.BusyError(f"{uploads} blobs are being put, limit {UPLOADS_MAX}")


async def receive(path: Path, name: str, size: int, chunks: AsyncIterator[bytes]) -> None:
    """Write bytes to a new file.

    Args:
        path: Of the file.
        name: SHA-256 that they must have, in hexadecimal.
        size: Bytes that must come.
        chunks: Of them.

    Raises:
        MismatchError: Other bytes came.
        OSError: The file cannot be written.
    """
    hashed = hashlib.sha256()
    came = 0
    file = await asyncio.to_thread(path.open, "xb")
    try:
        async for chunk in chunks:
            came += len(chunk)
            if came > size:
                break
            await asyncio.to_thread(_write, file, hashed, chunk)
        if came != size:
            raise errors.MismatchError(f"expected {size} bytes, got {'more' if came > size else came}")
        if hashed.hexdigest() != name:
            raise errors.MismatchError(f"expected the digest sha256:{name}, got sha256:{hashed.hexdigest()}")
        await asyncio.to_thread(_sync, file)
    finally:
        await asyncio.to_thread(file.close)


def _write(file: IO[bytes], hashed: "hashlib._Hash", chunk: bytes) -> None:
    file.write(chunk)
    hashed.update(chunk)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())

"""Bytes from a file on this machine: a mounted volume, or a test."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from leadline_runtime.fetch import stores


class FileStore:
    """One file."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._shown = stores.shown(uri)
        if parts.netloc not in {"", "localhost"}:
            raise stores.StoreError(
                stores.Fault.NOT_FOUND,
                f"{self._shown}: expected file:///absolute/path, got the host {parts.netloc!r}",
            )
        self._path = Path(unquote(parts.path))

    @asynccontextmanager
    async def open(self, offset: int, validator: str) -> AsyncIterator[stores.Stream]:
        """Open the file; a file that was replaced is read from its start."""
        try:
            file = await asyncio.to_thread(self._path.open, "rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: there is no such file") from error
        except PermissionError as error:
            raise stores.StoreError(stores.Fault.ACCESS_DENIED, f"{self._shown}: this user may not read it") from error
        except OSError as error:
            raise stores.StoreError(stores.Fault.UNREACHABLE, f"{self._shown}: {error.strerror}") from error
        with file:
            stream = await asyncio.to_thread(self._stream, file, offset)
            if offset and stream.validator != validator:
                raise stores.ChangedError(self._shown)
            yield stream

    def _stream(self, file: BinaryIO, offset: int) -> stores.Stream:
        state = os.fstat(file.fileno())
        file.seek(offset)
        return stores.Stream(
            start=offset,
            total_bytes=state.st_size,
            validator=f"{state.st_ino}.{state.st_mtime_ns}.{state.st_size}",
            chunks=_chunks(file, self._shown),
        )


async def _chunks(file: BinaryIO, shown: str) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = await asyncio.to_thread(file.read, stores.CHUNK_BYTES)
        except OSError as error:
            raise stores.StoreError(stores.Fault.UNREACHABLE, f"{shown}: {error.strerror}") from error
        if not chunk:
            return
        yield chunk

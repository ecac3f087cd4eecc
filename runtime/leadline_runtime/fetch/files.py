"""Bytes from files of this machine: a mounted claim (`pvc://CLAIM/path`), any other volume, or a test (`file:///path`).

A folder is taken as it is found, without symbolic links. A claim's paths stay within its mount, links included: what is on
a volume is not always written by whoever may read this pod's own files.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

from leadline_runtime.fetch import folders, stores

CLAIMS_DIR: Final = Path("/mnt/claims")
"""Where the operator mounts claims, each in a folder of its own; LEADLINE_CLAIMS_DIR names another place."""


class FileSource:
    """A file or a folder."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._shown = stores.shown(uri)
        self._within: Path | None = None
        if parts.scheme == "pvc":
            if not parts.netloc or parts.path in {"", "/"}:
                raise stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: expected pvc://CLAIM/path")
            claims = Path(os.environ.get("LEADLINE_CLAIMS_DIR") or CLAIMS_DIR)
            self._within = claims / parts.netloc
            self._path = self._within / unquote(parts.path.lstrip("/"))
            return
        if parts.netloc not in {"", "localhost"}:
            raise stores.StoreError(
                stores.Fault.NOT_FOUND,
                f"{self._shown}: expected file:///absolute/path, got the host {parts.netloc!r}",
            )
        self._path = Path(unquote(parts.path))

    async def listing(self) -> stores.Listing:
        """Find out whether a file or a folder is there."""
        return await asyncio.to_thread(self._listing)

    def _listing(self) -> stores.Listing:
        path = self._path
        if self._within is not None:
            if not self._within.is_dir():
                message = f"{self._shown}: this claim is not mounted here ({self._within}); a pod has the model's only"
                raise stores.StoreError(stores.Fault.NOT_FOUND, message)
            path = path.resolve()
            if not path.is_relative_to(self._within.resolve()):
                message = f"{self._shown}: leads out of the claim, by '..' or a symbolic link"
                raise stores.StoreError(stores.Fault.UNUSABLE, message)
        if not path.is_dir():
            return stores.Listing((stores.Entry("", FileStore(path, self._shown)),), is_folder=False)
        try:
            entries = tuple(
                stores.Entry(name, FileStore(path / name, f"{self._shown.rstrip('/')}/{name}"), size, version)
                for name, size, version in folders.walk(path)
            )
        except folders.FolderError as error:
            raise stores.StoreError(stores.Fault.UNUSABLE, f"{self._shown}: {error}") from error
        except PermissionError as error:
            raise stores.StoreError(stores.Fault.ACCESS_DENIED, f"{self._shown}: this user may not read it") from error
        except OSError as error:
            raise stores.StoreError(stores.Fault.UNREACHABLE, f"{self._shown}: {error.strerror}") from error
        return stores.Listing(entries, is_folder=True)


class FileStore:
    """One file."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

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

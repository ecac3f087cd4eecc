"""Model bytes in a bucket: S3, Google Cloud Storage, Azure Blob Storage, and what speaks their protocols.

    PREFIX/blobs/ab/ab12...      the bytes
    PREFIX/references/NS/ab12... an empty object: this namespace put them, so it may read them

Any number of ledgers share it: objects are only ever added, and those of one name are the same bytes. Bytes come to a file of
the pod's first, and are checked there, so that nothing else ever gets a name. Nothing is deleted: for how long a model may be
needed is not known here, and a bucket has room.

Credentials, region and endpoint come from the standard variables (AWS_*, GOOGLE_*, AZURE_*), which obstore reads itself.
"""

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import obstore
from obstore import exceptions
from obstore.store import from_url

from leadline_ledger import errors, logs
from leadline_ledger.blobs import receiving
from leadline_ledger.blobs.kept import Found, name_of

_PART_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 20
_CALL_SECONDS: Final = 30.0
_STALL_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 10
_LEAST_BYTES_PER_SECOND: Final = 1 << 20
_SIZES_MAX: Final = 10_000
_ALLOW_HTTP: Final = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
_QUERY: Final = re.compile(r"\?[^\s)\"']*")
"""Of a URL in a message: it may hold a signature."""


class BucketBlobs:
    """See `kept.Blobs`, which this is one of."""

    def __init__(self, uri: str, folder: Path, *, blob_max_bytes: int) -> None:
        """Set up, without asking anything.

        Args:
            uri: `s3://BUCKET/PREFIX`, or gs, az; the prefix may be left out.
            folder: Where bytes lie until they are checked.
            blob_max_bytes: Largest blob.

        Raises:
            SettingsError: The URI or the variables do not name a bucket.
        """
        self._uri = uri.rstrip("/")
        self._incoming = folder / "incoming"
        self._blob_max_bytes = blob_max_bytes
        self._uploads = 0
        self._sizes: dict[tuple[str, str], int] = {}
        """Of blobs that namespaces are known to have put: that never changes."""
        self.trouble = ""
        try:
            self._bucket: Any = from_url(
                self._uri,
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_CALL_SECONDS)},
                client_options={
                    "allow_http": os.environ.get(_ALLOW_HTTP[uri.partition(":")[0]], "").lower() in ("true", "1"),
                    "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                    # Of the whole transfer: stalls are timed chunk by chunk.
                    "timeout": timedelta(days=1),
                },
            )
        except (exceptions.BaseError, ValueError, KeyError) as error:
            raise errors.SettingsError(f"LEADLINE_LEDGER_BLOBS_URI: {self._uri}: {_said(error)}") from error

    @property
    def held_bytes(self) -> int | None:
        """Not known: others may write to the bucket, too."""
        return None

    async def open(self) -> None:
        """Make the folder for what comes in; a bucket that is away costs model bytes only, and no outcome."""
        try:
            await asyncio.to_thread(shutil.rmtree, self._incoming, ignore_errors=True)
            await asyncio.to_thread(self._incoming.mkdir, parents=True)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._incoming}: {error.strerror}"
            logs.warning("cannot take blobs in", reason=self.trouble)

    async def put(self, namespace: str, digest: str, size: int, chunks: AsyncIterator[bytes]) -> bool:
        """Keep bytes; return whether this is new to the namespace."""
        name = name_of(digest)
        receiving.check(size, self._uploads, largest=self._blob_max_bytes)
        self._uploads += 1
        temporary = self._incoming / secrets.token_hex(16)
        try:
            await receiving.receive(temporary, name, size, chunks)
            if await self._size(_blob(name)) != size:
                await self._upload(_blob(name), temporary, size)
            new = await self._size(_reference(namespace, name)) is None
            if new:
                await self._ask(obstore.put_async(self._bucket, _reference(namespace, name), b""))
        except OSError as error:
            raise errors.UnavailableError(f"{self._incoming}: {error.strerror or error}") from error
        finally:
            self._uploads -= 1
            await asyncio.to_thread(temporary.unlink, missing_ok=True)
        self._remember(namespace, name, size)
        return new

    async def find(self, namespace: str, digest: str) -> Found:
        """Return a blob that the namespace put."""
        name = name_of(digest)
        size = self._sizes.get((namespace, name))
        if size is None:
            is_theirs, size = await asyncio.gather(self._size(_reference(namespace, name)), self._size(_blob(name)))
            if is_theirs is None or size is None:
                raise errors.NotFoundError(f"namespace {namespace} has put no blob {digest}")
            self._remember(namespace, name, size)
        return Found(size, read=lambda begin, end: self._read(_blob(name), begin, end))

    async def _read(self, path: str, begin: int, end: int) -> AsyncIterator[bytes]:
        if begin >= end:
            return
        options: Any = {"range": (begin, end)}
        found = await self._ask(obstore.get_async(self._bucket, path, options=options))
        stream = found.stream(min_chunk_size=_CHUNK_BYTES).__aiter__()
        while True:
            try:
                async with asyncio.timeout(_STALL_SECONDS):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except (exceptions.BaseError, TimeoutError) as error:
                raise errors.UnavailableError(f"{self._uri}: {_said(error)}") from error
            yield bytes(chunk)

    async def _upload(self, path: str, file: Path, size: int) -> None:
        seconds = _STALL_SECONDS + size / _LEAST_BYTES_PER_SECOND
        await self._ask(
            obstore.put_async(self._bucket, path, file, chunk_size=_PART_BYTES, max_concurrency=2), seconds=seconds
        )

    async def _size(self, path: str) -> int | None:
        try:
            return int((await self._ask(obstore.head_async(self._bucket, path)))["size"])
        except errors.NotFoundError:
            return None

    async def _ask(self, call: Any, *, seconds: float = _CALL_SECONDS) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise errors.NotFoundError(f"{self._uri}: {_said(error)}") from error
        except (exceptions.BaseError, OSError) as error:
            raise errors.UnavailableError(f"{self._uri}: {_said(error)}") from error

    def _remember(self, namespace: str, name: str, size: int) -> None:
        if len(self._sizes) >= _SIZES_MAX:
            self._sizes.clear()
        self._sizes[namespace, name] = size


def _blob(name: str) -> str:
    return f"blobs/{name[:2]}/{name}"


def _reference(namespace: str, name: str) -> str:
    return f"references/{namespace}/{name}"


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _QUERY.sub("", lines[0])[:300]

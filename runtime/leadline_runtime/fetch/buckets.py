"""Bytes from S3, Google Cloud Storage and Azure Blob Storage, and what speaks their protocols, through obstore.

Credentials, region and endpoint come from the standard variables (AWS_*, GOOGLE_*, AZURE_*), which obstore reads itself;
without any it asks the cloud's own metadata service. Its own retries are off: `transfer` tries again, for ever, and says so.
A URI that ends in / is a folder.
"""

import os
import re
from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import AzureStore, GCSStore, S3Store

from leadline_runtime.fetch import folders, stores

_STATUS: Final = re.compile(r"status code: (\d{3}[ A-Za-z]*)")
_ELAPSED: Final = re.compile(r" in [\d.]+\S*s\b")
"""obstore's messages tell how long a try took; a condition's message must not change with every try."""
_QUERY: Final = re.compile(r"\?[^\s)\"']*")
"""Of a URL in a message: it may hold a signature."""
_LIST_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the three."""

    store: Any
    form: str
    endpoints: tuple[str, ...]
    """Variables that name another endpoint than the cloud's own."""
    allow_http: str


_KINDS: Final = {
    "s3": _Kind(S3Store, "s3://bucket/key", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "AWS_ALLOW_HTTP"),
    "gs": _Kind(GCSStore, "gs://bucket/object", ("GOOGLE_BASE_URL",), "GOOGLE_ALLOW_HTTP"),
    "az": _Kind(AzureStore, "az://container/blob", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"), "AZURE_ALLOW_HTTP"),
}


def source(uri: str) -> stores.Source:
    """Return what a URI names: an object, or a folder of them.

    Raises:
        StoreError: It names none, or the environment does not fit.
    """
    kind = _KINDS[stores.scheme_of(uri)]
    parts = urlsplit(uri)
    key = unquote(parts.path.lstrip("/"))
    shown = stores.shown(uri)
    if not parts.netloc or not key:
        raise stores.StoreError(stores.Fault.NOT_FOUND, f"{shown}: expected {kind.form}")
    bucket = _bucket(kind, parts.netloc.rpartition("@")[2], shown)
    if key.endswith("/"):
        return Folder(bucket, key, shown)
    return stores.OneFile(Object(bucket, key, shown))


def _bucket(kind: _Kind, name: str, shown: str) -> Any:
    endpoint, variable = next(
        ((os.environ[each], each) for each in kind.endpoints if os.environ.get(each)), ("", kind.endpoints[0])
    )
    allow_http = stores.allows(kind.allow_http)
    if endpoint.startswith("http://") and not allow_http:
        raise stores.StoreError(
            stores.Fault.UNREACHABLE,
            f"{shown}: {variable} is {stores.shown(endpoint)}; plain http needs {kind.allow_http}=true",
        )
    try:
        return kind.store(
            name,
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=stores.CONNECT_SECONDS)},
            client_options={
                "allow_http": allow_http,
                "connect_timeout": timedelta(seconds=stores.CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=stores.STALL_SECONDS),
                # Of the whole transfer: stalls are timed byte by byte.
                "timeout": timedelta(days=1),
            },
        )
    except Exception as error:
        raise _error(error, shown) from error


class Folder:
    """All objects below a prefix."""

    def __init__(self, bucket: Any, prefix: str, shown: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._shown = shown

    async def listing(self) -> stores.Listing:
        """List the objects."""
        entries: list[stores.Entry] = []
        try:
            async with timeout(_LIST_SECONDS):
                async for page in obstore.list(self._bucket, self._prefix):
                    entries += [entry for meta in page if (entry := self._entry(dict(meta))) is not None]
                    if len(entries) > folders.FILES_MAX:
                        break
        except Exception as error:
            raise _error(error, self._shown, "LIST") from error
        if not entries:
            message = f"LIST {self._shown}: there is no object below it"
            raise stores.StoreError(stores.Fault.NOT_FOUND, message)
        return stores.Listing(tuple(entries), is_folder=True)

    def _entry(self, meta: dict[str, Any]) -> stores.Entry | None:
        # obstore's prefixes end at a part of the path and lose their slash.
        path = str(meta["path"])
        name = path.removeprefix(self._prefix)
        if name == path or (not meta["size"] and name in {"", "."}):
            return None
        store = Object(self._bucket, path, f"{self._shown}{name}")
        return stores.Entry(name, store, int(meta["size"]), meta["e_tag"] or str(meta["last_modified"]))


class Object:
    """One object."""

    def __init__(self, bucket: Any, key: str, shown: str) -> None:
        self._bucket = bucket
        self._key = key
        self._shown = shown

    @asynccontextmanager
    async def open(self, offset: int, validator: str) -> AsyncIterator[stores.Stream]:
        """Ask for the bytes."""
        options: dict[str, Any] = {"range": {"offset": offset}, "if_match": validator} if offset else {}
        try:
            async with timeout(stores.STALL_SECONDS):
                result = await obstore.get_async(self._bucket, self._key, options=options)  # type: ignore[arg-type]
        except obstore.exceptions.PreconditionError as error:
            raise stores.ChangedError(self._shown) from error
        except Exception as error:
            raise _error(error, self._shown) from error
        meta = result.meta
        yield stores.Stream(
            start=result.range[0],
            total_bytes=meta["size"],
            validator=meta["e_tag"] or "",
            chunks=self._chunks(result),
        )

    async def _chunks(self, result: Any) -> AsyncIterator[bytes]:
        stream = aiter(result.stream(min_chunk_size=stores.CHUNK_BYTES))
        while True:
            try:
                async with timeout(stores.STALL_SECONDS):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except Exception as error:
                raise _error(error, self._shown) from error
            yield bytes(chunk)


def _error(error: Exception, shown: str, verb: str = "GET") -> stores.StoreError:
    """Return our error for one of obstore's, whose classes overlap with the built-in ones."""
    text = str(error)
    status = _STATUS.search(text)
    if status is not None:
        fault = stores.fault_of_status(int(status[1][:3]))
        return stores.StoreError(fault, f"{verb} {shown} answered {status[1].strip()}")
    if isinstance(error, TimeoutError):
        return stores.StoreError(
            stores.Fault.UNREACHABLE,
            f"{verb} {shown}: no byte within {stores.STALL_SECONDS:g} s",
        )
    if isinstance(error, FileNotFoundError):
        return stores.StoreError(stores.Fault.NOT_FOUND, f"{verb} {shown}: there is no such object")
    first = _QUERY.sub("", _ELAPSED.sub("", text.partition("\n")[0]))
    return stores.StoreError(stores.Fault.UNREACHABLE, f"{verb} {shown}: {first[:400]}")

"""What all stores have in common: how bytes are asked for, and how it can go wrong.

`open_store` picks the store of a URI. A store gives a `Stream` that begins at the offset asked for, or at 0 where it
cannot; `transfer` writes it down and decides about trying again. Messages never hold credentials or a query.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from leadline_runtime import errors

CONNECT_SECONDS: Final = 10.0
STALL_SECONDS: Final = 30.0
"""Longest wait for the next bytes of a transfer."""
CHUNK_BYTES: Final = 1 << 20


class Fault(enum.Enum):
    """What kept us from the bytes."""

    NOT_FOUND = "not found"
    ACCESS_DENIED = "access denied"
    UNREACHABLE = "unreachable"


class StoreError(errors.LeadlineRuntimeError):
    """A store did not give the bytes; the message says what was asked where, and what came."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class ChangedError(errors.LeadlineRuntimeError):
    """The object is another one than at the last try: what was fetched so far is of no use."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes on their way."""

    start: int
    """Offset of the first byte: what was asked for, or 0."""
    total_bytes: int
    """Of the whole object; 0: not known."""
    validator: str
    """What tells this object from another one at the same place; empty: nothing does, so no resume."""
    chunks: AsyncIterator[bytes]


class Store(Protocol):
    """One object in one store."""

    def open(self, offset: int, validator: str) -> AbstractAsyncContextManager[Stream]:
        """Ask for the bytes from an offset on.

        Raises:
            StoreError: They are not to be had now.
            ChangedError: The validator does not hold any more.
        """
        ...


def open_store(uri: str) -> Store:
    """Return the store of a URI.

    Raises:
        StoreError: The URI names none.
    """
    from leadline_runtime.fetch import files, web  # noqa: PLC0415  # they import this module

    scheme = urlsplit(uri).scheme
    if scheme == "file":
        return files.FileStore(uri)
    if scheme in {"http", "https"}:
        return web.WebStore(uri)
    if scheme == "s3":
        from leadline_runtime.fetch import s3  # noqa: PLC0415  # obstore takes 10 MB: only where it is needed

        return s3.S3Object(uri)
    raise StoreError(Fault.NOT_FOUND, f"{shown(uri)}: expected a URI of file, http, https or s3")


def shown(uri: str) -> str:
    """Return a URI as messages and logs may show it: without user, password, query and fragment."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        place = host if parts.port is None else f"{host}:{parts.port}"
    except ValueError:
        return uri.partition("://")[0] + "://..."
    # The bucket of an s3 URI may have capitals, which `hostname` lowers.
    if parts.scheme not in {"http", "https"}:
        place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def fault_of_status(status: int) -> Fault:
    """Return what an HTTP status other than 2xx means for us."""
    if status in {404, 410}:
        return Fault.NOT_FOUND
    return Fault.ACCESS_DENIED if status in {401, 403} else Fault.UNREACHABLE

"""What all stores have in common: what is behind a URI, how bytes are asked for, and how it can go wrong.

`opening` picks the source of a URI; its listing says whether one file is there or a folder, and has a store for each
file. A store gives a `Stream` that begins at the offset asked for, or at 0 where it cannot; `transfer` writes one down and
`gathering` all of them. Messages never hold credentials, a query or a fragment.
"""

from __future__ import annotations

import enum
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

from leadline_runtime import errors

CONNECT_SECONDS: Final = 10.0
STALL_SECONDS: Final = 30.0
"""Longest wait for the next bytes of a transfer."""
CHUNK_BYTES: Final = 1 << 20
SCHEMES: Final = ("file", "pvc", "http", "https", "s3", "gs", "az", "oci", "hf")
"""Besides `models:/`, which has no host."""
_YES: Final = {"true", "1", "yes"}


class Fault(enum.Enum):
    """What kept us from the bytes."""

    NOT_FOUND = "not found"
    ACCESS_DENIED = "access denied"
    UNREACHABLE = "unreachable"
    UNUSABLE = "unusable"
    """Something is there, but nothing that can be a model, whoever asks again."""


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of what is behind a URI."""

    path: str
    """In the folder; of no meaning where the URI names a file."""
    store: Store
    size_bytes: int = 0
    """0: not known before it is asked for."""
    version: str = ""
    """What tells these bytes from others at the same path, as far as the listing knows."""
    digest: str = ""
    """`sha256:<hex>` that the bytes must have; empty: any."""
    packed: Literal["", "tar", "tar+gzip"] = ""
    """The bytes are an archive, and its files are meant."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is behind a URI."""

    entries: tuple[Entry, ...]
    is_folder: bool
    resolved: str = ""
    """What a name that may move stood for: a manifest's digest, a commit, a version."""


class Source(Protocol):
    """What a URI names."""

    async def listing(self) -> Listing:
        """Find out what is there.

        Raises:
            StoreError: That cannot be told now.
        """
        ...


@dataclass(frozen=True, slots=True)
class OneFile:
    """A source that is one object."""

    store: Store

    async def listing(self) -> Listing:
        """Return the one file; whether it is there is found out when it is opened."""
        return Listing((Entry("", self.store),), is_folder=False)


def scheme_of(uri: str) -> str:
    """Return the scheme in lower case; `models` for MLflow's URIs, which have no host."""
    if uri.startswith("models:/"):
        return "models"
    scheme, mark, _ = uri.partition("://")
    return scheme.lower() if mark else ""


def shown(uri: str) -> str:
    """Return a URI as messages and logs may show it: without user, password, query and fragment."""
    scheme = scheme_of(uri)
    if scheme == "models":
        return uri.partition("#")[0].partition("?")[0]
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        place = host if parts.port is None else f"{host}:{parts.port}"
    except ValueError:
        return uri.partition("://")[0] + "://..."
    # The bucket of an s3 URI may have capitals, which `hostname` lowers. An organisation of hf may not be a host at all.
    if scheme not in {"http", "https"}:
        place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def fragment_of(uri: str) -> str:
    """Return which file of a folder a URI names after `#`; empty: none."""
    return unquote(uri.partition("#")[2])


def fault_of_status(status: int) -> Fault:
    """Return what an HTTP status other than 2xx means for us."""
    if status in {404, 410}:
        return Fault.NOT_FOUND
    return Fault.ACCESS_DENIED if status in {401, 403} else Fault.UNREACHABLE


def allows(variable: str) -> bool:
    """Tell whether a variable of the environment says yes."""
    return os.environ.get(variable, "").lower() in _YES

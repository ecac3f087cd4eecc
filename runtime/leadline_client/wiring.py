"""What both clients hand to httpx, and how they read what it gives; httpx is imported by the first that needs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from leadline_client import calls, errors, sqlite, steps, store

if TYPE_CHECKING:
    import ssl

    import httpx

ANSWER_BYTES_MAX: Final = 256 << 20
"""Of one answer; a model's outputs are rarely a hundredth of that."""
_CONNECT_SECONDS_MAX: Final = 5.0
LEAST_SECONDS: Final = 0.001
"""A limit of nothing would be none to some."""
_KEEP_SECONDS: Final = 30.0
"""A connection that was not used for so long is made anew."""
inherited: Final[list[Any]] = []
"""Connections from before a fork, which the parent uses: closing them here would end its TLS sessions."""


def opened(place: str | os.PathLike[str] | store.Store | None) -> tuple[store.Store | None, bool]:
    """Return the store that a setting names, and whether the client made it.

    Raises:
        InputError: It is none.
    """
    if place is None:
        return None, False
    if isinstance(place, str | os.PathLike):
        if not os.fspath(place):
            raise errors.InputError("store: expected the path of a file, a Store or None, got an empty path")
        return sqlite.SqliteStore(place), True
    if not hasattr(place, "remember"):
        raise errors.InputError(f"store: expected the path of a file, a Store or None, got {place!r}")
    return place, False


class Body:
    """An answer's body as it comes."""

    def __init__(self, end: float) -> None:
        """Set up; `end` is when it must be whole, on the monotonic clock."""
        self._end = end
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes, now: float) -> str:
        """Take a part; return why no more is taken, empty where there is no reason."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > ANSWER_BYTES_MAX:
            return f"the answer is longer than {ANSWER_BYTES_MAX} bytes"
        return "the answer did not end in time" if now > self._end else ""

    @property
    def bytes(self) -> bytes:
        """The whole body."""
        return b"".join(self._parts)


def headers(settings: calls.Settings, request: steps.Request) -> dict[str, str]:
    """Return a request's headers. Packing an answer costs more within a cluster than it saves: none is asked for."""
    return {"accept-encoding": "identity", **settings.headers, **request.headers}


def timeout(seconds: float) -> httpx.Timeout:
    """Return the limits of one request."""
    import httpx  # noqa: PLC0415 - 100 ms

    return httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS_MAX))


def limits(settings: calls.Settings) -> httpx.Limits:
    """Return the limits of the connections."""
    import httpx  # noqa: PLC0415 - 100 ms

    count = settings.connections
    return httpx.Limits(max_connections=count, max_keepalive_connections=count, keepalive_expiry=_KEEP_SECONDS)


def verify(settings: calls.Settings, wished: bool | ssl.SSLContext) -> bool | ssl.SSLContext:  # noqa: FBT001 - httpx's
    """Return how certificates are checked. Without TLS the list of authorities, 30 ms, is not read."""
    return wished if settings.url.startswith("https:") else False


def response(received: httpx.Response, body: Body) -> steps.Response:
    """Return an answer as flows read it."""
    return steps.Response(
        received.status_code, {name.lower(): value for name, value in received.headers.items()}, body.bytes
    )


def said(request: steps.Request, url: str, error: Exception) -> str:
    """Return why there was no answer."""
    return f"{request.method} {url}: {type(error).__name__}{f': {error}' if str(error) else ''}"

"""Bytes over HTTP and HTTPS.

Headers from the credentials Secret go to the URI's own host only: HTTP_AUTHORIZATION is the value of one header,
HTTP_HEADERS holds a line for each, such as `x-api-key: abc`.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

from leadline_runtime.fetch import calls, stores

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS: Final = {"host", "connection", "content-length", "transfer-encoding", "range", "if-range", "accept-encoding"}
"""Headers that the request itself needs."""


class WebStore:
    """One URL."""

    def __init__(self, uri: str, *, headers: Mapping[str, str] | None = None) -> None:
        """Name one URL; the headers go to its host only, as credentials in the URI do."""
        self._uri = uri
        self._given = dict(headers or {})

    @asynccontextmanager
    async def open(self, offset: int, validator: str) -> AsyncIterator[stores.Stream]:
        """Ask for the bytes, following redirects."""
        async with calls.got(self._uri, self._given, offset, validator) as answer:
            yield self._stream(answer, offset)

    def _stream(self, answer: calls.Answer, offset: int) -> stores.Stream:
        headers, status = answer.headers, answer.status
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            raise stores.ChangedError(stores.shown(self._uri))
        answer.require({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
        start, total = 0, int(headers.get("content-length", "0"))
        if status == HTTPStatus.PARTIAL_CONTENT:
            start, total = calls.content_range(headers.get("content-range", ""))
            if start != offset:
                raise answer.error(f"answered a range from byte {start}, expected {offset}")
        # A weak ETag may stand for other bytes, so it allows no resume.
        validator = headers.get("etag", "")
        if not validator or validator.startswith("W/"):
            validator = headers.get("last-modified", "")
        return stores.Stream(start=start, total_bytes=total, validator=validator, chunks=answer.body())


def given_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the environment holds.

    Raises:
        StoreError: A line is none; its value is not shown.
    """
    headers: dict[str, str] = {}
    lines = environment.get("HTTP_HEADERS", "").splitlines()
    if authorization := environment.get("HTTP_AUTHORIZATION", "").strip():
        lines.append(f"authorization: {authorization}")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, mark, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not mark or not _NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            message = f"HTTP_HEADERS, line {number}: expected a header such as 'x-api-key: abc' in ASCII"
            raise stores.StoreError(stores.Fault.ACCESS_DENIED, message)
        if name in _OURS:
            message = f"HTTP_HEADERS, line {number}: the header {name} is not for Secrets; remove it"
            raise stores.StoreError(stores.Fault.ACCESS_DENIED, message)
        headers[name] = value
    return headers

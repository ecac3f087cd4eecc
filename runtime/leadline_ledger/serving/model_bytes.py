"""The calls on model bytes: put, ask for, get."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from leadline_ledger import errors
from leadline_ledger.blobs.kept import Blobs, Found
from leadline_ledger.serving import edge

_CHUNK_BYTES: Final = 1 << 20
_TYPE: Final = {"content-type": "application/octet-stream"}
_CHUNK_SECONDS: Final = 30.0
"""A sender that brings nothing for so long is let go."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ModelBytes:
    """Handlers; a namespace has what it put."""

    def __init__(self, kept: Blobs, rim: edge.Edge) -> None:
        """Set up."""
        self._blobs = kept
        self._rim = rim

    async def put(self, request: web.Request) -> web.Response:
        """Keep bytes: 201 where they are new to the namespace, else 200."""
        if request.content_length is None:
            raise errors.BadInputError("expected the header content-length, so that there is room before bytes come")
        new = await self._blobs.put(
            self._namespace(request), request.match_info["digest"], request.content_length, _chunks(request)
        )
        return web.Response(status=201 if new else 200)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Return bytes, or the range that is asked for; for HEAD without them."""
        found = await self._blobs.find(self._namespace(request), request.match_info["digest"])
        if found.path is not None:
            return web.FileResponse(found.path, chunk_size=_CHUNK_BYTES, headers=_TYPE)
        return await _passed_on(request, found)

    def _namespace(self, request: web.Request) -> str:
        namespace = self._rim.require_namespace(request)
        if not _NAME.fullmatch(namespace):
            raise errors.BadInputError(f"expected a DNS label of at most 63 characters, got {namespace[:80]!r}")
        return namespace


async def _passed_on(request: web.Request, found: Found) -> web.StreamResponse:
    """Answer with bytes, or the range of them that is asked for, as they come."""
    try:
        asked = request.http_range
        begin, end, _ = asked.indices(found.size)
        is_part = asked != slice(None, None, 1)
    except ValueError:
        begin, end, is_part = 0, 0, True
    if is_part and begin >= end:
        return web.Response(status=416, headers={"content-range": f"bytes */{found.size}"})
    response = web.StreamResponse(status=206 if is_part else 200, headers={**_TYPE, "accept-ranges": "bytes"})
    response.content_length = end - begin
    if is_part:
        response.headers["content-range"] = f"bytes {begin}-{end - 1}/{found.size}"
    if request.method == "HEAD" or found.read is None:
        await response.prepare(request)
        return response
    chunks = found.read(begin, end)
    # The first before the head, so that a bucket that is away is still told by a status.
    first = await anext(chunks, b"")
    await response.prepare(request)
    await response.write(first)
    async for chunk in chunks:
        await response.write(chunk)
    return response


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(_CHUNK_SECONDS):
            chunk = await request.content.read(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk

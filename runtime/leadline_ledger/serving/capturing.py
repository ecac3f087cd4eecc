"""The call that brings captured inputs: a chunk in, a Parquet file kept."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from aiohttp import web
from leadline_wire import capture_files, captures

from leadline_ledger import errors
from leadline_ledger.captures import joining, naming
from leadline_ledger.captures.kept import Captures
from leadline_ledger.serving import asked, edge

_BODY_SECONDS: Final = 30.0
_READ_SECONDS: Final = 60.0
_UNDER_WAY_MAX: Final = 4
"""Chunks in memory at a time; more are answered 503, and come again."""
_KEEP_MS_MAX: Final = 100 * 366 * 86_400_000
_decode: Final = msgspec.msgpack.Decoder(captures.Chunk).decode


class Capturing:
    """Handlers; who may bring outcomes of a model may bring inputs of it."""

    def __init__(self, kept: Captures, rim: edge.Edge) -> None:
        """Set up."""
        self._kept = kept
        self._rim = rim
        self._under_way = 0
        # One: what is encoded competes with the intake for Python's lock.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-captures")

    async def put(self, request: web.Request) -> web.Response:
        """Keep a chunk."""
        model = asked.model(self._rim, request)
        keep_ms = asked.number(request, "keep_ms", 30 * 86_400_000, _KEEP_MS_MAX, least=1)
        most_bytes = asked.number(request, "max_bytes", 1 << 30, 1 << 44, least=1)
        if (request.content_length or 0) > captures.CHUNK_BYTES_MAX:
            raise errors.TooLargeError(
                f"body of {request.content_length} bytes, expected at most {captures.CHUNK_BYTES_MAX}"
            )
        if self._under_way >= _UNDER_WAY_MAX:
            raise errors.BusyError(f"{self._under_way} chunks of captured inputs are under way, limit {_UNDER_WAY_MAX}")
        self._under_way += 1
        try:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    body = await request.read()
            except web.HTTPRequestEntityTooLarge as error:
                raise errors.TooLargeError(f"body is larger than {captures.CHUNK_BYTES_MAX} bytes") from error
            loop = asyncio.get_running_loop()
            path, content = await loop.run_in_executor(self._thread, _made, model, body, keep_ms)
            await self._kept.put(path, content, model=model, most_bytes=most_bytes)
        finally:
            self._under_way -= 1
        return web.Response(status=204)

    async def describe(self, request: web.Request) -> web.Response:
        """Say what there is."""
        model = asked.model(self._rim, request)
        files = await self._kept.files(model)
        loop = asyncio.get_running_loop()

        def read(file: naming.File) -> bytes | None:
            return asyncio.run_coroutine_threadsafe(self._kept.read(file), loop).result(_READ_SECONDS)

        try:
            joiner = await loop.run_in_executor(self._thread, joining.Joiner, files, read)
        except TimeoutError as error:
            raise errors.UnavailableError(f"captured inputs cannot be read within {_READ_SECONDS:.0f} s") from error
        described = capture_files.Described(
            rows=sum(file.rows for file in files),
            files=len(files),
            bytes=sum(file.size_bytes for file in files),
            columns=joiner.kinds,
            row_bytes=joiner.row_bytes,
        )
        return web.Response(body=msgspec.json.encode(described), headers={"content-type": "application/json"})

    async def close(self, _: web.Application) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)


def _made(model: str, body: bytes, keep_ms: int) -> tuple[str, bytes]:
    """Return the file's name and bytes."""
    try:
        chunk = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.BadInputError(f"body: {error}") from error
    if said := captures.problem(chunk):
        raise errors.BadInputError(f"body: {said}")
    return naming.path_of(model, chunk, body, keep_ms=keep_ms), capture_files.parquet(chunk)

"""The call that makes a test set out of outcomes, and keeps it among the namespace's blobs."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from aiohttp import web
from leadline_wire import captures, ledger, outcome_rows

from leadline_ledger import errors, store
from leadline_ledger.blobs.kept import Blobs
from leadline_ledger.captures import labelled, naming
from leadline_ledger.captures.kept import Captures
from leadline_ledger.serving import asked, edge

_PAGE_ENTRIES: Final = 2_000
_READ_SECONDS: Final = 60.0
_WHOLE_SECONDS: Final = 600.0
_entry: Final = msgspec.json.Decoder(ledger.Entry).decode


class Growing:
    """Handlers; who may bring outcomes of a model may have a test set made of them."""

    def __init__(self, kept: store.Store, captured: Captures, blobs: Blobs, rim: edge.Edge) -> None:
        """Set up."""
        self._store = kept
        self._captured = captured
        self._blobs = blobs
        self._rim = rim
        # One at a time: it reads much.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-test-set")
        self._is_busy = False

    async def make(self, request: web.Request) -> web.Response:
        """Make one of what there is now."""
        model = asked.model(self._rim, request)
        size = asked.number(request, "size", 2_000, captures.TEST_SET_ROWS_MAX, least=1)
        percent = asked.number(request, "test_percent", outcome_rows.TEST_PERCENT, 100)
        if self._is_busy:
            raise errors.BusyError("another test set is being made")
        self._is_busy = True
        try:
            async with asyncio.timeout(_WHOLE_SECONDS):
                made = await self._made(model, size, percent)
                if made is None:
                    return _told(captures.GrownSet(0))
                digest = f"sha256:{hashlib.sha256(made.content).hexdigest()}"
                await self._blobs.put(model.partition("/")[0], digest, len(made.content), _whole(made.content))
        except TimeoutError as error:
            raise errors.UnavailableError(f"no test set was made within {_WHOLE_SECONDS:.0f} s") from error
        finally:
            self._is_busy = False
        return _told(captures.GrownSet(made.rows, digest))

    async def close(self, _: web.Application) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)

    async def _made(self, model: str, size: int, percent: int) -> labelled.Made | None:
        loop = asyncio.get_running_loop()
        files = await self._captured.files(model)
        if not files:
            return None
        labels, after, timeline = labelled.Labels(percent), 0, ""
        while True:
            page = await self._store.read(after, limit=_PAGE_ENTRIES, model=model, timeline=timeline)
            if not page.entries:
                break
            timeline = page.timeline
            after = await loop.run_in_executor(self._thread, _add, labels, page)

        def read(file: naming.File) -> bytes | None:
            return asyncio.run_coroutine_threadsafe(self._captured.read(file), loop).result(_READ_SECONDS)

        found = labels.found()
        return await loop.run_in_executor(self._thread, lambda: labelled.made(found, files, read, size=size))


def _add(labels: labelled.Labels, page: store.Stretch) -> int:
    """Take in a page; return its last number."""
    entries = [_entry(raw) for raw in page.entries]
    for entry in entries:
        labels.add(entry)
    last: int = entries[-1].seq
    return last


def _told(grown: captures.GrownSet) -> web.Response:
    return web.Response(body=msgspec.json.encode(grown), headers={"content-type": "application/json"})


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content

"""The call that gives outcomes as a table: Parquet or JSON lines, written while it is read.

The log is read twice. First all of the stretch, to know where it ends, for the headers, and of which kind predictions are,
for the columns; then again, page by page, into the table. Entries never change, and those that were deleted for age in
between are missing. Neither time is more than a page in memory, whoever reads the answer however slowly.

All work on entries is done in a thread. It asks the event loop for pages and for the answer's bytes to be sent, and waits
for both; an answer that fails midway is cut off, so that nobody takes it for whole.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from leadline_wire import ledger, outcome_files, outcome_rows

from leadline_ledger import errors, logs, store
from leadline_ledger.captures import joining, naming
from leadline_ledger.captures.kept import Captures
from leadline_ledger.serving import asked, edge

T = TypeVar("T")
EXPORTS_MAX: Final = 2
"""At the same time; more are answered 503. Each is a thread that competes with the intake."""
_PAGE_ENTRIES: Final = outcome_files.BATCH_ROWS
_ENTRIES_MAX: Final = 4 * ledger.OUTCOMES_LIMIT_MAX
"""Looked at for one table, where hardly any are outcomes."""
_TURN_ROWS: Final = 16
"""Made in a thread while the event loop waits: half a millisecond."""
_LINES_BYTES: Final = 256 << 10
"""Made into columns at once, where rows have large inputs."""
_SEND_BYTES: Final = 64 << 10
_SEND_SECONDS: Final = 60.0
"""A reader that takes nothing for so long is let go."""
_CURSOR_MAX: Final = (1 << 63) - 1
_entry: Final = msgspec.json.Decoder(ledger.Entry).decode


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a call wants."""

    model: str
    after: int
    timeline: str
    limit: int
    format: str
    split: str
    """train, test; empty: both."""
    test_percent: int
    inputs: str = ""
    """true: with captured inputs; only: outcomes that have them alone; empty: without."""

    def outcomes(self, entries: tuple[bytes, ...], end: int) -> list[ledger.OutcomeEntry]:
        """Return the outcomes among entries up to `end` that stand on the side that is asked for."""
        found = [entry for entry in map(_entry, entries) if isinstance(entry, ledger.OutcomeEntry) and entry.seq <= end]
        if not self.split:
            return found
        return [entry for entry in found if outcome_rows.side_of(entry, self.test_percent) == self.split]


@dataclass(slots=True)
class _Found:
    """What the first reading found out."""

    cursor: int
    """Of the last entry that was looked at: from there the next table goes on."""
    timeline: str = ""
    more: bool = False
    outcomes: int = 0
    entries: int = 0
    kinds: set[outcome_rows.Kind] = field(default_factory=set)
    is_parted: bool = False
    """More rows of the same prediction follow."""

    def is_full(self, limit: int) -> bool:
        """Tell whether the table ends here; rows of one prediction are never parted."""
        return not self.is_parted and (self.outcomes >= limit or self.entries >= _ENTRIES_MAX)


class Exports:
    """Handlers; who may read a model's log may read its outcomes."""

    def __init__(self, kept: store.Store, captured: Captures, rim: edge.Edge) -> None:
        """Set up."""
        self._store = kept
        self._captured = captured
        self._rim = rim
        self._threads = ThreadPoolExecutor(EXPORTS_MAX, thread_name_prefix="ledger-export")
        self._under_way = 0
        self._working: set[_Telling] = set()

    async def close(self, _: web.Application) -> None:
        """End all exports: the server ends, and a reader that reads nothing would hold it up."""
        for work in tuple(self._working):
            work.stop()
        self._threads.shutdown(wait=False)

    async def outcomes(self, request: web.Request) -> web.StreamResponse:
        """Return the outcomes after a cursor as a table."""
        wanted = _Asked(
            model=asked.model(self._rim, request),
            after=asked.number(request, "after", 0, _CURSOR_MAX),
            timeline=request.query.get("timeline", ""),
            limit=asked.number(request, "limit", ledger.OUTCOMES_LIMIT_MAX, ledger.OUTCOMES_LIMIT_MAX, least=1),
            format=asked.one_of(request, "format", ("parquet", "ndjson")),
            split=asked.one_of(request, "split", ("", "train", "test")),
            test_percent=asked.number(request, "test_percent", outcome_rows.TEST_PERCENT, 100),
            inputs=asked.one_of(request, "inputs", ("", "true", "only")),
        )
        if self._under_way >= EXPORTS_MAX:
            raise errors.BusyError(f"{self._under_way} exports are under way, limit {EXPORTS_MAX}")
        self._under_way += 1
        try:
            files = await self._captured.files(wanted.model) if wanted.inputs else []
            found = await self._look(wanted)
            return await self._tell(request, wanted, found, files)
        finally:
            self._under_way -= 1

    async def _look(self, wanted: _Asked) -> _Found:
        """Read the stretch for the first time."""
        loop = asyncio.get_running_loop()
        found = _Found(wanted.after, wanted.timeline)
        while not found.is_full(wanted.limit):
            page = await self._page(wanted, found.cursor, found.timeline)
            found.timeline = page.timeline
            if not page.entries:
                # Nothing of this model up to the head: what comes later is beyond it.
                found.cursor = max(found.cursor, page.head)
                return found
            await loop.run_in_executor(self._threads, _count, wanted, page, found)
        found.more = bool((await self._page(wanted, found.cursor, found.timeline, limit=1)).entries)
        return found

    async def _tell(
        self, request: web.Request, wanted: _Asked, found: _Found, files: list[naming.File]
    ) -> web.StreamResponse:
        is_parquet = wanted.format == "parquet"
        headers = {
            "content-type": outcome_files.PARQUET_TYPE if is_parquet else outcome_files.NDJSON_TYPE,
            ledger.CURSOR_HEADER: str(found.cursor),
            ledger.TIMELINE_HEADER: found.timeline,
            ledger.MORE_HEADER: str(found.more).lower(),
        }
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        loop = asyncio.get_running_loop()
        work = _Telling(loop, self._page, answer, wanted, found)
        work.captured, work.files = self._captured, files
        self._working.add(work)
        # Kept, for aiohttp takes it away from a request whose server ends.
        work.transport = request.transport
        try:
            await loop.run_in_executor(self._threads, work.run)
            await answer.write_eof()
            work.transport = None
        except Exception as error:  # noqa: BLE001 - the status has gone out: all that can be told is that it is not whole
            if not isinstance(error, ConnectionError):
                logs.warning("an export was cut off", model=wanted.model, after=wanted.after, reason=repr(error))
        finally:
            self._working.discard(work)
            work.stop()
        return answer

    async def _page(self, wanted: _Asked, after: int, timeline: str, limit: int = _PAGE_ENTRIES) -> store.Stretch:
        return await self._store.read(after, limit=limit, model=wanted.model, timeline=timeline)


class _Telling:
    """The second reading, in a thread of its own."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, page: Any, answer: web.StreamResponse, wanted: _Asked, found: _Found
    ) -> None:
        """Set up."""
        self._loop = loop
        self._page = page
        self._answer = answer
        self._wanted = wanted
        self._found = found
        self._held = bytearray()
        self.transport: asyncio.BaseTransport | None = None
        """Whom to cut off; None: nobody any more."""
        self.captured: Captures | None = None
        """Where inputs are."""
        self.files: list[naming.File] = []
        """With inputs; none are asked for, or none there: none."""
        self._joiner: joining.Joiner | None = None
        self._stopped = threading.Event()
        self._doing: Future[Any] | None = None
        """What the event loop was asked for last."""

    def stop(self) -> None:
        """Have the thread end now, whatever it waits for, and cut the reader off who has not got all."""
        self._stopped.set()
        if self._doing is not None:
            self._doing.cancel()
        if isinstance(self.transport, asyncio.WriteTransport):
            # Without an end the reader sees that it was cut off, whatever came so far.
            self.transport.abort()

    def run(self) -> None:
        """Write the whole table."""
        if self.files:
            self._joiner = joining.Joiner(self.files, self._file)
        if self._wanted.format == "parquet":
            outcome_files.write(
                self._lines(),
                self._send,
                kind=outcome_rows.one_kind(self._found.kinds),
                metadata=self._metadata(),
                inputs=self._joiner.kinds if self._joiner is not None else None,
                row_bytes=self._joiner.row_bytes if self._joiner is not None else 0,
            )
        else:
            for lines in self._lines():
                self._send(lines)
        if self._held:
            self._await(self._answer.write(bytes(self._held)))

    def _lines(self) -> Iterator[bytes]:
        as_text = self._wanted.format == "parquet" and outcome_rows.one_kind(self._found.kinds) == "string"
        percent, after, end = self._wanted.test_percent, self._wanted.after, self._found.cursor
        while after < end:
            page: store.Stretch = self._await(self._page(self._wanted, after, self._found.timeline))
            if not page.entries:
                return
            entries = self._wanted.outcomes(page.entries, end)
            after = _entry(page.entries[-1]).seq
            if self._joiner is not None:
                self._joiner.look_for(entry.id for entry in entries)
            lines: list[bytes] = []
            size = 0
            for entry in _in_turns(entries):
                inputs = self._inputs(entry)
                if inputs is None and self._wanted.inputs == "only":
                    continue
                lines.append(outcome_files.line(outcome_rows.row_of(entry, percent, as_text=as_text), inputs))
                size += len(lines[-1])
                if size >= _LINES_BYTES:
                    yield b"".join(lines)
                    lines, size = [], 0
            if lines:
                yield b"".join(lines)

    def _inputs(self, entry: ledger.OutcomeEntry) -> dict[str, Any] | None:
        """Return the inputs of an outcome, an entry for each column; None: there are none."""
        if self._joiner is None:
            return None
        found = self._joiner.inputs((entry.id, entry.row))
        if found is None and self._wanted.inputs == "only":
            return None
        return dict.fromkeys(self._joiner.kinds) | (found or {})

    def _file(self, file: naming.File) -> bytes | None:
        assert self.captured is not None, "where the file was found"
        content: bytes | None = self._await(self.captured.read(file))
        return content

    def _send(self, content: bytes) -> None:
        self._held += content
        if len(self._held) >= _SEND_BYTES:
            ready, self._held = bytes(self._held), bytearray()
            self._await(self._answer.write(ready))

    def _await(self, asked_for: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do something, and wait for it."""
        doing = asyncio.run_coroutine_threadsafe(asked_for, self._loop)
        self._doing = doing
        if self._stopped.is_set():  # looked at after it can be cancelled, so that no stop is missed
            doing.cancel()
        try:
            return doing.result(_SEND_SECONDS)
        except BaseException:
            doing.cancel()
            raise

    def _metadata(self) -> dict[str, str]:
        wanted, found = self._wanted, self._found
        return {
            "schema": outcome_rows.VERSION,
            "model": wanted.model,
            "after": str(wanted.after),
            "cursor": str(found.cursor),
            "timeline": found.timeline,
            "more": str(found.more).lower(),
            "split": wanted.split or "both",
            "test_percent": str(wanted.test_percent),
            **({"inputs": wanted.inputs} if wanted.inputs else {}),
        }


def _in_turns(items: Iterable[T]) -> Iterator[T]:
    """Yield items, and let the event loop have Python's lock after every few, which else it gets each 5 milliseconds."""
    for place, item in enumerate(items):
        if place % _TURN_ROWS == 0:
            time.sleep(0)
        yield item


def _count(wanted: _Asked, page: store.Stretch, found: _Found) -> None:
    """Add what a page holds, up to where the table is full."""
    for raw in _in_turns(page.entries):
        entry = _entry(raw)
        found.cursor = entry.seq
        found.entries += 1
        found.is_parted = not isinstance(entry, ledger.DecisionEntry) and entry.more > 0
        if isinstance(entry, ledger.OutcomeEntry):
            found.outcomes += 1
            if not wanted.split or outcome_rows.side_of(entry, wanted.test_percent) == wanted.split:
                found.kinds |= outcome_rows.kinds_of_entry(entry)
        if found.is_full(wanted.limit):
            return

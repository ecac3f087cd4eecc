"""A store as asyncio sees it: calls go to the writer thread, reads to a few threads of their own."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from leadline_wire import ledger

from leadline_ledger import errors, logs, store
from leadline_ledger.bookkeeping import labelling, maturing, taking
from leadline_ledger.threads import writer

T = TypeVar("T")
_CALL_SECONDS: Final = 30.0
"""From a call to its commit; a disk that takes longer is as good as none."""
_READERS: Final = 2
WATCHERS_MAX: Final = 64
"""Long polls at the same time: an operator has one or two."""
_OPENING: Final = "the database is being opened"
TIDY_ROWS: Final = 500
"""Of each kind per transaction; some ten milliseconds."""


class Reader(Protocol):
    """A database as threads that read use it, each with a connection of its own; each call is one snapshot.

    Each raises `UnavailableError` where it cannot be read.
    """

    def resume(self) -> ledger.Resume:
        """Return what an operator begins with."""

    def stretch(self, after: int, *, limit: int, model: str, timeline: str) -> store.Stretch:
        """Return the entries after a cursor.

        Raises:
            GoneError: The cursor is beyond the log, or of another history.
        """

    def wanted(self, model: str, *, limit: int, since_ms: int) -> ledger.Wanted:
        """Return answers that would tell two revisions apart."""

    def labels_waiting(self, model: str, limit: int) -> list[bytes]:
        """Return the oldest labelled rows that wait, each a `ledger.Label` as JSON."""

    def labels(self, model: str) -> list[tuple[str | None, int]]:
        """Return how many labelled rows had which fate, a `ledger.LabelFate` as JSON; None: they wait."""

    def close(self) -> None:
        """Close all connections; no thread reads any more."""


class ThreadedStore:
    """See `store.Store`, which this is one of."""

    def __init__(self, engine: writer.Engine, reader: Reader, *, clock_ms: Callable[[], int]) -> None:
        """Set up, without opening anything.

        Args:
            engine: The database, for the thread that writes.
            reader: The same, for those that read.
            clock_ms: The time, in milliseconds since the epoch.
        """
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = writer.Writer(engine, clock_ms=clock_ms, done=self._hand_over)
        self._reader = reader
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="ledger-reader")
        self._watchers: set[asyncio.Future[None]] = set()
        self._closing = False
        self._trouble = _OPENING
        self._head = 0
        self._due_ms: int | None = None
        self._counts = store.Counts()

    async def open(self) -> None:
        """Start the threads and try to open the database; where that is not possible, `trouble` says why."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        try:
            await self.probe()
        except (errors.UnavailableError, errors.FullError):
            logs.warning("starting without a database", reason=self._trouble)

    @property
    def trouble(self) -> str:
        """Why nothing can be kept now; empty: it can."""
        return self._trouble

    @property
    def head(self) -> int:
        """Newest durable `seq`."""
        return self._head

    @property
    def due_ms(self) -> int | None:
        """When the next answer matures."""
        return self._due_ms

    @property
    def waiting(self) -> int:
        """Calls that wait to become durable."""
        return self._writer.waiting

    @property
    def counts(self) -> store.Counts:
        """What was done so far."""
        return self._counts

    async def take(self, model: str, intake: ledger.Intake) -> list[ledger.Fate]:
        """Keep what a runtime brings."""
        taking.check(intake)
        items = len(intake.outcomes) + len(intake.predictions) + len(intake.copies) + len(intake.labelled)
        fates: list[ledger.Fate] = await self._call(
            lambda work: taking.take(work, model, intake), items, model=model, intake=intake
        )
        return fates

    async def label(self, model: str, rows: Sequence[store.LabelledRow], *, user: str) -> ledger.LabelsAnswer:
        """Keep labelled rows, each once."""
        answer: ledger.LabelsAnswer = await self._call(
            lambda work: labelling.take(work, model, rows, user=user), len(rows)
        )
        return answer

    async def labels_waiting(self, model: str, *, limit: int) -> list[bytes]:
        """Return the oldest labelled rows that wait."""
        return await self._read(lambda: self._reader.labels_waiting(model, limit))

    async def labels(self, model: str) -> ledger.LabelsState:
        """Return how far labelled rows are."""
        return labelling.state(await self._read(lambda: self._reader.labels(model)))

    async def decide(self, model: str, decision: ledger.Decision) -> ledger.Decided:
        """Append a decision, once per id."""
        decided: ledger.Decided = await self._call(lambda work: maturing.decide(work, model, decision))
        return decided

    async def keep(self, model: str, checkpoint: ledger.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""
        await self._call(lambda work: maturing.keep(work, model, checkpoint))

    async def judge(self) -> int:
        """Append a batch of answers whose maturity has passed."""
        count: int = await self._call(maturing.judge, maturing.BATCH)
        return count

    async def tidy(self) -> int:
        """Delete a little of what is past its age."""
        count: int = await self._call(lambda work: work.tidy(TIDY_ROWS), TIDY_ROWS)
        return count

    async def probe(self) -> None:
        """Write something small."""
        await self._call(lambda work: work.probe())

    async def resume(self) -> ledger.Resume:
        """Return what an operator begins with."""
        return await self._read(self._reader.resume)

    async def read(self, after: int, *, limit: int, model: str = "", timeline: str = "") -> store.Stretch:
        """Return the entries after a cursor."""
        return await self._read(lambda: self._reader.stretch(after, limit=limit, model=model, timeline=timeline))

    async def wanted(self, model: str, *, limit: int, since_ms: int) -> ledger.Wanted:
        """Return answers that would tell two revisions apart."""
        return await self._read(lambda: self._reader.wanted(model, limit=limit, since_ms=since_ms))

    async def news(self, after: int, seconds: float) -> None:
        """Return when there is an entry after a cursor, or the time is over, or the store closes."""
        if self._head > after or self._closing or seconds <= 0:
            return
        if len(self._watchers) >= WATCHERS_MAX:
            raise errors.BusyError(f"{len(self._watchers)} calls wait for news, limit {WATCHERS_MAX}")
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.add(watcher)
        try:
            # Not wait_for: before Python 3.12 it can swallow a cancellation that comes with the result.
            async with asyncio.timeout(seconds):
                await watcher
        except TimeoutError:
            pass
        finally:
            self._watchers.discard(watcher)

    def dismiss(self) -> None:
        """Let all who wait for news go; nobody waits from now on."""
        self._closing = True
        self._wake()

    async def close(self) -> None:
        """Finish what waits, then close."""
        self.dismiss()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._threads.shutdown)
        self._reader.close()

    async def _call(
        self, work: writer.Work, items: int = 1, *, model: str = "", intake: ledger.Intake | None = None
    ) -> Any:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        self._writer.submit(writer.Call(work, items, answered, model, intake))
        # Not a timeout of asyncio, which costs a tenth of a call.
        timer = loop.call_later(_CALL_SECONDS, _give_up, answered)
        try:
            return await answered
        finally:
            timer.cancel()

    def _hand_over(self, group: writer.Group) -> None:
        assert self._loop is not None, "opened"
        self._loop.call_soon_threadsafe(self._settle, group)

    def _settle(self, group: writer.Group) -> None:
        """Answer the callers of a transaction, on the event loop."""
        self._trouble = group.trouble
        if group.head >= 0:
            self._due_ms = group.due_ms
            self._counts.add(group.counts)
        for call, answer in group.answers:
            if call.answered.done():
                continue
            if isinstance(answer, Exception):
                call.answered.set_exception(answer)
            else:
                call.answered.set_result(answer)
        if group.head >= 0:
            # Lower than before where the files were put back to a backup's under this process.
            self._grow(group.head)

    def _grow(self, head: int) -> None:
        grown, self._head = head > self._head, head
        if grown:
            self._wake()

    def _wake(self) -> None:
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    async def _read(self, what: Callable[[], T]) -> T:
        if self._trouble and self._counts.commits == 0:
            # Never opened: reading would make an empty file, or meet what the writer has met.
            raise errors.UnavailableError(self._trouble)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await loop.run_in_executor(self._threads, what)
        except TimeoutError:
            raise errors.UnavailableError(f"not read within {_CALL_SECONDS:.0f} s") from None


def _give_up(answered: asyncio.Future[Any]) -> None:
    if not answered.done():
        why = f"not durable within {_CALL_SECONDS:.0f} s, it may become so yet; tell it again"
        answered.set_exception(errors.UnavailableError(why))

"""The one thread that writes: takes all calls that wait, carries them out in one transaction, answers after the commit.

While a commit is on its way to the disk, calls gather for the next one; so the disk is asked once for many callers and
a single caller waits for nobody. A database that cannot be opened, read or written is tried again with each call, at
most once a second, and says why meanwhile; nothing of that ends the process.

Runs on its own thread; `store` is its door from asyncio. What the calls do is in `bookkeeping`, how in an `Engine`.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from leadline_wire import ledger

from leadline_ledger import errors, logs, store
from leadline_ledger.bookkeeping import transaction

GROUP_CALLS_MAX: Final = 512
"""Calls in one transaction: at a few items each some 50 ms."""
GROUP_ITEMS_MAX: Final = 8_192
WAITING_MAX: Final = 4_096
"""Calls that may wait; more are refused."""
_REOPEN_SECONDS: Final = 1.0

Work = Callable[[transaction.Transaction], Any]
"""Raises a `LedgerError` only before it wrote anything."""


@dataclass(frozen=True, slots=True)
class Call:
    """Something to do inside a transaction, and who waits for it."""

    work: Work
    items: int
    answered: asyncio.Future[Any]
    model: str = ""
    intake: ledger.Intake | None = None
    """What it will look for, so that a database that is far away is asked once for all calls; None: not known."""


class Engine(Protocol):
    """A database as the writer's thread uses it."""

    def open(self) -> int:
        """Open it and write down this start; return up to when answers were judged, in milliseconds since the epoch.

        Raises:
            UnavailableError: It cannot be used, and the message says why.
        """

    def begin(self, now_ms: int, calls: Sequence[Call]) -> transaction.Transaction:
        """Begin a transaction in which the calls are to be carried out."""

    def commit(self, work: transaction.Transaction) -> int | None:
        """Finish it and make it durable; return when the next answer matures, None where none waits."""

    def rollback(self) -> None:
        """Undo what is not committed, if anything is."""

    def meaning(self, error: Exception) -> errors.LedgerError | None:
        """Say in the user's words what an error of the database means; None: it is none.

        A connection that cannot be trusted after it is closed, so that `is_open` is false.
        """

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""

    def close(self) -> None:
        """Let go of it, if it is open; it may be opened again."""

    def end(self) -> None:
        """Let go of all that is held, for good."""


@dataclass(frozen=True, slots=True)
class Group:
    """What came of the calls of one transaction, for the event loop."""

    answers: list[tuple[Call, Any]]
    """An exception is raised where the call waits."""
    head: int
    due_ms: int | None
    counts: store.Counts
    trouble: str


class Writer:
    """The thread, and what waits for it."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock_ms: Callable[[], int],
        done: Callable[[Group], None],
    ) -> None:
        """Set up, without a thread yet.

        Args:
            engine: The database; from now on the thread's own.
            clock_ms: The time, in milliseconds since the epoch.
            done: Called on the thread after each transaction, before the next one.
        """
        self._engine = engine
        self._clock_ms = clock_ms
        self._done = done
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._tried_at = float("-inf")
        self._trouble = ""
        self._now_ms = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._calls.qsize()

    def submit(self, call: Call) -> None:
        """Let a call wait for the next transaction.

        Raises:
            BusyError: Too many wait already.
            UnavailableError: The writer has closed.
        """
        if self._closing:
            raise errors.UnavailableError("the ledger is stopping")
        if self.waiting >= WAITING_MAX:
            raise errors.BusyError(f"{self.waiting} calls wait to become durable, limit {WAITING_MAX}")
        self._calls.put(call)

    def close(self) -> None:
        """Finish what waits, then end the thread; blocks."""
        self._closing = True
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while group := self._next():
            self._done(self._carry_out(group))
        self._engine.end()

    def _next(self) -> list[Call]:
        """Wait for a call and return it with those that wait already; none: closed."""
        group: list[Call] = []
        items = 0
        call = self._calls.get()
        while call is not None:
            group.append(call)
            items += call.items
            if len(group) >= GROUP_CALLS_MAX or items >= GROUP_ITEMS_MAX:
                return group
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return group
        if group:
            # The end comes after what waited before it.
            self._calls.put(None)
        return group

    def _carry_out(self, group: list[Call]) -> Group:
        begun = time.monotonic()
        try:
            self._open()
            work, answers, due_ms = self._commit(group)
        except errors.UnavailableError as error:
            return self._failed(group, error)
        except Exception as error:  # noqa: BLE001 - a defect of ours in one call; the others must not suffer for it
            meant = self._engine.meaning(error)
            if meant is not None:
                return self._failed(group, meant)
            if len(group) == 1:
                logs.error("a call ended in a defect and was undone", exc_info=error)
                return self._failed(group, error)
            return self._one_by_one(group)
        self._now_ms = work.now_ms
        if self._trouble:
            logs.info("writing again")
        self._trouble = ""
        work.counts.commits = 1
        work.counts.commit_seconds = time.monotonic() - begun
        return Group(answers, work.head, due_ms, work.counts, "")

    def _commit(self, group: list[Call]) -> tuple[transaction.Transaction, list[tuple[Call, Any]], int | None]:
        try:
            # Never behind what was judged, even where the node's clock was set back: see `maturing`.
            work = self._engine.begin(max(self._clock_ms(), self._now_ms), group)
            answers: list[tuple[Call, Any]] = []
            for call in group:
                try:
                    answers.append((call, call.work(work)))
                except errors.LedgerError as error:
                    answers.append((call, error))
            due_ms = self._engine.commit(work)
        except BaseException:
            self._engine.rollback()
            raise
        return work, answers, due_ms

    def _one_by_one(self, group: list[Call]) -> Group:
        whole = Group([], -1, None, store.Counts(), "")
        for call in group:
            one = self._carry_out([call])
            whole.counts.add(one.counts)
            last = one if one.head >= 0 else whole
            whole = Group([*whole.answers, *one.answers], last.head, last.due_ms, whole.counts, one.trouble)
        return whole

    def _failed(self, group: list[Call], error: Exception) -> Group:
        if isinstance(error, (errors.UnavailableError, errors.FullError)) and str(error) != self._trouble:
            self._trouble = str(error)
            logs.warning("cannot write", reason=self._trouble)
        return Group([(call, error) for call in group], -1, None, store.Counts(), self._trouble)

    def _open(self) -> None:
        if self._engine.is_open:
            return
        if time.monotonic() < self._tried_at + _REOPEN_SECONDS:
            raise errors.UnavailableError(self._trouble or "the database is being opened")
        self._tried_at = time.monotonic()
        self._now_ms = max(self._now_ms, self._engine.open())

"""Copies of answered requests, on their way to other revisions, whose predictions are compared with ours.

All copies of one turn of the event loop go in one write per target, pipelined over two kept connections: the client's
answer was written before. Best effort throughout: what a target is too slow for is dropped and counted. A target's error
and its silence are evidence about it; that we could not reach it, or that it is not ready or overloaded, is none.
Next step of a pair: `intake`. Must not know connections of clients.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from leadline_wire import exchange, ledger, predictions, receipts

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.worker.links import Answer, Job, Link, Target, connect

LINKS: Final = 2
WAITING_MAX: Final = 256
"""Copies of one turn of the event loop, per target."""
WAITING_BYTES_MAX: Final = 16 << 20
"""Bytes of copies that a target has not taken yet; more are dropped."""
SILENCE_SECONDS: Final = 1.0
"""A copy that is not answered so long after those before it on its connection has timed out."""
_GIVE_UP_SECONDS: Final = 10.0
"""Such a connection is cut after so long."""
_CONNECT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 1.0
"""Between two tries to connect."""
_TICK_SECONDS: Final = 0.25
_WINDOW_FIRST, _WINDOW_MIN, _WINDOW_MAX = 64, 2, 256
"""Copies under way on one connection."""
_SLOW_SECONDS: Final = 0.25
"""An answer that took longer halves the window: a target must not be late because of our queue."""
_NOT_READY: Final = frozenset({429, 503})


class _Copy(Job):
    """One copy on its way."""

    __slots__ = ("identifier", "is_late", "sent", "words")

    def __init__(self, request: bytes, identifier: str, words: str, now: float) -> None:
        self.request = request
        self.is_head = False
        self.retried = True
        self.identifier = identifier
        self.words = words
        self.sent = now
        self.is_late = False


class _Lane:
    """The way to one target."""

    def __init__(self, copier: Copier, copy: exchange.Copy, path: bytes) -> None:
        self.copy = copy
        self.fraction = copy.share / receipts.WHOLE_SHARE
        self.waiting: list[tuple[bytes, str, str]] = []
        self.waiting_bytes = 0
        self._copier = copier
        self._target = Target(copy.revision, copy.host, copy.port)
        host = f"[{copy.host}]" if ":" in copy.host else copy.host
        self._head = b"POST %b HTTP/1.1\r\nhost: %b:%d\r\n%b: 1\r\ncontent-length: %%d\r\n\r\n%%b" % (
            path.replace(b"%", b"%%"),
            host.encode(),
            copy.port,
            exchange.COPY_HEADER.encode(),
        )
        self._links: dict[Link, float] = {}
        """And when each gave its last answer, in loop time."""
        self._window: float = _WINDOW_FIRST
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        self._open()

    def flush(self) -> None:
        """Send what waits, in one write; what does not fit is dropped."""
        waiting, self.waiting, self.waiting_bytes = self.waiting, [], 0
        if len(self._links) < LINKS:
            self._open()
        if not self._links:
            self._copier.count("Dropped", len(waiting))
            return
        link = min(self._links, key=_under_way)
        room = int(self._window) - len(link.jobs)
        if room <= 0 or link.unsent_bytes > WAITING_BYTES_MAX:
            self._copier.count("Dropped", len(waiting))
            return
        if room < len(waiting):
            self._copier.count("Dropped", len(waiting) - room)
            del waiting[room:]
        now = self._copier.now()
        head = self._head
        if not link.jobs:
            self._links[link] = now
        link.send([_Copy(head % (len(body), body), identifier, words, now) for body, identifier, words in waiting])

    def check(self) -> None:
        """Note copies that a target is silent on."""
        now = self._copier.now()
        for link, answered in list(self._links.items()):
            if not link.jobs:
                continue
            oldest = link.jobs[0]
            assert isinstance(oldest, _Copy)
            silence = now - max(answered, oldest.sent)
            if silence > SILENCE_SECONDS and not oldest.is_late:
                oldest.is_late = True
                self._window = max(_WINDOW_MIN, self._window / 2)
                self._copier.pair(oldest.identifier, oldest.words, self.copy.revision, predictions.failure("timeout"))
            if silence > _GIVE_UP_SECONDS:
                link.close()

    def close(self) -> None:
        """Cut the connections."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        for link in list(self._links):
            link.close()

    # What links call

    def opened(self, link: Link) -> None:
        """Note a new link."""
        self._links[link] = self._copier.now()

    def finished(self, link: Link, job: Job, answer: Answer, *, reusable: bool) -> None:
        """Take what the target answered to a copy."""
        assert isinstance(job, _Copy)
        now = self._copier.now()
        if link in self._links:
            self._links[link] = now
        if now - job.sent > _SLOW_SECONDS:
            self._window = max(_WINDOW_MIN, self._window / 2)
        elif self._window < _WINDOW_MAX:
            self._window += 0.25
        if not job.is_late:
            self._judge(job, answer)
        if not reusable:
            link.close()

    def lost(self, link: Link, jobs: list[Job], *, answered: bool) -> None:  # noqa: ARG002  # as links call it
        """Note that a link ended; what was on it is no evidence."""
        self._links.pop(link, None)
        if jobs:
            self._copier.count("Unanswered", len(jobs))

    def _judge(self, job: _Copy, answer: Answer) -> None:
        status = answer.status
        if status == 200:
            words = answer.body.decode("latin-1")
            if words:
                self._copier.pair(job.identifier, job.words, self.copy.revision, words)
                return
        elif status not in _NOT_READY:
            why = "5xx" if status >= 500 else "4xx"
            self._copier.pair(job.identifier, job.words, self.copy.revision, predictions.failure(why))
            return
        self._copier.count("Unanswered", 1)

    def _open(self) -> None:
        if self._opening is None and not self._closed:
            self._opening = self._copier.loop.create_task(self._connect())

    async def _connect(self) -> None:
        was_reached = bool(self._links)
        try:
            while len(self._links) < LINKS:
                link = await connect(self._copier.loop, Link, self, self._target, seconds=_CONNECT_SECONDS)
                if self._closed:
                    link.close()
                    return
        except (OSError, TimeoutError) as error:
            if was_reached or not self._copier.noted:
                self._copier.noted = True
                logs.warning("target of copies does not answer", target=self._target.name, error=error)
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._opening = None


class Copier:
    """Copies to all targets."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        revision: str,
        path: str,
        on_pair: Callable[[ledger.Copied], None],
    ) -> None:
        self.loop = loop
        self.now = loop.time
        self.noted = False
        """That a target does not answer was logged."""
        self._counters = counters
        self._revision = revision
        self._path = path.encode()
        self._on_pair = on_pair
        self._lanes: list[_Lane] = []
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    @property
    def is_on(self) -> bool:
        """Tell whether there is anybody to copy to."""
        return bool(self._lanes)

    def aim(self, copies: list[exchange.Copy]) -> None:
        """Copy to these targets from now on; connections to those that stay are kept."""
        before = {lane.copy: lane for lane in self._lanes}
        self._lanes = [
            before.pop(copy) if copy in before else _Lane(self, copy, self._path) for copy in copies if copy.share > 0
        ]
        for lane in before.values():
            lane.close()
        if self._lanes and self._timer is None:
            self._due = self.now() + _TICK_SECONDS
            self._timer = self.loop.call_later(_TICK_SECONDS, self._tick)

    def close(self) -> None:
        """End all copying."""
        self.aim([])
        if self._timer is not None:
            self._timer.cancel()

    def offer(self, body: bytes, identifier: str, words: str) -> None:
        """Take a request that was answered with these words."""
        for lane in self._lanes:
            if lane.fraction < 1.0 and random.random() >= lane.fraction:  # noqa: S311  # a sample, not a secret
                continue
            if len(lane.waiting) >= WAITING_MAX or lane.waiting_bytes > WAITING_BYTES_MAX:
                self.count("Dropped", 1)
                continue
            lane.waiting.append((body, identifier, words))
            lane.waiting_bytes += len(body)
            if not self._scheduled:
                self._scheduled = True
                self.loop.call_soon(self._flush)

    def pair(self, identifier: str, words: str, other: str, other_words: str) -> None:
        """Note what both revisions answered."""
        copies = self._counters.copies
        fate = "Failed" if predictions.is_failure(other_words) else "Answered"
        copies[fate] = copies.get(fate, 0) + 1
        self._on_pair(ledger.Copied(identifier, self._revision, other, words, other_words))

    def count(self, fate: str, number: int) -> None:
        """Count copies that came to nothing."""
        copies = self._counters.copies
        copies[fate] = copies.get(fate, 0) + number

    def _flush(self) -> None:
        self._scheduled = False
        for lane in self._lanes:
            if lane.waiting:
                lane.flush()

    def _tick(self) -> None:
        # Where the loop itself was held up, answers may lie unread in their sockets: nobody is judged by that.
        late = self.now() - self._due
        if late < _TICK_SECONDS / 2:
            for lane in self._lanes:
                lane.check()
        self._due = self.now() + _TICK_SECONDS
        self._timer = self.loop.call_later(_TICK_SECONDS, self._tick) if self._lanes else None


def _under_way(link: Link) -> int:
    return len(link.jobs)

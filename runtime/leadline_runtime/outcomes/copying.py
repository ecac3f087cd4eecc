"""Copies of answered requests, on their way to other revisions, whose predictions are compared with ours.

All copies of one turn of the event loop go in one write per target, pipelined over two kept connections: the client's
answer was written before. Best effort throughout: what a target is too slow for is dropped and counted. A target's error
and its silence are evidence about it; that we could not reach it, or that it is not ready or overloaded, is none.
Next step of a pair: `intake`. Must not know connections of clients.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from typing import Final

import httptools
from leadline_wire import exchange, predictions, receipts

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.oip.forms import Copyable, Headed
from leadline_runtime.worker.links import Answer, Link, Target, connect

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
_TIMEOUT: Final = predictions.failure("timeout").encode()
_SERVER_ERROR: Final = predictions.failure("5xx").encode()
_REFUSED: Final = predictions.failure("4xx").encode()


_WORDS: Final = re.compile(rb"[A-Za-z0-9_=~-]+")
_ANSWER_BYTES_MAX: Final = 1 << 20
_KNOWN_MAX: Final = 4_096
"""Answers that were found to be words, kept so that the usual ones are not looked at again."""

_Copy = tuple[bytes, bytes, float]
"""One copy on its way: id and words of the prediction that the client got, and when it was sent, in loop time."""


class _CopyLink(Link[_Copy]):
    """A link that hands answers to its lane without an object for each."""

    def __init__(self, lane: _Lane, target: Target) -> None:
        super().__init__(lane, target)
        self._lane = lane
        self.answered = 0.0
        """When the newest answer came."""
        self.is_late = False
        """The oldest copy has timed out already."""
        self._fed_bytes = 0
        # A builtin, so without a frame of Python.
        self.on_body = self._body.append  # type: ignore[assignment, method-assign]
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then let the lane count what came."""
        self._fed_bytes += len(data)
        if self._fed_bytes > _ANSWER_BYTES_MAX:
            self.close()
            return
        if self.jobs:
            self._lane.arrived(self.jobs[0])
        super().data_received(data)
        self._lane.counted()

    def on_message_complete(self) -> None:
        """Judge an answer."""
        status = self._parser.get_status_code()
        body = self._body
        words = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        if status < 200:
            return
        if not self.jobs:
            self.close()  # more answers than copies
            return
        self._fed_bytes = 0
        copy = self.jobs.popleft()
        self.answered = self._lane.now
        if self.is_late:
            self.is_late = False
        else:
            self._lane.judge(copy, status, words)
        if not self._parser.should_keep_alive():
            self.close()


class _Lane:
    """The way to one target."""

    def __init__(self, copier: Copier, copy: exchange.Copy, path: bytes, revision: str) -> None:
        self.copy = copy
        self.fraction = copy.share / receipts.WHOLE_SHARE
        self.now = 0.0
        """When the answers that are being judged came."""
        self._bodies: list[Copyable] = []
        self._ids: list[bytes] = []
        self._words: list[bytes] = []
        self._waiting_bytes = 0
        self._copier = copier
        self._target = Target(copy.revision, copy.host, copy.port)
        host = f"[{copy.host}]" if ":" in copy.host else copy.host
        head = b"POST %b HTTP/1.1\r\nhost: %b:%d\r\n%b: 1\r\n" % (
            path.replace(b"%", b"%%"),
            host.encode(),
            copy.port,
            exchange.COPY_HEADER.encode(),
        )
        self._request = head + b"content-length: %d\r\n\r\n%b"
        self._headed = head + b"%bcontent-length: %d\r\n\r\n%b"
        # A ledger.Copied as JSON: ids, revisions and words need no escapes.
        self._pair = b'{"id":"%%b","revision":"%b","other":"%b","predictions":"%%b","other_predictions":"%%b"}' % (
            revision.encode(),
            copy.revision.encode(),
        )
        self._pairs: list[bytes] = []
        """Judged since `arrived`; of these failed, and others that came to nothing:"""
        self._failed = 0
        self._came_to_nothing = 0
        self._known: set[bytes] = set()
        self._links: set[_CopyLink] = set()
        self._window: float = _WINDOW_FIRST
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        self._open()

    def take(self, bodies: Sequence[Copyable], ids: Sequence[bytes], words: Sequence[bytes]) -> None:
        """Take answered requests; more than may wait are dropped."""
        size = sum(map(len, bodies))
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            self._copier.count("Dropped", len(bodies))
            return
        room = WAITING_MAX - len(self._bodies)
        if room < len(bodies):
            self._copier.count("Dropped", len(bodies) - room)
            bodies, ids, words = bodies[:room], ids[:room], words[:room]
        self._bodies += bodies
        self._ids += ids
        self._words += words
        self._waiting_bytes += size

    def flush(self) -> None:
        """Send what waits, in one write; what does not fit is dropped."""
        bodies, self._bodies = self._bodies, []
        ids, self._ids = self._ids, []
        words, self._words = self._words, []
        self._waiting_bytes = 0
        if not bodies:
            return
        if len(self._links) < LINKS:
            self._open()
        link = min(self._links, key=_under_way, default=None)
        room = 0
        if link is not None and link.unsent_bytes <= WAITING_BYTES_MAX:
            room = max(0, int(self._window) - len(link.jobs))
        if room < len(bodies):
            self._copier.count("Dropped", len(bodies) - room)
            del bodies[room:], ids[room:], words[room:]
        if link is None or not bodies:
            return
        now = self._copier.loop.time()
        request, headed = self._request, self._headed
        link.jobs.extend([(identifier, word, now) for identifier, word in zip(ids, words, strict=True)])
        link.write(
            b"".join(
                [
                    headed % (body.lines, len(body), body.body) if type(body) is Headed else request % (len(body), body)
                    for body in bodies
                ]
            )
        )

    def check(self) -> None:
        """Note copies that a target is silent on."""
        now = self._copier.loop.time()
        for link in list(self._links):
            if not link.jobs:
                continue
            identifier, words, sent = link.jobs[0]
            silence = now - max(link.answered, sent)
            if silence > SILENCE_SECONDS and not link.is_late:
                link.is_late = True
                self._narrow()
                self._pairs.append(self._pair % (identifier, words, _TIMEOUT))
                self._copier.pair(self._pairs, failed=1)
                self._pairs = []
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

    def opened(self, link: _CopyLink) -> None:
        """Note a new link."""
        self._links.add(link)

    def arrived(self, oldest: _Copy) -> None:
        """Note that answers came, and how long the first of them took."""
        self.now = self._copier.loop.time()
        self._failed = self._came_to_nothing = 0
        if self.now - oldest[2] > _SLOW_SECONDS:
            self._narrow()
        elif self._window < _WINDOW_MAX:
            self._window += 1

    def judge(self, copy: _Copy, status: int, words: bytes) -> None:
        """Note what the target answered to a copy."""
        if status == 200 and words in self._known:
            self._pairs.append(self._pair % (copy[0], copy[1], words))
            return
        if status == 200:
            if _WORDS.fullmatch(words):
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known.add(words)
                self._pairs.append(self._pair % (copy[0], copy[1], words))
                return
        elif status not in _NOT_READY:
            self._failed += 1
            self._pairs.append(self._pair % (copy[0], copy[1], _SERVER_ERROR if status >= 500 else _REFUSED))
            return
        self._came_to_nothing += 1

    def counted(self) -> None:
        """Hand on what was judged since `arrived`."""
        if self._came_to_nothing:
            self._copier.count("Unanswered", self._came_to_nothing)
            self._came_to_nothing = 0
        if self._pairs:
            self._copier.pair(self._pairs, failed=self._failed)
            self._pairs = []
            self._failed = 0

    def finished(self, link: _CopyLink, job: _Copy, answer: Answer, *, reusable: bool) -> None:
        """Do nothing: a `_CopyLink` tells of answers in its own way."""

    def lost(self, link: _CopyLink, jobs: Sequence[_Copy], *, answered: bool) -> None:  # noqa: ARG002  # as links call it
        """Note that a link ended; what was on it is no evidence."""
        self._links.discard(link)
        if jobs:
            self._copier.count("Unanswered", len(jobs) - link.is_late)

    # Inside

    def _narrow(self) -> None:
        self._window = max(_WINDOW_MIN, self._window / 2)

    def _open(self) -> None:
        if self._opening is None and not self._closed:
            self._opening = self._copier.loop.create_task(self._connect())

    async def _connect(self) -> None:
        was_reached = bool(self._links)
        try:
            while len(self._links) < LINKS:
                link = await connect(
                    self._copier.loop, lambda: _CopyLink(self, self._target), self._target, seconds=_CONNECT_SECONDS
                )
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
        on_pairs: Callable[[list[bytes]], None],
    ) -> None:
        self.loop = loop
        self.noted = False
        """That a target does not answer was logged."""
        self._counters = counters
        self._revision = revision
        self._path = path.encode()
        self._on_pairs = on_pairs
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
            before.pop(copy) if copy in before else _Lane(self, copy, self._path, self._revision)
            for copy in copies
            if copy.share > 0
        ]
        for lane in before.values():
            lane.close()
        if self._lanes and self._timer is None:
            self._due = self.loop.time() + _TICK_SECONDS
            self._timer = self.loop.call_later(_TICK_SECONDS, self._tick)

    def close(self) -> None:
        """End all copying."""
        self.aim([])
        if self._timer is not None:
            self._timer.cancel()

    def offer(self, bodies: Sequence[Copyable], ids: Sequence[bytes], words: Sequence[bytes]) -> None:
        """Take requests that were answered, with the ids and words of the answers."""
        for lane in self._lanes:
            if lane.fraction >= 1.0:
                lane.take(bodies, ids, words)
                continue
            for body, identifier, word in zip(bodies, ids, words, strict=True):
                if random.random() < lane.fraction:  # noqa: S311  # a sample, not a secret
                    lane.take((body,), (identifier,), (word,))
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def pair(self, pairs: list[bytes], *, failed: int) -> None:
        """Hand on what both revisions answered, each the JSON of a `ledger.Copied`."""
        copies = self._counters.copies
        if failed:
            copies["Failed"] = copies.get("Failed", 0) + failed
        if len(pairs) > failed:
            copies["Answered"] = copies.get("Answered", 0) + len(pairs) - failed
        self._on_pairs(pairs)

    def count(self, fate: str, number: int) -> None:
        """Count copies that came to nothing."""
        copies = self._counters.copies
        copies[fate] = copies.get(fate, 0) + number

    def _flush(self) -> None:
        self._scheduled = False
        for lane in self._lanes:
            lane.flush()

    def _tick(self) -> None:
        # Where the loop itself was held up, answers may lie unread in their sockets: nobody is judged by that.
        late = self.loop.time() - self._due
        if late < _TICK_SECONDS / 2:
            for lane in self._lanes:
                lane.check()
        self._due = self.loop.time() + _TICK_SECONDS
        self._timer = self.loop.call_later(_TICK_SECONDS, self._tick) if self._lanes else None


def _under_way(link: _CopyLink) -> int:
    return len(link.jobs)

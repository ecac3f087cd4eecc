"""The ledger's intake: what waits goes in one call, and a reported outcome is answered when the ledger has answered.

Outcomes come in groups, one for each request of a client, never split and never sent twice at our own wish. Predictions
kept by id and answered copies are best effort: they ride along or go by themselves, are tried again while there is room,
and are counted when they are dropped. All queues are bounded, so a ledger that is down or slow costs nothing but
503s to who reports. Next step: `worker.pool`. Must not check outcomes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from leadline_wire import exchange, ledger

from leadline_runtime import errors, logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.worker.links import Answer, Job, Link, Target
from leadline_runtime.worker.pool import Pool

TIMEOUT_SECONDS: Final = 10.0
"""From a call to the ledger's answer."""
CALLS_MAX: Final = 2
"""Calls under way: one is written while the other is made durable."""
WAITING_MAX: Final = 16_384
"""Outcomes that wait for a call; more are answered 503."""
WAITING_BYTES_MAX: Final = 32 << 20
EXTRAS_MAX: Final = 16_384
"""Kept predictions and copies that wait, each; the oldest give way."""
_CALL_BYTES_MAX: Final = ledger.INTAKE_BYTES_MAX - 1_024
_EXTRAS_PER_CALL: Final = 1_024
"""Encoding more in one go would hold up requests."""
_EXTRAS_SECONDS: Final = 0.02
"""How long best-effort items gather before they go by themselves."""
_PAUSE_SECONDS_FIRST: Final = 0.5
_PAUSE_SECONDS_MAX: Final = 15.0
TOKEN_SECONDS: Final = 60.0
"""How long a token that was read holds; the kubelet exchanges it long before it ends."""


class UnavailableError(errors.LeadlineRuntimeError):
    """The ledger did not take outcomes; the message says why, and the client may report them again."""


class _Group:
    """The outcomes of one request."""

    __slots__ = ("done", "items", "size_bytes")

    def __init__(self, items: list[bytes], done: asyncio.Future[list[ledger.Fate]]) -> None:
        self.items = items
        self.size_bytes = sum(map(len, items)) + len(items)
        self.done = done


class Token:
    """The bearer token, read from its file now and then."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._text = b""
        self._read_at = -TOKEN_SECONDS

    def read(self) -> bytes:
        """Return the token; empty if there is none."""
        now = self._loop.time()
        if now - self._read_at >= TOKEN_SECONDS or not self._text:
            self._read_at = now
            try:
                self._text = self._path.read_bytes().strip()
            except OSError as error:
                if self._text:
                    logs.warning("token for the ledger cannot be read", path=self._path, error=error.strerror)
                self._text = b""
        return self._text


class Intake:
    """The worker's way into the ledger."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        token: Callable[[], bytes],
        path: str,
    ) -> None:
        self._loop = loop
        self._counters = counters
        self._token = token
        self._path = path.encode()
        self._host = b""
        self._base = b""
        self._pool = Pool("ledger", loop, links_max=CALLS_MAX, queue_max=CALLS_MAX, make=Link[Job])
        self._groups: deque[_Group] = deque()
        self._waiting = 0
        self._waiting_bytes = 0
        self._stored: deque[ledger.Stored] = deque()
        self._copied: deque[bytes] = deque()
        self._calls = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0

    def aim(self, url: str) -> None:
        """Bring everything to the ledger at this URL; empty: nowhere."""
        target = target_of(url)
        if target is None and url:
            logs.warning("URL of the ledger cannot be used", url=url, expected="http(s)://host[:port]")
        self._host = urlsplit(url).netloc.rpartition("@")[2].encode() if target is not None else b""
        self._base = urlsplit(url).path.rstrip("/").encode() if target is not None else b""
        self._pool.aim(target)

    def close(self) -> None:
        """Cut all connections."""
        if self._timer is not None:
            self._timer.cancel()
        self._pool.close()

    async def bring(self, outcomes: list[bytes]) -> list[ledger.Fate]:
        """Return what became of these outcomes, each the JSON of a `ledger.Outcome`, once that is durable.

        Raises:
            UnavailableError: The ledger is away, slow or full, or too many wait for it.
        """
        if self._pool.target is None:
            raise UnavailableError("this pod knows no ledger to bring outcomes to")
        group = _Group(outcomes, self._loop.create_future())
        if self._waiting + len(outcomes) > WAITING_MAX or self._waiting_bytes + group.size_bytes > WAITING_BYTES_MAX:
            raise UnavailableError(f"the ledger is behind: {self._waiting} outcomes wait for it, limit {WAITING_MAX}")
        self._groups.append(group)
        self._waiting += len(outcomes)
        self._waiting_bytes += group.size_bytes
        self._pump()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await group.done
        except TimeoutError as error:
            raise UnavailableError(f"the ledger did not answer within {TIMEOUT_SECONDS:g} s") from error

    def keep(self, prediction: ledger.Stored) -> None:
        """Take a prediction that is to be found by the client's id."""
        if len(self._stored) >= EXTRAS_MAX:
            self._stored.popleft()
            self._counters.kept_dropped += 1
        self._stored.append(prediction)
        self._soon(_EXTRAS_SECONDS)

    def pair(self, copied: list[bytes]) -> None:
        """Take what two revisions answered to the same requests, each the JSON of a `ledger.Copied`."""
        self._copied += copied
        while len(self._copied) > EXTRAS_MAX:
            self._copied.popleft()
            self._count_lost(1)
        self._soon(_EXTRAS_SECONDS)

    # Inside

    def _soon(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._timed)

    def _timed(self) -> None:
        self._timer = None
        if self._calls < CALLS_MAX and (self._stored or self._copied):
            self._call()

    def _pump(self) -> None:
        while self._calls < CALLS_MAX and self._groups:
            self._call()

    def _call(self) -> None:
        groups = self._next_groups()
        room = min(_EXTRAS_PER_CALL, ledger.INTAKE_ITEMS_MAX - sum(len(group.items) for group in groups))
        stored = [self._stored.popleft() for _ in range(min(room, len(self._stored)))]
        copied = [self._copied.popleft() for _ in range(min(room - len(stored), len(self._copied)))]
        if not (groups or stored or copied):
            return
        parts = (
            b",".join(item for group in groups for item in group.items),
            b",".join(map(msgspec.json.encode, stored)),
            b",".join(copied),
        )
        if sum(map(len, parts)) > _CALL_BYTES_MAX and groups and (stored or copied):
            self._put_back(stored, copied)
            stored, copied = [], []
            parts = (parts[0], b"", b"")
        body = b'{"outcomes":[%b],"predictions":[%b],"copies":[%b]}' % parts
        token = self._token()
        request = (
            b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (
                self._base,
                self._path,
                self._host,
                b"authorization: Bearer %b\r\n" % token if token else b"",
                len(body),
                body,
            )
        )
        self._calls += 1

        def done(answer: Answer | None) -> None:
            self._calls -= 1
            self._answered(answer, groups, stored, copied)
            self._pump()
            if self._stored or self._copied:
                self._soon(self._pause() if self._failures else _EXTRAS_SECONDS)

        if not self._pool.send(Job(request, self._loop.time() + TIMEOUT_SECONDS, done)):
            done(None)

    def _next_groups(self) -> list[_Group]:
        """Take as many waiting groups as one call holds; those that nobody waits for any more are dropped."""
        groups: list[_Group] = []
        count = size = 0
        while self._groups:
            group = self._groups[0]
            if not group.done.done():
                if groups and (
                    count + len(group.items) > ledger.INTAKE_ITEMS_MAX or size + group.size_bytes > _CALL_BYTES_MAX
                ):
                    break
                groups.append(group)
                count += len(group.items)
                size += group.size_bytes
            self._groups.popleft()
            self._waiting -= len(group.items)
            self._waiting_bytes -= group.size_bytes
        return groups

    def _answered(
        self,
        answer: Answer | None,
        groups: list[_Group],
        stored: list[ledger.Stored],
        copied: list[bytes],
    ) -> None:
        fates, why = _read(answer, sum(len(group.items) for group in groups), self._pool.unreachable)
        if not why:
            self._failures = 0
            self._counters.ledger_trouble = None
            self._counters.kept += len(stored)
            start = 0
            for group in groups:
                if not group.done.done():
                    group.done.set_result(fates[start : start + len(group.items)])
                start += len(group.items)
            return
        self._failures += 1
        if self._failures == 1:
            logs.warning("ledger did not take what it was brought", reason=why)
        self._counters.ledger_trouble = exchange.Trouble("LedgerUnreachable", errors.shorten(why), "surroundings")
        is_refused = answer is not None and answer.status in {400, 413, 422}
        if is_refused and (stored or copied):
            # What rides along must not spoil outcomes: it is gone, and they go once more by themselves.
            self._counters.kept_dropped += len(stored)
            self._count_lost(len(copied))
            for group in reversed(groups):
                self._groups.appendleft(group)
                self._waiting += len(group.items)
                self._waiting_bytes += group.size_bytes
            return
        self._put_back(stored, copied)
        for group in groups:
            if not group.done.done():
                group.done.set_exception(UnavailableError(why))

    def _put_back(self, stored: list[ledger.Stored], copied: list[bytes]) -> None:
        self._stored.extendleft(reversed(stored))
        self._copied.extendleft(reversed(copied))
        while len(self._stored) > EXTRAS_MAX:
            self._stored.popleft()
            self._counters.kept_dropped += 1
        while len(self._copied) > EXTRAS_MAX:
            self._copied.popleft()
            self._count_lost(1)

    def _count_lost(self, count: int) -> None:
        copies = self._counters.copies
        copies["Lost"] = copies.get("Lost", 0) + count

    def _pause(self) -> float:
        return min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS_FIRST * 2.0 ** min(self._failures - 1, 10))


def target_of(url: str) -> Target | None:
    """Return whom a URL names; None if it names nobody over HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return None
    is_tls = parts.scheme == "https"
    return Target("ledger", parts.hostname, port or (443 if is_tls else 80), is_tls)


def _read(answer: Answer | None, outcomes: int, unreachable: str) -> tuple[list[Any], str]:
    """Return the fates of so many outcomes, or why there are none."""
    if answer is None:
        return [], f"the ledger does not answer: {unreachable or f'nothing within {TIMEOUT_SECONDS:g} s'}"
    if answer.status == 200:
        try:
            fates = msgspec.json.decode(answer.body, type=ledger.IntakeAnswer).fates
        except msgspec.MsgspecError as error:
            return [], f"the ledger's answer cannot be read: {errors.shorten(str(error), 200)}"
        if len(fates) != outcomes:
            return [], f"the ledger answered for {len(fates)} outcomes of {outcomes}"
        return list(fates), ""
    try:
        said = msgspec.json.decode(answer.body, type=ledger.LedgerError).error
    except msgspec.MsgspecError:
        said = answer.body[:200].decode("utf-8", "replace")
    return [], f"the ledger answered {answer.status}: {errors.shorten(said, 300)}"

"""Takes soundings: calls each pod when its time has come or its role has changed, and keeps its newest report.

A report that says something new wakes the ModelDeployment's key; the decision is not taken here. A pod that is not
reached keeps its last report for a few tries: no answer is not a bad answer. Where somebody else answers at its address, the
report is dropped at once.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from leadline_wire.exchange import ExchangeReport, Refusal

from leadline_operator.due_times import DueTimes
from leadline_operator.reconcile.plan import Sounding
from leadline_operator.soundings.calling import NotReachedError

AT_ONCE: Final = 64
"""Calls under way at once."""
TRIES: Final = 4
"""Tries in a row without an answer after which a pod's last report no longer counts."""
LONGEST_PAUSE_SECONDS: Final = 10.0
REFUSED_PAUSE_SECONDS: Final = 0.5
"""Until the next call of a pod that has seen a newer epoch: ours is raised with the next renewal of the Lease."""

log = logging.getLogger(__name__)


class Calls(Protocol):
    """What calls one pod; see `calling.Caller`."""

    async def call(self, to: Sounding, *, key: bytes, epoch: int) -> ExchangeReport | Refusal:
        """Call one pod."""
        ...


@dataclass
class _Pod:
    key: Hashable
    to: Sounding
    calling: bool = False
    again: bool = False
    missed: int = 0
    report: ExchangeReport | None = None


class Sounder:
    """Keeps an eye on all pods.

    Args:
        caller: Calls one pod.
        secret_of: Returns the exchange key of a ModelDeployment's key.
        epoch: Returns our epoch now.
        outrun: Called with an epoch that a pod has seen and that is not older than ours.
        woken: Called with a key when one of its pods says something new.
    """

    def __init__(
        self,
        caller: Calls,
        *,
        secret_of: Callable[[Hashable], bytes],
        epoch: Callable[[], int],
        outrun: Callable[[int], None],
        woken: Callable[[Hashable], None],
    ) -> None:
        self._caller, self._secret_of, self._epoch, self._outrun, self._woken = caller, secret_of, epoch, outrun, woken
        self._pods: dict[str, _Pod] = {}
        self._of_key: dict[Hashable, set[str]] = {}
        self._due: DueTimes[str] = DueTimes()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def __len__(self) -> int:
        """Return the number of pods that are looked after."""
        return len(self._pods)

    def report(self, uid: str) -> ExchangeReport | None:
        """Return a pod's newest report; None: not asked or not reached yet."""
        pod = self._pods.get(uid)
        return pod.report if pod else None

    def address(self, key: Hashable, soundings: tuple[Sounding, ...]) -> None:
        """Say how the pods of a key are to be addressed from now on; one with news is called at once."""
        now = asyncio.get_running_loop().time()
        for uid in self._of_key.pop(key, set()) - {each.uid for each in soundings}:
            self._pods.pop(uid, None)
            self._due.drop(uid)
        if soundings:
            self._of_key[key] = {each.uid for each in soundings}
        for to in soundings:
            pod = self._pods.get(to.uid)
            if pod is None:
                self._pods[to.uid] = _Pod(key, to)
                self._due.put(to.uid, now)
                continue
            before, pod.to = pod.to, to
            if _says(before) != _says(to):
                if pod.calling:
                    pod.again = True
                else:
                    self._due.put(to.uid, now)
            elif to.every_seconds < before.every_seconds and not pod.calling:
                self._due.put(to.uid, min(self._due.at(to.uid) or now, now + to.every_seconds))

    async def run(self) -> None:
        """Call pods as they become due, until cancelled."""
        async with asyncio.TaskGroup() as calls:
            while True:
                uid = await self._due.take()
                pod = self._pods[uid]
                pod.calling = True
                calls.create_task(self._call(uid, pod))

    async def _call(self, uid: str, pod: _Pod) -> None:
        loop = asyncio.get_running_loop()
        pause = pod.to.every_seconds
        try:
            async with self._slots:
                told = await self._caller.call(pod.to, key=self._secret_of(pod.key), epoch=self._epoch())
            pause = self._note(pod, told)
        except NotReachedError as error:
            pod.missed += 1
            pause = min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(pod.missed, 5))
            if pod.missed == TRIES:
                log.info("not reached %d times: %s", pod.missed, error)
                self._unlearn(pod)
        except Exception:
            log.exception("sounding of pod %s: a bug of ours", pod.to.pod)
        finally:
            pod.calling = False
            if self._pods.get(uid) is pod:
                now = loop.time()
                self._due.put(uid, now if pod.again else now + pause * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
                pod.again = False

    def _note(self, pod: _Pod, told: ExchangeReport | Refusal) -> float:
        """Keep a report and wake who wants to know; return the pause until the next call in seconds."""
        pod.missed = 0
        if isinstance(told, Refusal):
            log.info("pod %s refuses: %s, it has seen epoch %d", pod.to.pod, told.reason, told.epoch)
            if told.reason == "OldEpoch":
                self._outrun(told.epoch)
                return REFUSED_PAUSE_SECONDS
            self._unlearn(pod)  # the address is somebody else's now: what ours said there is over
            return LONGEST_PAUSE_SECONDS
        before, pod.report = pod.report, told
        if before is None or _news(before) != _news(told):
            self._woken(pod.key)
        return pod.to.every_seconds

    def _unlearn(self, pod: _Pod) -> None:
        """Drop a pod's report, and wake who decides by it."""
        if pod.report is not None:
            pod.report = None
            self._woken(pod.key)


def _says(to: Sounding) -> tuple[object, ...]:
    return (to.ip, to.role, to.forward, to.digest, to.test_set, to.outcomes, to.copies, to.splits, to.labels)


def _news(report: ExchangeReport) -> ExchangeReport:
    """Return a report without what changes all the time; progress counts in tenths."""
    tenths = 10 * report.bytes_done // report.bytes_total if report.bytes_total else 0
    return msgspec.structs.replace(
        report,
        nonce="",
        epoch=0,
        requests=0,
        failures=0,
        forwarded=0,
        split=0,
        unsplit=0,
        bytes_done=tenths,
        outcomes=None,
        service=None,
    )

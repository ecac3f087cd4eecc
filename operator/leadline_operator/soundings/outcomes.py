"""Reads the ledger for all ModelDeployments over one connection, and keeps what it says as Evidence.

New entries are folded at once and wake their ModelDeployment; now and then the Evidence is put back into the ledger as a
checkpoint, so that a start need not read everything again. Decisions that a pass planned are told to the ledger until
they are seen in its log. A ledger that does not answer leaves the Evidence as it is: no answer is not a bad answer.
"""

import asyncio
import contextlib
import itertools
import logging
import operator
import random
from collections.abc import Callable
from typing import Final

from leadline_wire import ledger as wire

from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.observed import LedgerView
from leadline_operator.soundings.ledger import Ledger, LedgerRefusedError, LedgerUnreachableError

CHECKPOINT_SECONDS: Final = 15.0
"""Between checkpoints of a ModelDeployment whose outcomes flow."""
LONGEST_PAUSE_SECONDS: Final = 5.0
DECISIONS_MAX: Final = 64
"""Of one ModelDeployment, waiting to be told; a pass plans those again that find no room."""
_WITHDRAWABLE: Final = ("Terms", "Verifying", "RetrainAsked")

log = logging.getLogger(__name__)


class Outcomes:
    """Keeps the Evidence of all ModelDeployments.

    Args:
        ledger: The ledger's API.
        woken: Called with namespace and name when there is news.
        now: Seconds since the epoch.
    """

    def __init__(self, ledger: Ledger, *, woken: Callable[[str, str], None], now: Callable[[], float]) -> None:
        self._ledger, self._woken, self._now = ledger, woken, now
        self._answers_since = 0.0
        self._evidence: dict[str, Evidence] = {}
        self._kept: dict[str, int] = {}
        """Cursor of each checkpoint in the ledger."""
        self._labels: dict[str, int] = {}
        """Labelled rows that wait, by ModelDeployment."""
        self._cursor, self._timeline = 0, ""
        self._resumed = False
        self._trouble = "the ledger was not asked yet"
        self._asked: set[tuple[str, str]] = set()
        """Whom trouble with the ledger concerns."""
        self._told: dict[str, dict[str, wire.Decision]] = {}
        self._to_tell = asyncio.Event()

    def view(self, namespace: str, name: str) -> LedgerView | None:
        """Return what is known of a ModelDeployment; None before the ledger was read for the first time."""
        self._asked.add((namespace, name))
        if not self._resumed:
            return None
        model = f"{namespace}/{name}"
        return LedgerView(
            self._evidence.get(model, Evidence()), self._trouble, self._answers_since, self._labels.get(model, 0)
        )

    def forget(self, namespace: str, name: str) -> None:
        """Wake a ModelDeployment that is gone no more; its evidence stays, for it may be made again."""
        self._asked.discard((namespace, name))

    @property
    def trouble(self) -> str:
        """Why the ledger cannot be asked at present; empty: it answers."""
        return self._trouble

    def announce(self, namespace: str, name: str, decisions: tuple[wire.Decision, ...]) -> None:
        """Have decisions told to the ledger; those that are on their way, or in it, are passed over."""
        model = f"{namespace}/{name}"
        known = self._evidence.get(model, Evidence()).decisions
        waiting = self._told.setdefault(model, {})
        wanted = {decision.id for decision in decisions}
        # What the spec or the evidence asks for no longer would begin evidence anew; the others happened.
        for over in [each.id for each in waiting.values() if each.kind in _WITHDRAWABLE and each.id not in wanted]:
            del waiting[over]
        for decision in decisions:
            if decision.id not in known and len(waiting) < DECISIONS_MAX:
                waiting.setdefault(decision.id, decision)
        if waiting:
            self._to_tell.set()
        else:
            del self._told[model]

    async def run(self) -> None:
        """Read, keep checkpoints and tell decisions, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._keep_checkpoints())
            tasks.create_task(self._tell())

    async def _read(self) -> None:
        pauses = itertools.count()
        while True:
            try:
                if not self._resumed:
                    await self._resume()
                said = await self._ledger.log(self._cursor, timeline=self._timeline)
            except LedgerRefusedError as error:
                # The log is not the one that we read from: a restored backup, or a new volume.
                log.warning("%s; reading it from its checkpoints again", error)
                self._resumed = False
                await self._pause(next(pauses), str(error))
                continue
            except LedgerUnreachableError as error:
                await self._pause(next(pauses), str(error))
                continue
            pauses = itertools.count()
            self._take(said)

    async def _resume(self) -> None:
        said = await self._ledger.resume()
        self._evidence, self._kept, self._timeline = {}, {}, said.timeline
        self._labels = said.labels
        starts = [said.head]
        for model in said.models:
            evidence = Evidence()
            if model.checkpoint is not None:
                try:
                    evidence = evidence_state.read(model.checkpoint.state, model.decisions)
                    self._kept[model.model] = evidence.cursor
                except evidence_state.UnreadableStateError as error:
                    log.warning("%s: %s; folding its log again", model.model, error)
            self._evidence[model.model] = evidence
            if model.last_seq > evidence.cursor:
                starts.append(evidence.cursor)
        self._cursor = min(starts)
        while self._cursor < said.head:
            piece = await self._ledger.log(self._cursor, timeline=self._timeline, wait_seconds=0)
            if not piece.entries:
                break
            self._fold(piece.entries)
        self._resumed, self._trouble, self._answers_since = True, "", self._now()
        self._wake_all()
        log.info("read the ledger up to entry %d, %d ModelDeployments", self._cursor, len(self._evidence))

    def _take(self, said: wire.Log) -> None:
        if self._trouble:
            self._say("")
        changed = dict.fromkeys(self._fold(said.entries))
        if said.labels is not None:
            before, self._labels = self._labels, said.labels
            changed |= dict.fromkeys(before.keys() ^ said.labels.keys())
        for model in changed:
            self._wake(model)

    def _fold(self, entries: list[wire.Entry]) -> list[str]:
        if not entries:
            return []
        self._cursor = entries[-1].seq
        by_model = operator.attrgetter("model")
        changed = []
        for model, news in itertools.groupby(sorted(entries, key=by_model), by_model):
            self._evidence[model] = evidence = fold(self._evidence.get(model, Evidence()), news)
            changed.append(model)
            waiting = self._told.get(model)
            if waiting:
                for known in waiting.keys() & evidence.decisions.keys():
                    del waiting[known]
        return changed

    def _wake_all(self) -> None:
        for namespace, name in list(self._asked):
            self._woken(namespace, name)

    def _wake(self, model: str) -> None:
        namespace, _, name = model.partition("/")
        self._woken(namespace, name)

    def _say(self, trouble: str) -> None:
        """Note trouble with the ledger, or its end, and wake whom it concerns."""
        if bool(trouble) != bool(self._trouble):
            log.log(logging.WARNING if trouble else logging.INFO, "%s", trouble or "the ledger answers")
            self._trouble, self._answers_since = trouble, self._now()
            self._wake_all()
        self._trouble = trouble

    async def _pause(self, number: int, trouble: str) -> None:
        if number > 0:  # a single connection that broke is no trouble yet
            self._say(trouble)
        pause = min(LONGEST_PAUSE_SECONDS, 0.2 * 2.0 ** min(number, 6))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _keep_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            for model, evidence in list(self._evidence.items()):
                if not self._resumed or evidence.cursor <= self._kept.get(model, 0):
                    continue
                namespace, _, name = model.partition("/")
                checkpoint = wire.Checkpoint(cursor=evidence.cursor, state=evidence_state.write(evidence))
                try:
                    await self._ledger.checkpoint(namespace, name, checkpoint)
                except LedgerUnreachableError:
                    break  # the reading says so
                except LedgerRefusedError as error:
                    log.warning("%s", error)
                self._kept[model] = evidence.cursor

    async def _tell(self) -> None:
        pauses = itertools.count()
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            try:
                for model in list(self._told):
                    await self._tell_one(model)
                pauses = itertools.count()
            except LedgerUnreachableError:
                self._to_tell.set()
                await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, 0.2 * 2.0 ** min(next(pauses), 6)))

    async def _tell_one(self, model: str) -> None:
        namespace, _, name = model.partition("/")
        for identifier, decision in list(self._told.get(model, {}).items()):
            if identifier not in self._told.get(model, {}):
                continue
            try:
                await self._ledger.decide(namespace, name, decision)
            except LedgerRefusedError as error:
                log.warning("%s: decision %s: %s", model, identifier, error)
            with contextlib.suppress(KeyError):
                del self._told[model][identifier]
        if not self._told.get(model):
            self._told.pop(model, None)

"""All workers of a pod: how many, what each is told, and who accepts whose connections.

Each worker has listening sockets of its own (SO_REUSEPORT), among which the kernel spreads connections by a hash, whether
anybody accepts there or not: a socket without a living worker would let its share of the clients wait. So all sockets are
held by all, and as soon as a worker is gone another accepts from its sockets, too, until the next one is warm. Nothing that
the kernel took is lost that way, and a killed worker costs the connections that it had.

The first worker finds out how many there should be; the others start when it has loaded the model. A worker that dies
while it loads is the model's doing only if that repeats and no other worker could load it. One whose event loop hangs is
killed: its clients would wait for ever. Next step of what workers say: `app`. Must not judge models.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from leadline_runtime import logs, messages, sizing
from leadline_runtime.supervisor import keeper
from leadline_runtime.supervisor.pod import Pod, Worker

CRASHES_MAX: Final = 3
"""Crashes while loading, in a row, after which a worker is not given the model again."""

UNANSWERED_MAX: Final = 6
"""Beats that a worker may leave unanswered. They are counted by the supervisor's own turns, not by a clock: while the whole
pod is paused, or so busy that nothing gets a turn, none is missed."""


class Listener(Protocol):
    """Who hears of the workers; arguments are slots."""

    def worker_said(self, slot: int, message: messages.ToSupervisor) -> None:
        """Take what a worker says, beside what is settled here."""

    def worker_ended(self, slot: int, status: int, crashes: int) -> None:
        """Take that a worker ended; another one starts by itself."""


class Fleet:
    """Owner of all workers."""

    def __init__(
        self,
        pod: Pod,
        sockets: Sequence[Sequence[socket.socket]],
        listener: Listener,
        *,
        first: messages.Load,
        silent_seconds: float = 30.0,
    ) -> None:
        self._beat_seconds = silent_seconds / UNANSWERED_MAX
        self._stopped = asyncio.Event()
        self._pod = pod
        self._sockets = sockets
        """By slot; no more workers than that."""
        self._listener = listener
        self._load = first
        """As the next worker is told, once there is a path."""
        self._keepers: list[keeper.Keeper] = []
        self._group: asyncio.TaskGroup | None = None
        self._told: dict[int, messages.SetEvidence] = {}
        self._accepting: dict[int, list[int]] = {}
        self._wanted = len(sockets)
        self._opened = {0}
        """Slots whose sockets the kernel gives connections to; the first listens from the start."""
        self._tester: int | None = None

    # For all

    async def run(self) -> None:
        """Keep the workers running until `stop`, and until the last one has ended."""
        async with asyncio.TaskGroup() as self._group:
            self._start_next()
            self._group.create_task(self._watch())

    def stop(self) -> None:
        """Start no further worker."""
        self._stopped.set()
        for each in self._keepers:
            each.stop()

    def kill(self) -> None:
        """End all workers at once."""
        for each in self._keepers:
            each.kill()

    def send(self, message: messages.ToWorker) -> set[int]:
        """Tell all workers; return the slots of those that run."""
        return {slot for slot, each in enumerate(self._keepers) if each.send(message)}

    def load(self, path: str) -> None:
        """Have the model loaded by all workers, and by all that come."""
        self._load = messages.Load(path, self._load.threads, self._load.try_threads)
        for slot in range(len(self._keepers)):
            self._give_model(slot)

    def tell_role(self) -> None:
        """Tell all workers the role."""
        self.send(self._pod.role_message())
        self._assign()

    def tell_evidence(self) -> None:
        """Tell what becomes of answers to those that do not know it yet."""
        whole = self._pod.evidence_message()
        if whole is None:
            return
        for slot, each in enumerate(self._keepers):
            message = whole if slot == self._labeller() else msgspec.structs.replace(whole, labels=None)
            if self._told.get(slot) != message and each.send(message):
                self._told[slot] = message

    def is_whole(self) -> bool:
        """Tell whether all workers that are to be hold the model."""
        workers = self._pod.workers
        settled = [each.holds_model or each.refused or each.crashes >= CRASHES_MAX for each in workers]
        return self.is_served() and len(workers) >= self._wanted and all(settled)

    def is_served(self) -> bool:
        """Tell whether any worker holds the model."""
        return any(worker.holds_model for worker in self._pod.workers)

    def is_loading(self) -> bool:
        """Tell whether any worker has been given the model and has not answered."""
        return any(worker.loading for worker in self._pod.workers)

    # For one

    def send_tests(self, message: messages.RunTestSet) -> bool:
        """Tell one worker to answer a test set, the same one for as long as it lives; return whether there is one."""
        workers = self._pod.workers
        if self._tester is None or not workers[self._tester].holds_model:
            self._tester = next((slot for slot, worker in enumerate(workers) if worker.holds_model), None)
        return self._tester is not None and self._keepers[self._tester].send(message)

    def is_tester(self, slot: int) -> bool:
        """Tell whether this worker is the one that was last given a test set."""
        return slot == self._tester

    def has_tester(self) -> bool:
        """Tell whether the worker that was given a test set holds the model."""
        return self._tester is not None and self._pod.workers[self._tester].holds_model

    def _labeller(self) -> int | None:
        """Return the worker that answers labelled rows: the one that knows the test set's, else the first; None: none can."""
        workers = self._pod.workers
        if self._tester is not None and workers[self._tester].holds_model:
            return self._tester
        return next((slot for slot, worker in enumerate(workers) if worker.holds_model), None)

    # What keepers say

    def _started(self, slot: int) -> None:
        worker = self._pod.workers[slot]
        worker.pid = self._keepers[slot].pid
        worker.starts += 1
        self._told.pop(slot, None)
        self._accepting.pop(slot, None)
        self._keepers[slot].send(self._pod.role_message())
        self.tell_evidence()
        self._give_model(slot)

    def _said(self, slot: int, message: messages.ToSupervisor) -> None:
        worker = self._pod.workers[slot]
        worker.unanswered = 0
        match message:
            case messages.Counts():
                worker.counts = message
            case messages.RoleInForce():
                worker.serial = message.serial
            case messages.Loaded():
                worker.loading, worker.holds_model, worker.crashes = False, True, 0
                self._sized(message)
            case messages.LoadFailed():
                worker.loading, worker.refused = False, True
        self._assign()
        self._listener.worker_said(slot, message)
        if isinstance(message, messages.Loaded):
            self._retry_crashed()
            self.tell_evidence()

    def _ended(self, slot: int, status: int) -> None:
        worker = self._pod.workers[slot]
        crashes = worker.crashes = worker.crashes + 1 if worker.loading else 0
        self._pod.worker_ended(worker)
        self._accepting.pop(slot, None)
        self._assign()
        if crashes >= CRASHES_MAX and self.is_served():
            self._keepers[slot].stop()
            logs.error("a worker cannot load the model that others hold; going on without it", worker=slot)
        self._listener.worker_ended(slot, status, crashes)
        self.tell_evidence()  # another one may have to answer labelled rows

    # Inside

    async def _watch(self) -> None:
        """Look after workers that run but do nothing any more, until `stop`."""
        while not self._stopped.is_set():
            for slot in range(len(self._keepers)):
                self._beat(slot)
            try:
                async with asyncio.timeout(self._beat_seconds):
                    await self._stopped.wait()
            except TimeoutError:
                pass

    def _beat(self, slot: int) -> None:
        """Ask a worker for a sign of life; kill it where it has given none for too long.

        One that has only just started, or loads a model, has other things to do.
        """
        worker = self._pod.workers[slot]
        if not worker.pid or worker.serial < 0 or worker.loading:
            worker.unanswered = 0
        elif worker.unanswered < UNANSWERED_MAX:
            worker.unanswered += self._keepers[slot].send(messages.SendCounts())
        else:
            seconds = UNANSWERED_MAX * self._beat_seconds
            logs.error("worker hangs and is killed", worker=slot, silent_seconds=seconds)
            self._keepers[slot].kill()

    def _start_next(self) -> None:
        assert self._group is not None
        slot = len(self._keepers)
        sockets = [each for pair in self._sockets for each in pair]
        one = keeper.Keeper(
            sockets,
            on_start=lambda: self._started(slot),
            on_message=lambda message: self._said(slot, message),
            on_end=lambda status: self._ended(slot, status),
        )
        self._pod.workers.append(Worker())
        self._keepers.append(one)
        self._group.create_task(one.run())

    def _sized(self, message: messages.Loaded) -> None:
        """Start the other workers once the first has found out how many there should be."""
        if message.workers:
            self._wanted = min(message.workers, len(self._sockets))
        self._load = messages.Load(self._load.path, message.threads)
        if self._pod.phase != "Draining":
            while len(self._keepers) < self._wanted:
                self._start_next()

    def _give_model(self, slot: int) -> None:
        worker = self._pod.workers[slot]
        if self._load.path and worker.crashes < CRASHES_MAX and self._keepers[slot].send(self._load):
            worker.loading = True

    def _retry_crashed(self) -> None:
        """Give the model again to workers that were given up while nobody held it: now that one does, it can be loaded."""
        for slot, worker in enumerate(self._pod.workers):
            if worker.pid and worker.crashes >= CRASHES_MAX:
                worker.crashes = 0
                self._give_model(slot)

    def _may_accept(self, worker: Worker) -> bool:
        """Tell whether a worker may accept connections.

        After it has confirmed the role, so that none restarted in a demoted pod answers with the demoted model; and after
        its model where one was served before, so that clients wait for a moment instead of being refused. Forwarding
        needs no model.
        """
        if not worker.pid or (worker.serial != self._pod.role_serial and not worker.accepts):
            return False
        has_no_model = worker.refused or worker.crashes >= CRASHES_MAX or self._pod.model is None
        return worker.holds_model or self._pod.role == "standby" or (has_no_model and not self.is_served())

    def _assign(self) -> None:
        """Tell each worker whose connections it accepts, where that changed."""
        workers = self._pod.workers
        for slot, worker in enumerate(workers):
            worker.accepts = self._may_accept(worker)
            if worker.accepts:
                self._opened.add(slot)
        accepting = [slot for slot, worker in enumerate(workers) if worker.accepts]
        shares = assigned(sorted(self._opened), accepting)
        for slot in {*shares, *self._accepting}:
            slots = shares.get(slot, [])
            if self._accepting.get(slot) != slots and self._keepers[slot].send(messages.Accept(slots)):
                self._accepting[slot] = slots


def assigned(slots: Sequence[int], accepting: Sequence[int]) -> dict[int, list[int]]:
    """Return for each worker that accepts the slots whose connections it takes: its own, and a share of the others.

    A slot that nobody accepts from would hold its clients until its worker is back; one that two accept from costs nothing.
    """
    shares = {slot: [slot] for slot in accepting}
    orphans = [slot for slot in slots if slot not in shares]
    for place, slot in enumerate(orphans):
        if accepting:
            shares[accepting[place % len(accepting)]].append(slot)
    return shares


def first_load(asked: int, *, most: int, cpus: int) -> messages.Load:
    """Return what the first worker is told: to find out how many there should be, or what is decided."""
    if asked or most == 1:
        return messages.Load("", sizing.threads_of(most, cpus))
    return messages.Load("", 1, try_threads=cpus)

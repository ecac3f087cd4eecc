"""The supervisor's parts, put together; the only place that knows them all.

Order of a start: sockets, admin port, one worker, model, other workers. Order of an end: 503 to the kubelet's probe, drain
in the workers, admin port last, so that the operator can ask until the end.
"""

import asyncio
import signal
import socket
import time
from typing import Final

from leadline_runtime import VERSION, cgroup, errors, logs, messages, settings, sizing
from leadline_runtime.fetch import stores
from leadline_runtime.supervisor import admin, blobs, exchanging, fleet, loading, metrics, testsets
from leadline_runtime.supervisor.pod import Pod
from leadline_runtime.web import server

_ENDING_SECONDS: Final = 2.0
"""What a worker has to end, beside what it has for draining."""
_UNSENT_BYTES: Final = 128 << 10
"""What the kernel keeps of a connection's answers beside what is on its way. Its own choice is up to 4 MB, so that a thousand
clients that never read would fill the container's memory; accepted connections have it from the listening socket."""
_COUNTS_SECONDS: Final = 0.3
"""Longest wait of a scrape for the workers' newest counts."""


class Supervisor:
    """One pod's supervisor."""

    def __init__(
        self, config: settings.Settings, admin_socket: socket.socket, slots: list[tuple[socket.socket, socket.socket]]
    ) -> None:
        self._pod = Pod(uid=config.pod_uid, revision=config.revision, started_ms=time.time_ns() // 1_000_000)
        self._admin_socket = admin_socket
        self._drain_seconds = config.drain_seconds + _ENDING_SECONDS
        first = fleet.first_load(config.workers, most=len(slots), cpus=cgroup.cpus())
        self._fleet = fleet.Fleet(self._pod, slots, self, first=first, silent_seconds=config.silent_worker_seconds)
        self._blobs = blobs.Blobs(config, self._pod)
        self._loading = loading.Loading(config, self._pod, self._fleet, self._blobs)
        self._tests = testsets.TestSets(config, self._pod, self._fleet, self._blobs)
        self._exchanges = exchanging.Exchange(
            self._pod,
            config.keys_dir / "exchange",
            on_role=self._fleet.tell_role,
            on_evidence=self._tell_evidence,
            on_digest=self._loading.take_digest,
            on_test_set=self._tests.take,
        )
        admins = admin.Admin(self._pod, self._exchanges, metrics.Metrics(self._pod), refresh=self._refresh)
        self._port = server.Server(admins.handle, admin.LIMITS, now=asyncio.get_running_loop().time())
        self._ledger_url = self._blobs.url
        self._loaded: messages.Loaded | None = None
        self._uncounted: set[int] = set()
        """Workers whose newest counts are awaited."""
        self._counted = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal says to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._port.listen(self._admin_socket)
        workers = loop.create_task(self._fleet.run())
        model = loop.create_task(self._loading.run())
        stop = loop.create_task(self._stop.wait())
        watched = {workers, model, stop}
        while not stop.done():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a part that failed is our defect: the process ends, and Kubernetes starts it again
        model.cancel()
        await self._drain(workers)

    async def _drain(self, workers: asyncio.Task[None]) -> None:
        logs.info("draining")
        self._pod.phase = "Draining"
        self._fleet.stop()
        if not self._fleet.send(messages.Drain()):
            self._fleet.kill()
        try:
            async with asyncio.timeout(self._drain_seconds):
                await workers
        except TimeoutError:
            logs.error("workers did not end in time and are killed", seconds=self._drain_seconds)
            self._fleet.kill()
        self._blobs.close()
        self._port.close()
        logs.info("ended")

    def worker_said(self, slot: int, message: messages.ToSupervisor) -> None:
        """Take what a worker says; `Fleet` has done its part."""
        match message:
            case messages.Counts():
                self._uncounted.discard(slot)
                if not self._uncounted:
                    self._counted.set()
            case messages.RoleInForce():
                self._exchanges.role_in_force()
            case messages.TestSetState():
                self._tests.take_report(message.report)
            case messages.Loaded():
                self._loaded = message
                self._note_loaded()
                if self._fleet.is_tester(slot) or not self._fleet.has_tester():
                    self._tests.worker_loaded()
            case messages.LoadFailed() if self._fleet.is_served():
                trouble = message.trouble
                logs.error("a worker cannot load the model that others hold", worker=slot, message=trouble.message)
                self._note_loaded()
            case messages.LoadFailed():
                self._loading.worker_refused(message.trouble)

    def worker_ended(self, slot: int, status: int, crashes: int) -> None:
        """Take that a worker ended; the others go on."""
        self._uncounted.discard(slot)
        if self._fleet.is_served():
            self._note_loaded()
        else:
            self._loading.workers_ended(status, crashes, others_load=self._fleet.is_loading())
        if self._fleet.is_tester(slot):
            self._tests.worker_ended()
            self._tests.worker_loaded()  # where another one can go on at once

    def _note_loaded(self) -> None:
        """Begin to serve once all workers hold the model that are to have it."""
        # Failed as well: a worker may hold the model although others could not load it.
        if self._loaded is not None and self._pod.phase in {"Loading", "Failed"} and self._fleet.is_whole():
            self._loading.worker_loaded(self._loaded)

    def _tell_evidence(self) -> None:
        if self._blobs.url != self._ledger_url:
            self._ledger_url = self._blobs.url
            self._blobs.news()
            self._loading.ledger_known()
        self._fleet.tell_evidence()

    async def _refresh(self) -> None:
        """Have the workers' newest counts, or do with the last."""
        self._counted.clear()
        self._uncounted = self._fleet.send(messages.SendCounts())
        if not self._uncounted:
            return
        try:
            async with asyncio.timeout(_COUNTS_SECONDS):
                await self._counted.wait()
        except TimeoutError:
            pass


async def supervise(config: settings.Settings) -> None:
    """Run the pod.

    Raises:
        SettingsError: A port or the data folder cannot be used.
    """
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
        probe = config.data_dir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise errors.SettingsError(f"LEADLINE_DATA_DIR: {config.data_dir} is not writable: {error.strerror}") from error
    most = sizing.most_workers(config.workers, cpus=cgroup.cpus(), is_limited=cgroup.is_limited())
    ports = {"public": config.public_port, "admin": config.admin_port, "own": config.own_port}
    # A slot's sockets are bound now, while their ports are free; the kernel uses them once a worker accepts there.
    public, admin_socket, own = (listener(config.bind, port, name) for name, port in ports.items())
    more = [
        (
            listener(config.bind, config.public_port, "public", is_first=False),
            listener(config.bind, config.own_port, "own", is_first=False),
        )
        for _ in range(most - 1)
    ]
    logs.info(
        "started",
        version=VERSION,
        revision=config.revision,
        model=stores.shown(config.model_uri),
        public_port=config.public_port,
        admin_port=config.admin_port,
        own_port=config.own_port,
    )
    await Supervisor(config, admin_socket, [(public, own), *more]).run()


def listener(host: str, port: int, name: str, *, is_first: bool = True) -> socket.socket:
    """Return a bound socket: on all addresses, IPv6 as well where the machine has it, or on one; the first listens.

    Raises:
        SettingsError: The address cannot be had.
    """
    tries = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104  # a pod's ports are for its network
    if host:
        tries = [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]
    reason = ""
    for family, address in tries:
        try:
            bound = socket.socket(family)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
            bound.bind((address, port))
            if is_first:
                bound.listen(server.BACKLOG)
            bound.setblocking(False)
        except OSError as error:
            reason = error.strerror or str(error)
            bound.close()
        else:
            return bound
    raise errors.SettingsError(f"LEADLINE_{name.upper()}_PORT: cannot listen on port {port}: {reason}")

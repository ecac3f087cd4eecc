"""The supervisor's parts, put together; the only place that knows them all.

Order of a start: sockets, admin port, worker, model. Order of an end: 503 to the kubelet's probe, drain in the worker,
admin port last, so that the operator can ask until the end.
"""

import asyncio
import signal
import socket
from typing import Final

from leadline_runtime import VERSION, errors, logs, messages, settings
from leadline_runtime.fetch import stores
from leadline_runtime.supervisor import admin, blobs, exchanging, keeper, loading, metrics, testsets
from leadline_runtime.supervisor.pod import Pod
from leadline_runtime.web import server

_DRAIN_SECONDS: Final = 22.0
"""What the worker has for draining (20 s), and a little to end."""
_COUNTS_SECONDS: Final = 0.3
"""Longest wait of a scrape for the worker's newest counts."""


class Supervisor:
    """One pod's supervisor."""

    def __init__(self, config: settings.Settings, listeners: dict[str, socket.socket]) -> None:
        self._pod = Pod(uid=config.pod_uid, revision=config.revision)
        self._listeners = listeners
        self._keeper = keeper.Keeper(
            (listeners["public"], listeners["own"]),
            on_start=self._worker_started,
            on_message=self._worker_said,
            on_end=self._worker_ended,
        )
        self._blobs = blobs.Blobs(config, self._pod)
        self._loading = loading.Loading(config, self._pod, self._keeper, self._blobs)
        self._tests = testsets.TestSets(config, self._pod, self._keeper)
        self._exchanges = exchanging.Exchange(
            self._pod,
            config.keys_dir / "exchange",
            on_role=self._tell_role,
            on_evidence=self._tell_evidence,
            on_digest=self._loading.take_digest,
            on_test_set=self._tests.take,
        )
        admins = admin.Admin(self._pod, self._exchanges, metrics.Metrics(self._pod), refresh=self._refresh)
        self._port = server.Server(admins.handle, admin.LIMITS, now=asyncio.get_running_loop().time())
        self._ledger_url = self._blobs.url
        self._told: messages.SetEvidence | None = None
        """What the worker that runs knows."""
        self._counted = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal says to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._port.listen(self._listeners["admin"])
        worker = loop.create_task(self._keeper.run())
        model = loop.create_task(self._loading.run())
        stop = loop.create_task(self._stop.wait())
        watched = {worker, model, stop}
        while not stop.done():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # a part that failed is our defect: the process ends, and Kubernetes starts it again
        model.cancel()
        await self._drain(worker)

    async def _drain(self, worker: asyncio.Task[None]) -> None:
        logs.info("draining")
        self._pod.phase = "Draining"
        self._keeper.stop()
        if not self._keeper.send(messages.Drain()):
            self._keeper.kill()
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await worker
        except TimeoutError:
            logs.error("worker did not end in time and is killed", seconds=_DRAIN_SECONDS)
            self._keeper.kill()
        self._blobs.close()
        self._port.close()
        logs.info("ended")

    def _worker_started(self) -> None:
        self._tell_role()
        self._told = None
        self._tell_evidence()
        if self._pod.model is None:
            self._keeper.send(messages.Listen())
        self._loading.worker_started()

    def _worker_said(self, message: messages.ToSupervisor) -> None:
        match message:
            case messages.Counts():
                self._pod.current = message
                self._counted.set()
            case messages.RoleInForce():
                self._pod.role_serial_in_force = message.serial
                self._exchanges.role_in_force()
            case messages.TestSetState():
                self._tests.take_report(message.report)
            case messages.Loaded():
                self._loading.worker_loaded(message)
                self._tests.worker_loaded()
                self._keeper.send(messages.Listen())
            case messages.LoadFailed():
                self._loading.worker_refused(message.trouble)
                self._keeper.send(messages.Listen())

    def _worker_ended(self, status: int) -> None:
        self._pod.worker_ended()
        self._loading.worker_ended(status)
        self._tests.worker_ended()

    def _tell_role(self) -> None:
        self._keeper.send(self._pod.role_message())
        if self._pod.role == "standby":
            # Forwarding needs no model.
            self._keeper.send(messages.Listen())

    def _tell_evidence(self) -> None:
        if self._blobs.url != self._ledger_url:
            self._ledger_url = self._blobs.url
            self._blobs.news()
            self._loading.ledger_known()
        message = self._pod.evidence_message()
        if message is not None and message != self._told and self._keeper.send(message):
            self._told = message

    async def _refresh(self) -> None:
        """Have the worker's newest counts, or do with the last."""
        self._counted.clear()
        if not self._keeper.send(messages.SendCounts()):
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
    ports = {"public": config.public_port, "admin": config.admin_port, "own": config.own_port}
    listeners = {name: listener(config.bind, port, name) for name, port in ports.items()}
    logs.info(
        "started",
        version=VERSION,
        revision=config.revision,
        model=stores.shown(config.model_uri),
        public_port=config.public_port,
        admin_port=config.admin_port,
        own_port=config.own_port,
    )
    await Supervisor(config, listeners).run()


def listener(host: str, port: int, name: str) -> socket.socket:
    """Return a bound socket: on all addresses, IPv6 as well where the machine has it, or on one.

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
            bound.bind((address, port))
            bound.listen(server.BACKLOG)
            bound.setblocking(False)
        except OSError as error:
            reason = error.strerror or str(error)
            bound.close()
        else:
            return bound
    raise errors.SettingsError(f"LEADLINE_{name.upper()}_PORT: cannot listen on port {port}: {reason}")

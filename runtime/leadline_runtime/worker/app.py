"""The worker process: serves both ports and does what the supervisor says.

Started by `supervisor.keeper` with the sockets of all workers; ends when the supervisor does. It accepts connections only
where and when it is told to (`supervisor.fleet`). The first one finds out how long a run takes, with one thread and with
several, and so how many workers there should be (`sizing`). Must not fetch anything and must not talk to the operator.
"""

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from typing import Any, Final

import uvloop
from leadline_wire import exchange

from leadline_runtime import cgroup, channel, errors, logs, messages, settings, sizing
from leadline_runtime.engine import batching, counters
from leadline_runtime.grpc import asking, calls, service
from leadline_runtime.oip import encoding, inference, raw, routes
from leadline_runtime.telemetry import calls as observed_calls
from leadline_runtime.telemetry import connections, observing
from leadline_runtime.testset import runner
from leadline_runtime.web import server
from leadline_runtime.worker import evidence, forwarding, measuring, splitting

_DEFECT_STATUS: Final = 70
"""EX_SOFTWARE of sysexits.h."""
_COUNTS_SECONDS: Final = 0.5
_DRAIN_STEP_SECONDS: Final = 0.05


class Worker:
    """One worker's parts and what they are told."""

    def __init__(
        self,
        config: settings.Settings,
        supervisor: channel.Channel[messages.ToWorker, messages.ToSupervisor],
        slots: list[tuple[socket.socket, socket.socket]],
    ) -> None:
        self._config = config
        self._supervisor = supervisor
        self._slots = slots
        self._accepting: dict[int, list[asyncio.Server]] = {}
        self._loop = asyncio.get_running_loop()
        self._counters = counters.Counters()
        self._evidence = evidence.Evidence(config, self._counters, self._loop, _now_ms)
        names = (config.model_name, config.revision, self._evidence.reporting.handle)
        wanted = self._evidence.wanting.handle
        self._routes = routes.Routes(*names, wanted=wanted)
        self._service = service.Service(config.model_name, config.revision)
        self._own_service = service.Service(config.model_name, config.revision)
        bare = dict.fromkeys(self._own_service.bare_paths, self._own_service.handle_bare)
        self._own_routes = routes.Routes(*names, wanted=wanted, posts=bare)
        self._forwarder = forwarding.Forwarder(self._counters, self._loop)
        self._splitter = splitting.Splitter(config.model_name, self._counters, self._loop)
        limits = server.Limits(
            body_bytes=config.max_body_bytes,
            connections=config.max_connections,
            head_seconds=config.head_timeout_seconds,
            body_seconds=config.body_timeout_seconds,
            idle_seconds=config.idle_timeout_seconds,
            held_bytes=sizing.held_bytes(cgroup.memory_bytes(), ports=2 * len(slots)),
        )
        self._observer = observing.observer(config, os.environ, time.time_ns)
        self._public = self._port(self._routes.handle, limits, "public")
        self._own = self._port(self._own_routes.handle, limits, "own")
        self._public.memory = self._own.memory = raw.memory
        self._calls = self._calls_of(self._service, "public")
        self._public.http2 = self._calls.protocol
        self._own.http2 = self._calls_of(self._own_service, "own").protocol
        self._batcher: batching.Batcher | None = None
        self._tests: runner.Runner | None = None
        self._role = messages.SetRole(serial=-1, standby=False, forward=None, splits=[])
        self._draining = False
        self._drain_seconds = config.drain_seconds
        self._accepting_since = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def _port(self, app: server.Application, limits: server.Limits, name: str) -> server.Server:
        if self._observer is None:
            return server.Server(app, limits, now=self._loop.time())
        return connections.ObservedServer(app, limits, now=self._loop.time(), name=name, observer=self._observer)

    def _calls_of(self, answering: service.Service, name: str) -> calls.Port:
        arguments = answering.handle, answering.receivers, self._loop.time
        if self._observer is None:
            return calls.Port(*arguments)
        return observed_calls.ObservedPort(*arguments, name=name, observer=self._observer)

    async def run(self) -> None:
        """Do what the supervisor says until it ends."""
        self._own_task(self._send_counts_for_ever())
        async for message in self._supervisor.receive():
            match message:
                case messages.SetRole():
                    self._set_role(message)
                case messages.SetEvidence():
                    self._evidence.take(message)
                    self._splitter.know(message)
                case messages.Accept():
                    await self._accept(message.slots)
                case messages.Load():
                    self._own_task(self._load(message))
                case messages.RunTestSet():
                    if self._tests is not None:
                        self._tests.start(message)
                case messages.SendCounts():
                    self._send_counts()
                case messages.Drain():
                    self._own_task(self._drain())

    def _set_role(self, role: messages.SetRole) -> None:
        self._role = role
        self._forwarder.aim(role.forward)
        self._splitter.aim(role.splits)
        if role.standby:
            self._public.app, self._calls.rpc = self._forwarder.handle, self._forwarder.handle_call
        elif role.splits:
            self._public.app, self._calls.rpc = self._splitter.over(self._routes.handle, self._service.handle)
        else:
            self._public.app, self._calls.rpc = self._routes.handle, self._service.handle
        self._public.close_connections(closing=role.standby or self._draining)
        self._own_task(self._confirm(role.serial))

    async def _accept(self, slots: list[int]) -> None:
        """Accept connections from these slots' sockets and no others; open connections stay."""
        self._accepting_since = self._loop.time()
        for slot in slots:
            if slot not in self._accepting:
                # A copy of the descriptor, so that the socket outlives our accepting from it.
                public, own = (each.dup() for each in self._slots[slot])
                self._accepting[slot] = [await self._public.listen(public), await self._own.listen(own)]
        for slot in self._accepting.keys() - set(slots):
            for listening in self._accepting.pop(slot):
                listening.close()

    async def _confirm(self, serial: int) -> None:
        """Tell the supervisor once no request accepted under the former role is open any more."""
        if self._batcher is not None:
            await self._batcher.settle()
        if serial == self._role.serial:
            self._supervisor.send(messages.RoleInForce(serial))

    async def _load(self, order: messages.Load) -> None:
        self._wait_for("the model is being loaded")
        try:
            model, threads, workers = await asyncio.to_thread(
                measuring.load, order, max_rows=self._config.max_rows, most=len(self._slots)
            )
        except errors.TroubleError as error:
            self._wait_for(error.trouble.message)
            self._supervisor.send(messages.LoadFailed(error.trouble))
            return
        batcher = batching.Batcher(
            model if self._observer is None else self._observer.watched(model),
            self._counters,
            max_rows=self._config.max_rows,
            max_queue_rows=self._config.max_queue_rows,
            max_queue_bytes=sizing.queue_bytes(cgroup.memory_bytes(), workers=len(self._slots)),
            loop=self._loop,
            wait_seconds_max=self._config.queue_timeout_seconds,
        )
        encoder = encoding.Encoder(model.signature, self._config.model_name, self._config.revision)
        handlers = inference.Inference(
            batcher, encoder, self._evidence.recorder, max_body_bytes=self._config.max_body_bytes
        )
        self._evidence.attach(model, handlers, batcher)
        predictions = asking.Predictions(handlers, model.signature, self._config.model_name, self._config.revision)
        self._routes.attach(model.signature, handlers.infer, max_rows=self._config.max_rows)
        self._own_routes.attach(model.signature, predictions.infer_rest, max_rows=self._config.max_rows)
        self._service.attach(model.signature, predictions.infer, max_rows=self._config.max_rows)
        self._own_service.attach(model.signature, predictions.infer_own, max_rows=self._config.max_rows)
        self._batcher = batcher
        self._tests = runner.Runner(batcher, self._report_test_set)
        # What is alive now stays alive; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._supervisor.send(
            messages.Loaded(
                model=model.info(runner.prediction_name(model)),
                inline=batcher.inline,
                threads=threads,
                workers=workers,
                row_seconds=model.row_seconds,
                full_seconds=model.full_seconds if batcher.model.signature.has_rows else 0.0,
            ),
        )

    def _wait_for(self, what: str) -> None:
        for port in (self._routes, self._own_routes, self._service, self._own_service):
            port.wait_for(what)

    def _report_test_set(self, report: exchange.TestSetReport) -> None:
        self._supervisor.send(messages.TestSetState(report))

    async def _send_counts_for_ever(self) -> None:
        while True:
            self._send_counts()
            await asyncio.sleep(_COUNTS_SECONDS)

    def _send_counts(self) -> None:
        if self._batcher is not None:
            self._batcher.expire()
        refusals = dict(self._public.refusals)
        for status, count in self._own.refusals.items():
            refusals[status] = refusals.get(status, 0) + count
        self._supervisor.send(
            self._counters.message(
                queue_rows=self._batcher.queue_rows if self._batcher is not None else 0,
                connections=len(self._public.connections) + len(self._own.connections),
                in_flight=self._public.in_flight() + self._own.in_flight(),
                is_inline=self._batcher is not None and self._batcher.inline,
                refusals=refusals,
                untold=self._observer.counts() if self._observer is not None else {},
            ),
        )

    async def _drain(self) -> None:
        """Close connections as they are answered, and end when for a while there was none, old or new.

        New connections are still accepted, for Kubernetes takes a while to send them elsewhere; they are answered and
        closed like the others.
        """
        self._draining = True
        servers = (self._public, self._own)
        for port in servers:
            port.close_connections(closing=True)
        start = last = self._loop.time()
        accepted = 0
        while (now := self._loop.time()) - start < self._drain_seconds:
            before, accepted = accepted, sum(port.accepted for port in servers)
            if accepted != before or any(port.connections for port in servers):
                last = now
            # Another worker's clients may come here once it has ended.
            if now - max(last, self._accepting_since) > server.LINGER_SECONDS:
                break
            await asyncio.sleep(_DRAIN_STEP_SECONDS)
        elapsed = self._loop.time() - start
        left = sum(len(port.connections) for port in servers)
        logs.info("drained", seconds=round(elapsed, 2), connections_cut=left)
        self._send_counts()
        for port in servers:
            port.close()
        self._forwarder.close()
        self._splitter.close()
        self._evidence.close()
        self._supervisor.close()

    def close(self) -> None:
        """Write and send what was noted of requests, for a moment at most."""
        if self._observer is not None:
            self._observer.close()

    def _own_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A part that died silently would leave a worker that only looks alive; the supervisor starts a new one.
            logs.error("worker ends after a defect of ours", exc_info=error)
            os._exit(_DEFECT_STATUS)


async def _serve(config: settings.Settings, descriptors: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The supervisor gets the signal as well, and says when to drain.
        loop.add_signal_handler(number, _ignore)
    pair, *sockets = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    for end in (pair, *sockets):
        end.setblocking(False)
    supervisor: channel.Channel[messages.ToWorker, messages.ToSupervisor] = await channel.Channel.over(
        pair,
        messages.ToWorker,
    )
    worker = Worker(config, supervisor, list(zip(sockets[::2], sockets[1::2], strict=True)))
    await worker.run()
    worker.close()


def _now_ms() -> int:
    """Return the time in milliseconds since the epoch, for receipts."""
    return time.time_ns() // 1_000_000


def _ignore() -> None:
    pass


def main() -> None:
    """Serve until the supervisor ends; arguments are the descriptors of the channel, and of each slot's public and own socket."""
    logs.start("worker")
    config = settings.read(os.environ)
    logs.adjust(config.log_level, config.log_format)
    uvloop.run(_serve(config, [int(argument) for argument in sys.argv[1:]]))
    # The compute thread may hang in a run; nothing is left to be saved.
    os._exit(0)


if __name__ == "__main__":
    main()

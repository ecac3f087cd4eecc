"""Health and metrics of the operator itself, on one port.

Alive means that the event loop turns; ready means that this process leads and watches, or stands by for the Lease.
"""

import asyncio
from collections.abc import Callable, Sized
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

LAG_LIMIT_SECONDS: Final = 20.0
"""Without a turn of the event loop for so long the process is not alive."""
TICK_SECONDS: Final = 1.0


class Health:
    """What the health endpoint tells."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turned = clock()
        self.waiting_for_lease = False
        self.watching = asyncio.Event()
        """Set by kopf once it watches."""
        self.registry = CollectorRegistry()
        self._lag = Gauge(
            "leadline_operator_loop_lag_seconds", "How late the event loop's last tick was", registry=self.registry
        )
        self._events = Counter("leadline_operator_events_total", "Watch events seen", registry=self.registry)
        self._started = False

    def watch(self, *, queue: Sized, sounder: Sized) -> None:
        """Say whose lengths are metrics."""
        waiting = Gauge("leadline_operator_queue_keys", "Keys that wait for a worker", registry=self.registry)
        waiting.set_function(lambda: len(queue))
        pods = Gauge("leadline_operator_sounded_pods", "Pods that are looked after", registry=self.registry)
        pods.set_function(lambda: len(sounder))
        self._started = True

    def seen(self) -> None:
        """Count a watch event."""
        self._events.inc()

    async def run(self) -> None:
        """Measure the event loop's lag, until cancelled."""
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_SECONDS)
            self._turned = self._clock()
            self._lag.set(max(0.0, self._turned - before - TICK_SECONDS))

    def is_ready(self) -> bool:
        """Tell whether this process does its part: a chart's `--wait` must not pass over one that cannot start."""
        return self.waiting_for_lease or self.watching.is_set()

    def is_alive(self) -> bool:
        """Tell whether the event loop turned lately."""
        return not self._started or self._clock() - self._turned < LAG_LIMIT_SECONDS


async def start(health: Health, *, port: int) -> web.AppRunner:
    """Serve `/healthz`, `/readyz` and `/metrics`; return the runner to clean up."""

    async def healthz(_: web.Request) -> web.Response:
        return (
            web.Response(text="ok\n")
            if health.is_alive()
            else web.Response(status=503, text="the event loop is stuck\n")
        )

    async def readyz(_: web.Request) -> web.Response:
        if not health.is_ready():
            return web.Response(status=503, text="starting\n")
        return web.Response(text="waiting for the lease\n" if health.waiting_for_lease else "ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(health.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - a pod's port
    return runner

"""The admin port: exchange, probes, metrics. The same protocol as the public port's, from the first second on."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from leadline_wire import exchange

from leadline_runtime import logs
from leadline_runtime.supervisor import exchanging, metrics
from leadline_runtime.supervisor.pod import Pod
from leadline_runtime.web import responses, server
from leadline_runtime.web.connection import Connection

LIMITS: Final = server.Limits(body_bytes=exchange.BODY_LIMIT_BYTES, connections=256)
_PLAIN: Final = b"text/plain; charset=utf-8"


class Admin:
    """Answers the admin port's requests."""

    def __init__(
        self,
        pod: Pod,
        exchanges: exchanging.Exchange,
        numbers: metrics.Metrics,
        *,
        refresh: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._pod = pod
        self._exchanges = exchanges
        self._numbers = numbers
        self._refresh = refresh
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Connection) -> None:
        """Answer one request."""
        path = connection.target.partition(b"?")[0]
        match connection.method, path:
            case (b"GET", b"/healthz"):
                connection.answer(responses.content(b"ok\n", _PLAIN))
            case (b"GET", b"/readyz"):
                self._answer_ready(connection)
            case (b"GET", b"/metrics"):
                self._begin(connection, self._answer_metrics(connection))
            case (b"POST", b"/exchange"):
                self._begin(connection, self._exchanges.answer(connection))
            case (_, b"/healthz" | b"/readyz" | b"/metrics"):
                connection.refuse(405, "expected GET", extra=b"allow: GET\r\n")
            case (_, b"/exchange"):
                connection.refuse(405, "expected POST", extra=b"allow: POST\r\n")
            case _:
                connection.refuse(404, "expected /healthz, /readyz, /metrics or /exchange")

    def _answer_ready(self, connection: Connection) -> None:
        why = self._pod.unready()
        status = 503 if why else 200
        connection.answer(responses.content(f"{why or 'ok'}\n".encode(), _PLAIN, status))

    async def _answer_metrics(self, connection: Connection) -> None:
        await self._refresh()
        connection.answer(responses.content(self._numbers.text(), metrics.CONTENT_TYPE))

    def _begin(self, connection: Connection, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._ended, connection))

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.error("admin request failed", exc_info=error)
            connection.refuse(500, "internal error of the runtime; its log has the details")

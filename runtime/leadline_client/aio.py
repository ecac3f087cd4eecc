"""The client for asyncio: the same methods as `sync.Client`, to be awaited.

It does what the flows of `calls` ask for, and decides nothing itself. The store is called in threads, so that its disk holds up
no event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from leadline_client import background, calls, delivering, errors, outcomes, predicting, sqlite, steps, store, wiring

if TYPE_CHECKING:
    import ssl

    import httpx


class AsyncClient:
    """One model's client, for any number of tasks of one event loop; connections are kept and used again.

    Everything has a time limit, and is tried again within it where that may help. Close it, or use it in `async with`. What the
    methods take, return and raise is with `sync.Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        timeout_seconds: float = 10.0,
        report_timeout_seconds: float = 15.0,
        connections: int = 16,
        headers: Mapping[str, str] | None = None,
        verify: bool | ssl.SSLContext = True,
        store: str | os.PathLike[str] | store.Store | None = sqlite.DEFAULT_PATH,
        outbox: bool = True,
        flush_every_seconds: float | None = None,
        arrays: bool | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Set up, without any I/O; a task, not a thread, sends what waits. The rest as in `sync.Client`."""
        self._settings = calls.Settings(
            url, model, timeout_seconds, report_timeout_seconds, connections, dict(headers or {}), flush_every_seconds
        )
        self._kept, self._is_own_store = wiring.opened(store)
        self._calls = calls.Calls(self._settings, self._kept, outbox=outbox, arrays=arrays, world=calls.edge())
        self._verify, self._transport = verify, transport
        self._http: httpx.AsyncClient | None = None
        self._lanes = asyncio.Semaphore(connections)
        self._under_way = 0
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the background task, and let go of connections and store. What waits stays in the store."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()
        if self._is_own_store and self._kept is not None:
            await asyncio.to_thread(self._kept.close)

    async def predict(
        self,
        inputs: Any,
        *,
        id: str | None = None,  # noqa: A002 - the protocol's word
        tags: Mapping[str, str] | None = None,
        entity: Mapping[str, str | int] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> predicting.Answer:
        """See `sync.Client`."""
        return await self._run(self._calls.predict(inputs, id, tags, entity, outputs))

    async def remember(self, answer: predicting.Answer, *, key: str) -> None:
        """See `sync.Client`."""
        await self._run(self._calls.remember(answer, key))

    async def report(
        self,
        *,
        truth: Any = None,
        correct: bool | None = None,
        score: float | None = None,
        key: str | None = None,
        receipt: str | None = None,
        id: str | None = None,  # noqa: A002 - the protocol's word
        row: int | None = None,
        wanted: str | None = None,
    ) -> outcomes.Reported:
        """See `sync.Client`."""
        given = outcomes.Outcome(key, receipt, id, row, truth, correct, score, wanted)
        return await self._run(self._calls.report(given))

    async def report_many(self, items: Iterable[outcomes.Outcome | Mapping[str, Any]]) -> list[outcomes.Reported]:
        """See `sync.Client`."""
        return await self._run(self._calls.report_many(items))

    async def flush(self) -> delivering.Flushed:
        """See `sync.Client`."""
        return await self._run(self._calls.flush())

    async def waiting(self) -> int:
        """See `sync.Client`."""
        return await self._run(self._calls.waiting())

    async def wanted(self, *, limit: int = calls.WANTED_LIMIT) -> list[outcomes.Wanted]:
        """See `sync.Client`."""
        return await self._run(self._calls.wanted(limit))

    # Inside

    async def _run(self, flow: steps.Flow[steps.T]) -> steps.T:
        if self._is_closed:
            flow.close()
            raise errors.InputError("client: it is closed")
        if self._under_way >= calls.CALLS_MAX:
            flow.close()
            raise errors.Unavailable(f"{calls.CALLS_MAX} calls of this client are under way, the limit")
        self._under_way += 1
        try:
            self._ready()
            return await self._done(flow)
        finally:
            self._under_way -= 1

    async def _done(self, flow: steps.Flow[steps.T]) -> steps.T:
        """Return a flow's result, having done its steps."""
        result: Any = None
        error: errors.ClientError | None = None
        while True:
            try:
                step = flow.send(result) if error is None else flow.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # a generator's result is not typed
            result, error = None, None
            if isinstance(step, steps.Send):
                result = await self._sent(step)
            elif isinstance(step, steps.Wait):
                await asyncio.sleep(step.seconds)
            else:
                try:
                    result = await asyncio.to_thread(step.call)
                except errors.ClientError as raised:
                    error = raised

    async def _sent(self, step: steps.Send) -> steps.Response | steps.NoResponse:
        import httpx  # noqa: PLC0415 - 100 ms

        request = step.request
        body = wiring.Body(time.monotonic() + step.timeout_seconds)
        url = self._settings.base + request.path
        try:
            async with (
                asyncio.timeout(step.timeout_seconds),
                self._lanes,  # not httpx's own queue, whose cost grows with the square of its length
                self._connected().stream(
                    request.method,
                    url,
                    content=request.body,
                    headers=wiring.headers(self._settings, request),
                    timeout=wiring.timeout(step.timeout_seconds),
                ) as response,
            ):
                async for part in response.aiter_bytes():
                    if why := body.add(part, time.monotonic()):
                        return steps.NoResponse(f"{request.method} {url}: {why}")
                return wiring.response(response, body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return steps.NoResponse(wiring.said(request, url, error))

    def _connected(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - see above

        if self._http is None:
            self._http = httpx.AsyncClient(
                verify=wiring.verify(self._settings, self._verify),
                transport=self._transport,
                limits=wiring.limits(self._settings),
            )
        return self._http

    def _ready(self) -> None:
        """See that the background task runs."""
        if self._settings.flush_every_seconds is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._flush_on(), name="leadline-outbox")

    async def _flush_on(self) -> None:
        import logging  # noqa: PLC0415 - 10 ms, and only this needs it

        rounds = background.Rounds(self._settings.flush_every_seconds or 0.0)
        while True:
            try:
                told = rounds.ended(await self._done(self._calls.flush()))
            except errors.ClientError as error:
                told = rounds.failed(error)
            if told.message:
                logging.getLogger(calls.LOGGER).warning("%s", told.message)
            await asyncio.sleep(told.pause_seconds)

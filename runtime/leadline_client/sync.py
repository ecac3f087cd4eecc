"""The client that blocks. It does what the flows of `calls` ask for, and decides nothing itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from leadline_client import background, calls, delivering, errors, outcomes, predicting, sqlite, steps, store, wiring

if TYPE_CHECKING:
    import ssl

    import httpx

_CLOSE_SECONDS: Final = 20.0


class Client:
    """One model's client, for any number of threads; connections are kept and used again.

    Everything has a time limit, and is tried again within it where that may help. Close it, or use it in `with`.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Set up, without any I/O.

        Args:
            url: Of the Service or ingress, e.g. `http://digits.ml.svc`; a path before `/v2` is kept.
            model: The ModelDeployment's name.
            timeout_seconds: For one prediction, repetitions and pauses included.
            report_timeout_seconds: For one report or flush; the server itself waits 10 s for the ledger.
            connections: To the server at most.
            headers: Sent with each request, e.g. `authorization`.
            verify: Whether and by what the server's certificate is checked.
            store: File of receipts and waiting outcomes, made when first needed; or your own `Store`; None: there is none.
            outbox: Whether outcomes that are not delivered wait in the store; else `report` raises `Unavailable`.
            flush_every_seconds: How often a thread sends what waits; None: only `flush` does.
            arrays: Whether outputs are numpy's arrays; None: where numpy is installed.
            transport: Of httpx, for tests.

        Raises:
            InputError: A setting cannot be meant.
        """
        self._settings = calls.Settings(
            url, model, timeout_seconds, report_timeout_seconds, connections, dict(headers or {}), flush_every_seconds
        )
        self._kept, self._is_own_store = wiring.opened(store)
        self._calls = calls.Calls(self._settings, self._kept, outbox=outbox, arrays=arrays, world=calls.edge())
        self._verify, self._transport = verify, transport
        self._http: httpx.Client | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(calls.CALLS_MAX)
        self._lanes = threading.BoundedSemaphore(connections)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the background thread, and let go of connections and store. What waits stays in the store."""
        self._is_closed = True
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_SECONDS + self._settings.report_timeout_seconds)
        with self._lock:
            http, self._http = self._http, None
        if http is not None and self._pid == os.getpid():
            http.close()
        if self._is_own_store and self._kept is not None:
            self._kept.close()

    def predict(
        self,
        inputs: Any,
        *,
        id: str | None = None,  # noqa: A002 - the protocol's word
        tags: Mapping[str, str] | None = None,
        entity: Mapping[str, str | int] | None = None,
        outputs: Sequence[str] | None = None,
    ) -> predicting.Answer:
        """Return the model's answer.

        Args:
            inputs: By name, or the input itself where there is one: nested lists, numpy arrays, tables.
            id: Your own, which comes back; with `keyBy: id` its outcome is reported by it.
            tags: Up to 4, by which quality is told apart.
            entity: Whom it is about, under the name in `spec.outcomes.entity`.
            outputs: Names of those that are wanted; None: all.

        Raises:
            InputError: An argument is none.
            Refused: The server refused it, or the model failed on it.
            ModelNotReady: The model is not served yet.
            Unavailable: There was no answer in time.
        """
        return self._run(self._calls.predict(inputs, id, tags, entity, outputs))

    def remember(self, answer: predicting.Answer, *, key: str) -> None:
        """Keep an answer's receipt under a key of yours, durably. A later answer under the same key takes its place.

        Raises:
            InputError: The key is none, or there is no store.
            StoreError: The store cannot be written.
        """
        self._run(self._calls.remember(answer, key))

    def report(
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
        """Report what came true of one prediction. Reporting again is safe.

        Args:
            truth: The true class or value; or
            correct: whether it was right; or
            score: from 0 to 1, how good it was.
            key: Under which its receipt was remembered; or
            receipt: itself; or
            id: of the request, with `keyBy: id`.
            row: Of an answer of several.
            wanted: Token of the item where this answer was asked for.

        Returns:
            What became of it; `WAITING` where it could not be delivered, and is in the store.

        Raises:
            InputError: An argument is none.
            UnknownKey: Nothing is remembered under the key.
            Refused: The server does not take this outcome.
            Unavailable: It was not delivered, and there is no outbox to keep it.
            StoreError: The store cannot be used; nothing was sent.
        """
        given = outcomes.Outcome(key, receipt, id, row, truth, correct, score, wanted)
        return self._run(self._calls.report(given))

    def report_many(self, items: Iterable[outcomes.Outcome | Mapping[str, Any]]) -> list[outcomes.Reported]:
        """Report many outcomes, in as few requests as the server takes; return what became of each, in their order.

        Rows of one prediction belong into one call. A refused outcome is a result here, the others are taken all the same.

        Args:
            items: `Outcome`s, or mappings with the arguments of `report`.

        Raises:
            InputError: An item is none; nothing was sent.
            UnknownKey: Nothing is remembered under a key; nothing was sent.
            Refused: Outcomes are not taken here, and there is no outbox.
            Unavailable: There is no outbox, and not all were delivered: report all again.
            StoreError: The store cannot be used; nothing was sent.
        """
        return self._run(self._calls.report_many(items))

    def flush(self) -> delivering.Flushed:
        """Send what waits in the store, of this process and of others that ended.

        Raises:
            InputError: There is no store.
            StoreError: It cannot be used.
        """
        return self._run(self._calls.flush())

    def waiting(self) -> int:
        """Return how many outcomes wait in the store.

        Raises:
            InputError: There is no store.
            StoreError: It cannot be used.
        """
        return self._run(self._calls.waiting())

    def wanted(self, *, limit: int = calls.WANTED_LIMIT) -> list[outcomes.Wanted]:
        """Return predictions whose true answers would tell two revisions apart; none where nothing is compared.

        Raises:
            InputError: The limit is none.
            Refused: The server refused it.
            Unavailable: There was no answer in time.
        """
        return self._run(self._calls.wanted(limit))

    # Inside

    def _run(self, flow: steps.Flow[steps.T]) -> steps.T:
        if self._is_closed:
            flow.close()
            raise errors.InputError("client: it is closed")
        if not self._room.acquire(blocking=False):
            flow.close()
            raise errors.Unavailable(f"{calls.CALLS_MAX} calls of this client are under way, the limit")
        try:
            self._ready()
            return self._done(flow)
        finally:
            self._room.release()

    def _done(self, flow: steps.Flow[steps.T]) -> steps.T:
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
                result = self._sent(step)
            elif isinstance(step, steps.Wait):
                self._stopping.wait(step.seconds)
            else:
                try:
                    result = step.call()
                except errors.ClientError as raised:
                    error = raised

    def _sent(self, step: steps.Send) -> steps.Response | steps.NoResponse:
        request = step.request
        url = self._settings.base + request.path
        end = time.monotonic() + step.timeout_seconds
        # Not httpx's own queue, whose cost grows with the square of its length.
        if not self._lanes.acquire(timeout=step.timeout_seconds):
            return steps.NoResponse(f"{request.method} {url}: all {self._settings.connections} connections were in use")
        try:
            return self._answered(request, url, end)
        finally:
            self._lanes.release()

    def _answered(self, request: steps.Request, url: str, end: float) -> steps.Response | steps.NoResponse:
        import httpx  # noqa: PLC0415 - 100 ms

        body = wiring.Body(end)
        try:
            with self._connected().stream(
                request.method,
                url,
                content=request.body,
                headers=wiring.headers(self._settings, request),
                timeout=wiring.timeout(max(end - time.monotonic(), wiring.LEAST_SECONDS)),
            ) as response:
                for part in response.iter_bytes():
                    if why := body.add(part, time.monotonic()):
                        return steps.NoResponse(f"{request.method} {url}: {why}")
                return wiring.response(response, body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return steps.NoResponse(wiring.said(request, url, error))

    def _connected(self) -> httpx.Client:
        import httpx  # noqa: PLC0415 - see above

        with self._lock:
            if self._http is None:
                self._http = httpx.Client(
                    verify=wiring.verify(self._settings, self._verify),
                    transport=self._transport,
                    limits=wiring.limits(self._settings),
                )
            return self._http

    def _ready(self) -> None:
        """See that the background thread runs, in a child of a fork as well; there, connections are made anew."""
        if self._pid != os.getpid():
            # The parent's connections are shared with it: two who write to one would mix their requests.
            wiring.inherited.append(self._http)
            self._pid, self._http, self._thread = os.getpid(), None, None
            self._lock, self._room = threading.Lock(), threading.BoundedSemaphore(calls.CALLS_MAX)
            self._lanes = threading.BoundedSemaphore(self._settings.connections)
            self._room.acquire()
        if self._settings.flush_every_seconds is None or self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                # A daemon: a program that forgets to close ends all the same, and what waits is in the store.
                self._thread = threading.Thread(target=self._flush_on, name="leadline-outbox", daemon=True)
                self._thread.start()

    def _flush_on(self) -> None:
        import logging  # noqa: PLC0415 - 10 ms, and only this needs it

        rounds = background.Rounds(self._settings.flush_every_seconds or 0.0)
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                told = rounds.ended(self._done(self._calls.flush()))
            except errors.ClientError as error:
                told = rounds.failed(error)
            if told.message:
                logging.getLogger(calls.LOGGER).warning("%s", told.message)
            pause = told.pause_seconds

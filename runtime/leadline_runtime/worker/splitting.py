"""A canary: a share of the public port's requests for predictions is answered by another revision, in our place.

Which ones is decided per request: at random, or by a keyed hash of whom the request is about, where it says so, so that
somebody always meets the same revision while the share stays, and stays with the canary as the share grows. A share is exact
for one pod as for many, and costs nothing where there is none: the worker then answers without asking here. What the
canary cannot answer (it is not reached, not ready, or turns requests away) is answered with the own model; what it answers,
errors included, is what the client gets. Next step of a request: `pool`, or the own routes. Must not judge anybody.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Sequence
from hashlib import blake2s
from typing import Any, Final

import orjson
from leadline_wire import exchange, receipts

from leadline_runtime import messages
from leadline_runtime.engine.counters import Counters
from leadline_runtime.grpc import framing, protocol, service
from leadline_runtime.grpc.calls import Caller
from leadline_runtime.oip import forms
from leadline_runtime.web.connection import Connection
from leadline_runtime.worker import forwarding
from leadline_runtime.worker.links import Answer, Job, Target
from leadline_runtime.worker.pool import Pool

LINKS_MAX: Final = 64
"""Connections to each canary."""
QUEUE_MAX: Final = 1_024
"""Requests that wait for one of them."""
TIMEOUT_SECONDS: Final = 10.0
"""From a request's arrival to the end of the canary's answer; then the own model answers."""
_TURNED_AWAY: Final = frozenset({429, 503})
_HEADER: Final = forms.HEADER
_random = random.random


class Splitter:
    """Sends shares of the requests elsewhere."""

    def __init__(self, model_name: str, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._path = f"/v2/models/{model_name}/infer".encode()
        self._counters = counters
        self._loop = loop
        self._entity = ""
        self._key: receipts.Key | None = None
        self._splits: list[tuple[float, bytes, Pool]] = []
        """Upper end of each share in [0, 1], the revision's name, and the way to it."""
        self._pools: dict[str, Pool] = {}

    def aim(self, splits: Sequence[exchange.Split]) -> None:
        """Send these shares from now on."""
        found, end = [], 0.0
        for split in splits:
            pool = self._pools.get(split.revision)
            if pool is None:
                pool = Pool("canary", self._loop, links_max=LINKS_MAX, queue_max=QUEUE_MAX)
                self._pools[split.revision] = pool
            pool.aim(Target(split.revision, split.host, split.port))
            end += split.share / receipts.WHOLE_SHARE
            found.append((end, split.revision.encode(), pool))
        for revision in self._pools.keys() - {split.revision for split in splits}:
            # What is under way is answered; nothing new goes there.
            self._pools.pop(revision).aim(None)
        self._splits = found

    def know(self, told: messages.SetEvidence) -> None:
        """Learn which parameter of a request names whom it is about, and the key of its hash."""
        self._entity = told.outcomes.entity if told.outcomes is not None else ""
        self._key = told.keys[0] if told.keys else None

    def over(
        self, handle: Callable[[Connection], None], handle_call: Callable[[Caller], None]
    ) -> tuple[Callable[[Connection], None], Callable[[Caller], None]]:
        """Return handlers that send shares elsewhere, and the rest to these."""
        return functools.partial(self._handle, handle), functools.partial(self._handle_call, handle_call)

    def close(self) -> None:
        """Cut all connections."""
        for pool in self._pools.values():
            pool.close()

    def _handle(self, own: Callable[[Connection], None], connection: Connection) -> None:
        if connection.method != b"POST" or connection.target != self._path:
            own(connection)
            return
        pool = self._drawn(self._entity_of(connection) if self._entity else "")
        if pool is None:
            own(connection)
            return
        self._pass(
            pool,
            forwarding.rebuilt(connection),
            lambda answer: connection.answer(forwarding.whole(answer)),
            lambda: own(connection),
        )

    def _handle_call(self, own: Callable[[Caller], None], caller: Caller) -> None:
        if caller.head.path != service.INFER:
            own(caller)
            return
        pool = self._drawn(self._entity_of_call(caller) if self._entity else "")
        if pool is None:
            own(caller)
            return
        self._pass(
            pool,
            forwarding.rebuilt_call(caller),
            lambda answer: forwarding.reply_to_call(caller, answer),
            lambda: own(caller),
        )

    def _pass(
        self, pool: Pool, request: bytes, reply: Callable[[Answer], None], answer_ourselves: Callable[[], None]
    ) -> None:
        def done(answer: Answer | None) -> None:
            if answer is None or answer.status in _TURNED_AWAY:
                self._counters.unsplit += 1
                answer_ourselves()
                return
            self._counters.split += 1
            reply(answer)

        if not pool.send(Job(request, self._loop.time() + TIMEOUT_SECONDS, done)):
            self._counters.unsplit += 1
            answer_ourselves()

    def _drawn(self, entity: str) -> Pool | None:
        """Return the way of one request; None: it is answered here."""
        if not entity:
            place = _random()
            return next((pool for end, _, pool in self._splits if place < end), None)
        for end, revision, pool in self._splits:
            # The revision goes in, so that the next canary is not for the same people.
            digest = blake2s(revision + b"\0" + entity.encode(), digest_size=8).digest()
            if int.from_bytes(digest, "big") < end * 2.0**64:
                return pool
        return None

    def _entity_of(self, connection: Connection) -> str:
        """Return the keyed hash of whom a request is about; empty: it does not say, or is packed or malformed."""
        body: Any = connection.body
        try:
            length = connection.headers.get(_HEADER)
            request = orjson.loads(body if length is None else memoryview(body)[: int(length)])
            return self._hash(request["parameters"][self._entity])
        except (ValueError, TypeError, KeyError, AttributeError):
            return ""

    def _entity_of_call(self, caller: Caller) -> str:
        try:
            message = protocol.InferRequest.FromString(framing.message_of(caller.body))
        except protocol.DecodeError:
            return ""
        given = message.parameters.get(self._entity)
        kind = given.WhichOneof("parameter_choice") if given is not None else None
        return self._hash(getattr(given, kind)) if kind is not None else ""

    def _hash(self, entity: Any) -> str:
        if isinstance(entity, int) and not isinstance(entity, bool):
            entity = str(entity)
        if not isinstance(entity, str) or not entity or self._key is None:
            return ""
        return receipts.entity_hash(self._key, entity)

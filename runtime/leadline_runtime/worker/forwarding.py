"""Passing a demoted pod's public requests on to the serving revision.

A client that keeps its connection must not meet the demoted model: its request goes on as it came to the serving
revision's own port, and the answer comes back with `connection: close`. A header tells the target that its answer is
what the client gets. A target that is gone means 503, never an answer of the own model. Next step of a request: `pool`;
of an answer: `Connection.answer`. Must not know the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from leadline_wire import exchange

from leadline_runtime.engine.counters import Counters
from leadline_runtime.grpc.calls import Caller
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection
from leadline_runtime.worker.links import HOP_BY_HOP, Answer, Job, Target
from leadline_runtime.worker.pool import QUEUE_BYTES_MAX, Pool

LINKS_MAX: Final = 64
"""Connections to the target."""
QUEUE_MAX: Final = 1_024
"""Requests that wait for one of them."""
TIMEOUT_SECONDS: Final = 10.0
"""From a request's arrival to the end of its answer."""
_FORWARDED: Final = exchange.FORWARDED_HEADER.encode()
_LEFT_OUT: Final = HOP_BY_HOP | {_FORWARDED, exchange.COPY_HEADER.encode()}
"""What a client must not say in our name, besides what belongs to a single hop."""
_LEFT_OUT_OF_CALLS: Final = _LEFT_OUT | {b"grpc-encoding", b"grpc-accept-encoding", b"grpc-timeout"}
"""The message goes on as it is, not compressed; the time is watched here."""


class Forwarder:
    """Forwards to one target at a time."""

    def __init__(self, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._counters = counters
        self._loop = loop
        self._pool = Pool("forward target", loop, links_max=LINKS_MAX, queue_max=QUEUE_MAX)

    def aim(self, target: exchange.Forward | None) -> None:
        """Forward to this target from now on; None: answer 503."""
        self._pool.aim(None if target is None else Target(target.revision, target.host, target.port))

    def handle(self, connection: Connection) -> None:
        """Pass one request on."""
        is_head = connection.method == b"HEAD"

        def reply(answer: Answer) -> None:
            connection.answer(whole(answer, is_head=is_head))

        if self._can_pass(connection):
            self._pass(connection, rebuilt(connection), reply, is_head=is_head)

    def handle_call(self, caller: Caller) -> None:
        """Pass one gRPC call on, as `grpc.bare` takes it."""

        def reply(answer: Answer) -> None:
            reply_to_call(caller, answer)

        if self._can_pass(caller):
            self._pass(caller, rebuilt_call(caller), reply)

    def close(self) -> None:
        """Cut all connections to the target."""
        self._pool.close()

    def _can_pass(self, caller: Connection | Caller) -> bool:
        """Tell whether there is a target; refuse where there is none."""
        if self._pool.target is not None:
            return True
        self._counters.unforwarded += 1
        caller.refuse(503, "this revision is on standby and has no revision to pass the request on to")
        return False

    def _pass(
        self, caller: Connection | Caller, request: bytes, reply: Callable[[Answer], None], *, is_head: bool = False
    ) -> None:
        def done(answer: Answer | None) -> None:
            if answer is None:
                self._give_up(caller)
                return
            self._counters.forwarded += 1
            reply(answer)

        if not self._pool.send(Job(request, self._loop.time() + TIMEOUT_SECONDS, done, is_head=is_head)):
            self._counters.unforwarded += 1
            limit = f"{QUEUE_MAX} requests or {QUEUE_BYTES_MAX} bytes"
            caller.refuse(503, f"too many requests wait to be passed on; the limit is {limit}")

    def _give_up(self, caller: Connection | Caller) -> None:
        self._counters.unforwarded += 1
        target = self._pool.target
        revision = target.name if target is not None else "none"
        caller.refuse(503, f"this revision is on standby, and the serving one ({revision}) does not answer")


def whole(answer: Answer, *, is_head: bool = False) -> bytes:
    """Return an answer as it goes back to a client of REST."""
    length = b"" if is_head else b"content-length: %d\r\n" % len(answer.body)
    return b"%b%b%b\r\n%b" % (responses.first_line(answer.status), answer.lines, length, answer.body)


def reply_to_call(caller: Caller, answer: Answer) -> None:
    """Give an answer back to a client of gRPC."""
    if answer.status == 200:
        caller.answer(answer.body)
    else:
        caller.refuse(answer.status, responses.message_of(answer.body))


def rebuilt(connection: Connection) -> bytes:
    """Return the request as it came, with its body in one piece."""
    return _written(connection.method, connection.target, connection.headers, _LEFT_OUT, connection.body)


def rebuilt_call(caller: Caller) -> bytes:
    """Return a call with its message as body, in its frame."""
    return _written(b"POST", caller.head.path, caller.headers, _LEFT_OUT_OF_CALLS, caller.body)


def _written(
    method: bytes, target: bytes, headers: Mapping[bytes, bytes], left_out: AbstractSet[bytes], body: bytes
) -> bytes:
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in headers.items() if name not in left_out)
    if b"host" not in headers:
        lines = b"host: leadline\r\n" + lines  # HTTP/1.0 needs none, but goes on as HTTP/1.1
    return b"%b %b HTTP/1.1\r\n%b%b: 1\r\ncontent-length: %d\r\n\r\n%b" % (
        method,
        target,
        lines,
        _FORWARDED,
        len(body),
        body,
    )

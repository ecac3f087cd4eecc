"""The operator's call: who may, what it changes, what it is told.

A call that is not sealed with our key gets 401 and no word more. One that is, but is meant for another pod or comes
from an operator that has been replaced, gets a sealed refusal and changes nothing. Roles act at once: the answer waits a
moment for the worker's word, so that the operator usually learns of a demotion with the call that ordered it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from leadline_wire import exchange, receipts

from leadline_runtime import logs
from leadline_runtime.supervisor.pod import Pod
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

IN_FORCE_SECONDS: Final = 1.0
"""Longest wait for the worker's word; the operator gives up after three seconds."""
_LEASE_SECONDS_MAX: Final = 86_400.0
_NONCES: Final = 4_096
_ROTATIONS_MAX: Final = 256
"""Receipt keys that are believed; older ones are not."""
_UNAUTHORIZED: Final = responses.json(b"{}", 401)
"""No detail: whoever has no key learns nothing."""


class Exchange:
    """Answers `POST /exchange`."""

    def __init__(
        self,
        pod: Pod,
        key_file: Path,
        *,
        on_role: Callable[[], None],
        on_evidence: Callable[[], None],
        on_digest: Callable[[str], None],
        on_test_set: Callable[[exchange.TestSetRequest | None], None],
    ) -> None:
        self._pod = pod
        self._key_file = key_file
        self._on_role = on_role
        self._on_evidence = on_evidence
        self._on_digest = on_digest
        self._on_test_set = on_test_set
        self._decoder = msgspec.json.Decoder(exchange.ExchangeRequest)
        self._seen: deque[str] = deque(maxlen=_NONCES)
        self._in_force = asyncio.Event()
        self._lease: asyncio.TimerHandle | None = None
        self._key_missed = False

    async def answer(self, connection: Connection) -> None:
        """Answer one call."""
        key = self._key()
        try:
            request = self._decoder.decode(connection.body)
        except msgspec.MsgspecError:
            connection.answer(_UNAUTHORIZED)
            return
        mac = connection.headers.get(exchange.MAC_HEADER.encode(), b"").decode("latin-1")
        sealed = exchange.is_sealed(key, "request", request.nonce, connection.body, mac)
        if not key or not sealed or request.nonce in self._seen:
            connection.answer(_UNAUTHORIZED)
            return
        self._seen.append(request.nonce)
        refusal = self._refusal(request)
        if refusal is not None:
            logs.warning("exchange refused", reason=refusal.reason, epoch=request.epoch, newest_epoch=refusal.epoch)
            _send(connection, key, refusal, exchange.REFUSED_STATUS)
            return
        await self._act(request, key)
        _send(connection, key, self._pod.report(request.nonce), 200)

    def role_in_force(self) -> None:
        """Note that the worker has confirmed a role."""
        self._in_force.set()

    def _refusal(self, request: exchange.ExchangeRequest) -> exchange.Refusal | None:
        pod = self._pod
        reason: str | None = None
        if request.pod_uid != pod.uid:
            reason = "OtherPod"
        elif request.revision != pod.revision:
            reason = "OtherRevision"
        elif request.epoch < pod.epoch:
            reason = "OldEpoch"
        if reason is None:
            return None
        return msgspec.convert(
            {
                "nonce": request.nonce,
                "reason": reason,
                "epoch": pod.epoch,
                "pod_uid": pod.uid,
                "revision": pod.revision,
            },
            exchange.Refusal,
        )

    async def _act(self, request: exchange.ExchangeRequest, key: bytes) -> None:
        pod = self._pod
        pod.epoch = request.epoch
        self._renew(request.lease_seconds)
        before = pod.role
        changed = pod.take_role(request.role, request.forward, request.splits)
        if changed:
            self._on_role()
        if pod.role != before:
            target = pod.forward.revision if pod.forward is not None else ""
            logs.info("role changed", role=pod.role, before=before, forward=target, epoch=pod.epoch)
        self._take_evidence(request, key)
        if request.digest:
            self._on_digest(request.digest)
        self._on_test_set(request.test_set)
        if (pod.role == "standby" or changed) and not pod.is_role_in_force:
            await self._wait_in_force()

    async def _wait_in_force(self) -> None:
        try:
            async with asyncio.timeout(IN_FORCE_SECONDS):
                while not self._pod.is_role_in_force:
                    self._in_force.clear()
                    await self._in_force.wait()
        except TimeoutError:
            pass

    def _renew(self, seconds: float) -> None:
        if self._lease is not None:
            self._lease.cancel()
        self._lease = asyncio.get_running_loop().call_later(min(max(0.0, seconds), _LEASE_SECONDS_MAX), self._expire)

    def _expire(self) -> None:
        """Serve again: without an operator a pod must not forward for ever to what may be gone, nor copy to it."""
        if self._pod.take_role("serving", None):
            logs.warning("role expired without renewal, the own model answers again")
            self._on_role()
        if self._pod.copies:
            self._pod.copies = []
            logs.warning("role expired without renewal, requests are copied no more")
        self._pod.labels = None
        self._on_evidence()

    def _take_evidence(self, request: exchange.ExchangeRequest, key: bytes) -> None:
        """Take what becomes of answers; the worker hears of it only where it changed."""
        pod = self._pod
        pod.is_told = True
        pod.outcomes = request.outcomes
        pod.copies = list(request.copies) if pod.role == "serving" else []
        pod.labels = request.labels if pod.role == "serving" else None
        pod.keys = []
        if request.outcomes is not None:
            newest = max(0, request.outcomes.rotation)
            oldest = max(0, newest + 1 - _ROTATIONS_MAX)
            pod.keys = [receipts.key_of(key, rotation) for rotation in range(oldest, newest + 1)]
        self._on_evidence()

    def _key(self) -> bytes:
        """Return the key as it is mounted now: Secrets are exchanged under a running pod."""
        try:
            key = self._key_file.read_bytes()
        except OSError as error:
            key = b""
            if not self._key_missed:
                logs.warning("no exchange key, all exchanges are refused", path=self._key_file, error=error.strerror)
        self._key_missed = not key
        return key


def _send(connection: Connection, key: bytes, message: msgspec.Struct, status: int) -> None:
    nonce: str = getattr(message, "nonce")  # noqa: B009  # both messages have one, their base class does not
    body = msgspec.json.encode(message)
    seal = exchange.seal(key, "report", nonce, body)
    connection.answer(responses.json(body, status, extra=f"{exchange.MAC_HEADER}: {seal}\r\n".encode()))

"""One exchange with one pod: sealed both ways, bounded in time and size."""

import secrets
from typing import Final

import aiohttp
import msgspec
from leadline_api import names
from leadline_wire import exchange

from leadline_operator.reconcile.plan import Sounding

TIMEOUT_SECONDS: Final = 3.0
LEASE_SECONDS: Final = 600.0
"""Least time that a role holds in a pod without renewal."""


class NotReachedError(Exception):
    """The pod gave no answer that can be trusted: nothing is known, and nothing is held against it."""


class Caller:
    """Calls pods.

    Args:
        port: Admin port of the pods.
    """

    def __init__(self, *, port: int = names.ADMIN_PORT) -> None:
        self._port = port
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=128, keepalive_timeout=15, use_dns_cache=False),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def call(self, to: Sounding, *, key: bytes, epoch: int) -> exchange.ExchangeReport | exchange.Refusal:
        """Tell one pod what it should be and return what it is.

        Raises:
            NotReachedError: It did not answer in time, or its answer is not sealed with our key.
        """
        nonce = secrets.token_hex(16)
        body = msgspec.json.encode(
            exchange.ExchangeRequest(
                nonce=nonce,
                pod_uid=to.uid,
                revision=to.revision,
                epoch=epoch,
                role=to.role,
                forward=to.forward,
                lease_seconds=max(LEASE_SECONDS, 3 * to.every_seconds),
                digest=to.digest,
                test_set=to.test_set,
                outcomes=to.outcomes,
                copies=list(to.copies),
                splits=list(to.splits),
                labels=to.labels,
            )
        )
        host = f"[{to.ip}]" if ":" in to.ip else to.ip
        headers = {"content-type": "application/json", exchange.MAC_HEADER: exchange.seal(key, "request", nonce, body)}
        url = f"http://{host}:{self._port}{exchange.PATH}"
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                raw = await answer.content.read(exchange.BODY_LIMIT_BYTES + 1)
                while not answer.content.at_eof() and len(raw) <= exchange.BODY_LIMIT_BYTES:
                    raw += await answer.content.read(exchange.BODY_LIMIT_BYTES + 1 - len(raw))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise NotReachedError(f"pod {to.pod} ({to.ip}): {type(error).__name__}: {error}") from error
        if not exchange.is_sealed(key, "report", nonce, raw, answer.headers.get(exchange.MAC_HEADER, "")):
            raise NotReachedError(f"pod {to.pod} ({to.ip}): answered {answer.status} without our seal")
        try:
            told = _decoded(answer.status, raw)
        except msgspec.DecodeError as error:
            raise NotReachedError(f"pod {to.pod} ({to.ip}): {error}") from error
        if told.nonce != nonce or (told.pod_uid != to.uid and isinstance(told, exchange.ExchangeReport)):
            raise NotReachedError(f"pod {to.pod} ({to.ip}): another pod answered")
        return told


def _decoded(status: int, raw: bytes) -> exchange.ExchangeReport | exchange.Refusal:
    if status == exchange.REFUSED_STATUS:
        return msgspec.json.decode(raw, type=exchange.Refusal)
    return msgspec.json.decode(raw, type=exchange.ExchangeReport)

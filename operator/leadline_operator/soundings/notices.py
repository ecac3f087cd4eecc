"""Tells decisions to a URL of the user's choice: CloudEvents, signed as Standard Webhooks says, and counts them.

Each decision is told at least once within the hour in which it is news, what came of a training run within a day: again after an error, and again by an operator that was
started anew, which does not know what the one before had told; whoever listens drops what it has by `webhook-id`. A listener
that is away or slow holds nothing else up: a bounded number waits, and the oldest give way. Must not decide anything.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import itertools
import json
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from leadline_api import names
from leadline_wire.ledger import Decision
from prometheus_client import CollectorRegistry, Counter

from leadline_operator.reconcile.announcing import NOTICE_SECONDS, measured_of
from leadline_operator.reconcile.retraining import NEWS_SECONDS
from leadline_operator.reconcile.training_runs import ENDS
from leadline_operator.specs.metadata import Owner

TRY_SECONDS: Final = 10.0
LONGEST_PAUSE_SECONDS: Final = 60.0
WAITING_MAX: Final = 1_000
"""Events that wait for a listener; the oldest give way."""
KNOWN_MAX: Final = 10_000
"""Decisions that are known to have been told or counted; older ones are no news any more."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how such a secret begins
CONTENT_TYPE: Final = "application/cloudevents+json"
_GIVEN_UP: Final = (400, 404, 410, 413, 422)
"""Answers that would be the same again."""

log = logging.getLogger(__name__)


class BadSecretError(ValueError):
    """The Secret holds no key to sign with."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event, ready to be sent."""

    id: str
    at_ms: int
    body: bytes
    news_seconds: float = NOTICE_SECONDS
    """For how long it is news."""


class Notices:
    """Tells and counts decisions.

    Args:
        url: Who is told; empty: nobody, decisions are only counted.
        secret_file: Holds `whsec_` and the key in base64; read anew for each try, for it may be exchanged.
        now: Seconds since the epoch.
        registry: Of the operator's metrics.
    """

    def __init__(self, url: str, secret_file: Path, *, now: Callable[[], float], registry: CollectorRegistry) -> None:
        self._url, self._secret_file, self._now = url, secret_file, now
        self._since_ms = round(now() * 1000)
        self._known: dict[str, None] = {}
        self._waiting: deque[Notice] = deque()
        self._news = asyncio.Event()
        self._decisions = Counter(
            "leadline_decisions_total", "Decisions since the start", ["kind", "reason"], registry=registry
        )
        self._sent = Counter(
            "leadline_decision_notices_total", "Decisions told to decisions.url", ["result"], registry=registry
        )

    def tell(self, owner: Owner, decisions: tuple[Decision, ...]) -> None:
        """Take what was decided lately; what is known already is passed over."""
        for decision in decisions:
            identifier = f"{owner.uid}/{decision.id}"
            if identifier in self._known:
                continue
            self._known[identifier] = None
            if len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
            if decision.at_ms >= self._since_ms:
                self._decisions.labels(decision.kind, decision.data.get("reason", "")).inc()
            if not self._url:
                continue
            if len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()
                self._sent.labels("Dropped").inc()
            body = json.dumps(event(owner, decision, identifier), separators=(",", ":")).encode()
            news_seconds = NEWS_SECONDS if decision.kind in ENDS else NOTICE_SECONDS
            self._waiting.append(Notice(identifier, decision.at_ms, body, news_seconds))
            self._news.set()

    async def run(self) -> None:
        """Send what waits, in its order, until cancelled."""
        pauses = itertools.count()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TRY_SECONDS)) as session:
            while True:
                if not self._waiting:
                    self._news.clear()
                    await self._news.wait()
                    continue
                notice = self._waiting[0]
                result = await self._sent_to(session, notice)
                age = self._now() - notice.at_ms / 1000
                if not result and age <= notice.news_seconds:
                    if age > NOTICE_SECONDS and self._waiting[0] is notice:
                        self._waiting.rotate(
                            -1
                        )  # what is news for a day holds nothing else up for longer than the others
                    await asyncio.sleep(min(LONGEST_PAUSE_SECONDS, 2.0 ** min(next(pauses), 6)))
                    continue
                pauses = itertools.count()
                self._sent.labels(result or "Dropped").inc()
                if self._waiting and self._waiting[0] is notice:
                    self._waiting.popleft()

    async def _sent_to(self, session: aiohttp.ClientSession, notice: Notice) -> str:
        """Send one event; return what became of it, empty: it is to be sent again."""
        try:
            headers = signed(notice, secret=self._secret_file.read_text(encoding="ascii"), at=int(self._now()))
            async with session.post(self._url, data=notice.body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (BadSecretError, OSError, UnicodeDecodeError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            log.warning("decision %s is not told to decisions.url: %s: %s", notice.id, type(error).__name__, error)
            return ""
        if 200 <= status < 300:
            return "Sent"
        gives_up = status in _GIVEN_UP
        log.warning("decisions.url answers %d to %s%s", status, notice.id, ": not sent again" if gives_up else "")
        return "Refused" if gives_up else ""


def event(owner: Owner, decision: Decision, identifier: str) -> dict[str, Any]:
    """Return a decision as a CloudEvent (specification 1.0, structured mode)."""
    data = {key: value for key, value in decision.data.items() if key != "measured"}
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": f"/apis/{names.API_VERSION}/namespaces/{owner.namespace}/modeldeployments/{owner.name}",
        "type": f"dev.leadline.decision.{decision.kind.lower()}",
        "subject": decision.revision,
        "time": datetime.fromtimestamp(decision.at_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
            "decision": decision.kind,
            "revision": decision.revision,
            **({"other": decision.other} if decision.other else {}),
            **data,
            "measured": measured_of(decision.data),
        },
    }


def signed(notice: Notice, *, secret: str, at: int) -> dict[str, str]:
    """Return the headers of an event, with its signature (Standard Webhooks 1.0, HMAC-SHA256).

    Args:
        notice: The event.
        secret: `whsec_` and the key in base64, 24 to 64 bytes.
        at: Time of the try, in seconds since the epoch.

    Raises:
        BadSecretError: It is no such secret.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise BadSecretError(f"expected {SECRET_PREFIX} and the key in base64: {error}") from error
    if not 24 <= len(key) <= 64:
        raise BadSecretError(f"expected a key of 24 to 64 bytes in base64, got {len(key)} bytes")
    signing = hmac.new(key, b"%b.%d.%b" % (notice.id.encode(), at, notice.body), hashlib.sha256)
    return {
        "content-type": CONTENT_TYPE,
        "webhook-id": notice.id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signing.digest()).decode()}",
    }

"""Which few predictions, answered, would decide: those on which the two revisions that are compared differ.

The ledger knows them; each comes with a signed token, which goes back with its answer, so that the ledger and the operator
know that it was asked for and how much it stands for. A token is no receipt: who has neither receipt nor id of a prediction
cannot report its answer.

    w1.<key>.<id>.<row>.<request>.<other>.<agreements>.<mac>

key, id: as in a receipt. request: hash of the client's own id, or empty. other: the revision that is compared. agreements:
see `leadline_wire.ledger.Outcome`. mac: keyed BLAKE2s of all that stands before its dot.

Must not read the clock.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson
from leadline_wire import exchange, ledger, predictions, receipts

from leadline_runtime import errors, logs
from leadline_runtime.outcomes.intake import target_of
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection
from leadline_runtime.worker.links import Answer, Job, Link
from leadline_runtime.worker.pool import Pool

LIMIT: Final = 50
"""Of one answer, where nobody says."""
TIMEOUT_SECONDS: Final = 10.0
CALLS_MAX: Final = 4
"""Calls under way; more are answered 503."""
_VERSION: Final = "w1"
_TOKEN_MAX: Final = 1_024
_NOTHING: Final = (
    "nothing is wanted: no prediction that can still be judged was copied to another revision; answers are asked for while two "
    "are compared (spec.rollout.shadow, spec.quality.compareFor)"
)


class BadTokenError(ValueError):
    """What should be a token of ours is none; the message says why, and nothing of the key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a token says: whose answer was asked for, and why."""

    id: str
    row: int
    request: str
    """Hash of the client's own id; empty: it is not known."""
    other: str
    agreements: float


def hash_of(client_id: str) -> str:
    """Return the hash of a client's own id, 16 hexadecimal digits; of none, nothing."""
    return hashlib.blake2s(client_id.encode(), digest_size=8).hexdigest() if client_id else ""


def signed(key: receipts.Key, asked: Asked) -> str:
    """Return the token that says so."""
    text = f"{_VERSION}.{key.id}.{asked.id}.{asked.row}.{asked.request}.{asked.other}.{asked.agreements:.6f}"
    return f"{text}.{_mac(key, text)}"


def read(token: str, keys: Mapping[str, receipts.Key]) -> Asked:
    """Return what a token says.

    Raises:
        BadTokenError: It is none, of an unknown key, or was changed.
    """
    parts = token.split(".") if len(token) <= _TOKEN_MAX and token.isascii() else []
    if len(parts) < 9 or parts[0] != _VERSION:
        raise BadTokenError("expected a token as it came with what is wanted")
    key = keys.get(parts[1])
    if key is None:
        raise BadTokenError("token of another ModelDeployment, or signed with a key that is no longer kept")
    text, _, mac = token.rpartition(".")
    if not hmac.compare_digest(_mac(key, text), mac):
        raise BadTokenError("token with a wrong signature: it was changed, or is not ours")
    # Only the name of a revision may hold dots, beside the one in the number.
    return Asked(parts[2], int(parts[3]), parts[4], ".".join(parts[5:-3]), float(f"{parts[-3]}.{parts[-2]}"))


def _mac(key: receipts.Key, text: str) -> str:
    return hashlib.blake2s(
        text.encode(), digest_size=receipts.MAC_BYTES, key=key.secret, person=b"leadwant"
    ).hexdigest()


class Wanting:
    """Answers what is wanted."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, token: Callable[[], bytes], path: str, now_ms: Callable[[], int]
    ) -> None:
        """Set up.

        Args:
            loop: Of the worker.
            token: Returns the bearer token for the ledger.
            path: Of the ledger's call.
            now_ms: The time, in milliseconds since the epoch.
        """
        self.settings: exchange.OutcomeSettings | None = None
        """None: outcomes are not taken, and `why_not` says why."""
        self.key: receipts.Key | None = None
        """Signs tokens."""
        self.why_not = (503, "the operator has not said yet whether outcomes are taken")
        self._loop = loop
        self._token = token
        self._path = path
        self._now_ms = now_ms
        self._host = self._base = ""
        self._pool = Pool("ledger", loop, links_max=1, queue_max=CALLS_MAX, make=Link[Job])
        self._tasks: set[asyncio.Task[None]] = set()

    def aim(self, url: str) -> None:
        """Ask the ledger at this URL; empty: none."""
        target = target_of(url)
        self._host = urlsplit(url).netloc.rpartition("@")[2] if target is not None else ""
        self._base = urlsplit(url).path.rstrip("/") if target is not None else ""
        self._pool.aim(target)

    def handle(self, connection: Connection) -> None:
        """Answer one request, when the ledger has answered."""
        settings, key = self.settings, self.key
        if settings is None or key is None:
            connection.refuse(*self.why_not)
            return
        try:
            limit = _limit(connection.target)
        except errors.BadRequestError as error:
            connection.refuse(error.status, str(error))
            return
        if len(self._tasks) >= CALLS_MAX:
            connection.refuse(503, f"{len(self._tasks)} calls for what is wanted are under way, limit {CALLS_MAX}")
            return
        task = self._loop.create_task(self._answer(connection, settings, key, limit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        self._pool.close()

    async def _answer(
        self, connection: Connection, settings: exchange.OutcomeSettings, key: receipts.Key, limit: int
    ) -> None:
        try:
            found, why = _read(await self._asked(settings, limit), self._pool.unreachable)
            if found is None:
                connection.refuse(503, why)
            elif not found.other:
                connection.refuse(404, _NOTHING)
            else:
                connection.answer(responses.json(orjson.dumps(_shown(found, key))))
        except Exception:  # noqa: BLE001  # a defect here must not end the worker, which serves
            logs.error("telling what is wanted failed", exc_info=True)
            connection.refuse(500, "internal error of the runtime; its log has the details")

    async def _asked(self, settings: exchange.OutcomeSettings, limit: int) -> Answer | None:
        """Return the ledger's answer; None: there is none in time."""
        if self._pool.target is None:
            return None
        token = self._token()
        # An answer that comes after its maturity is judged no more.
        since_ms = self._now_ms() - (settings.maturity_ms or settings.max_age_ms)
        lines = [
            f"GET {self._base}{self._path}?limit={limit}&since={max(since_ms, 0)} HTTP/1.1",
            f"host: {self._host}",
            *([f"authorization: Bearer {token.decode('latin-1')}"] if token else []),
        ]
        answered: asyncio.Future[Answer | None] = self._loop.create_future()

        def done(answer: Answer | None) -> None:
            if not answered.done():
                answered.set_result(answer)

        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if not self._pool.send(Job(request, self._loop.time() + TIMEOUT_SECONDS, done)):
            return None
        return await answered


def _limit(target: bytes) -> int:
    given = parse_qsl(urlsplit(target.decode("latin-1")).query, keep_blank_values=True)
    for name, text in given:
        if name != "limit":
            raise errors.BadRequestError(f"{name[:80]}: there is no such parameter; expected limit")
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= ledger.WANTED_MAX):
            raise errors.BadRequestError(
                f"limit: expected a whole number from 1 to {ledger.WANTED_MAX}, got {errors.shorten(text, 80)!r}"
            )
    return int(given[-1][1]) if given else LIMIT


def _read(answer: Answer | None, unreachable: str) -> tuple[ledger.Wanted | None, str]:
    """Return what the ledger told, or why it did not."""
    if answer is None:
        return None, f"the ledger does not answer: {unreachable or f'nothing within {TIMEOUT_SECONDS:g} s'}"
    if answer.status == 404:
        return None, "the ledger does not know what is wanted: it is of an older version"
    if answer.status != 200:
        said = errors.shorten(answer.body[:300].decode("utf-8", "replace"), 300)
        return None, f"the ledger answered {answer.status}: {said}"
    try:
        return msgspec.json.decode(answer.body, type=ledger.Wanted), ""
    except msgspec.MsgspecError as error:
        return None, f"the ledger's answer cannot be read: {errors.shorten(str(error), 200)}"


def _shown(found: ledger.Wanted, key: receipts.Key) -> dict[str, Any]:
    """Return what a client reads."""
    return {
        "wanted": [_item(each, found.agreements, key) for each in found.items],
        "compared_with": found.other,
        "agreements": found.agreements,
        "compared": found.compared,
    }


def _item(item: ledger.Unanswered, agreements: float, key: receipts.Key) -> dict[str, Any]:
    asked = Asked(item.id, item.row, hash_of(item.client_id), item.other, agreements)
    at = datetime.fromtimestamp(int(item.id[:12], 16) / 1000, UTC)
    return {
        "prediction_id": item.id,
        **({"id": item.client_id} if item.client_id else {}),
        "row": item.row,
        "predicted_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "revision": item.revision,
        "prediction": _value(item.prediction),
        "other_revision": item.other,
        "other_prediction": _value(item.other_prediction),
        "token": signed(key, asked),
    }


def _value(word: str) -> predictions.Value | None:
    """Return what a word says; None: no usable answer."""
    try:
        return predictions.read(word)
    except predictions.BadWordError:
        return None

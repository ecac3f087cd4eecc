"""The calls on outcomes, decisions, checkpoints and the log."""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from leadline_wire import ledger

from leadline_ledger import errors, store
from leadline_ledger.serving import asked, edge

T = TypeVar("T")
_BODY_SECONDS: Final = 30.0
_REPORTER_BYTES_MAX: Final = 32 << 10
_CHECKPOINT_BYTES_MAX: Final = 2 * ledger.STATE_BYTES_MAX + 1_024
"""Of its JSON: what is in a string is longer there."""
_JSON: Final = {"content-type": "application/json"}
_decode_intake: Final = msgspec.json.Decoder(ledger.Intake)
_decode_decision: Final = msgspec.json.Decoder(ledger.Decision)
_decode_checkpoint: Final = msgspec.json.Decoder(ledger.Checkpoint)
_decode_reporter: Final = msgspec.json.Decoder(ledger.Reporter)


class Records:
    """Handlers; each says who may."""

    def __init__(self, kept: store.Store, rim: edge.Edge, *, queue_bytes: int) -> None:
        """Set up.

        Args:
            kept: Where everything goes.
            rim: Knows who may do what.
            queue_bytes: Bodies held at the same time; a call beyond it is answered 503.
        """
        self._store = kept
        self._rim = rim
        self._queue_bytes = queue_bytes
        self.held_bytes = 0

    async def intake(self, request: web.Request) -> web.Response:
        """Keep what a runtime brings."""
        model = asked.model(self._rim, request)
        size = self._reserve(request, ledger.INTAKE_BYTES_MAX)
        try:
            brought = await _body(request, _decode_intake, ledger.INTAKE_BYTES_MAX)
            return _json(ledger.IntakeAnswer(await self._store.take(model, brought)))
        finally:
            self.held_bytes -= size

    async def source(self, request: web.Request) -> web.Response:
        """Say who reports outcomes with a token that a runtime was given."""
        asked.model(self._rim, request)
        reporter = await _body(request, _decode_reporter, _REPORTER_BYTES_MAX)
        return _json(ledger.Source(await self._rim.source_of(reporter.token)))

    async def decide(self, request: web.Request) -> web.Response:
        """Append a decision."""
        self._rim.require_operator(request)
        decision = await _body(request, _decode_decision, ledger.INTAKE_BYTES_MAX)
        if not decision.id:
            raise errors.BadInputError("id: expected the operator's own name of the decision, got none")
        return _json(await self._store.decide(asked.model(self._rim, request), decision))

    async def keep(self, request: web.Request) -> web.Response:
        """Keep a checkpoint."""
        self._rim.require_operator(request)
        checkpoint = await _body(request, _decode_checkpoint, _CHECKPOINT_BYTES_MAX)
        size = len(checkpoint.state.encode())
        if size > ledger.STATE_BYTES_MAX:
            raise errors.TooLargeError(f"state: {size} bytes, expected at most {ledger.STATE_BYTES_MAX}")
        if checkpoint.cursor < 0:
            raise errors.BadInputError(f"cursor: expected 0 or more, got {checkpoint.cursor}")
        await self._store.keep(asked.model(self._rim, request), checkpoint)
        return web.Response(status=204)

    async def resume(self, request: web.Request) -> web.Response:
        """Return what an operator begins with."""
        self._rim.require_operator(request)
        return _json(await self._store.resume())

    async def log(self, request: web.Request) -> web.Response:
        """Return the log of all, as soon as there is news."""
        self._rim.require_operator(request)
        after = asked.number(request, "after", 0, (1 << 63) - 1)
        limit = asked.number(request, "limit", ledger.LOG_LIMIT_MAX, ledger.LOG_LIMIT_MAX, least=1)
        seconds = _seconds(request)
        timeline = request.query.get("timeline", "")
        found = await self._store.read(after, limit=limit, timeline=timeline)
        if not found.entries and found.head <= after and seconds:
            await self._store.news(after, seconds)
            found = await self._store.read(after, limit=limit, timeline=timeline)
        return _stretch(found)

    async def log_of_model(self, request: web.Request) -> web.Response:
        """Return the log of one ModelDeployment."""
        model = asked.model(self._rim, request)
        after = asked.number(request, "after", 0, (1 << 63) - 1)
        limit = asked.number(request, "limit", ledger.LOG_LIMIT_MAX, ledger.LOG_LIMIT_MAX, least=1)
        timeline = request.query.get("timeline", "")
        return _stretch(await self._store.read(after, limit=limit, model=model, timeline=timeline))

    async def wanted(self, request: web.Request) -> web.Response:
        """Return answers that would tell two revisions apart."""
        model = asked.model(self._rim, request)
        limit = asked.number(request, "limit", 50, ledger.WANTED_MAX, least=1)
        since_ms = asked.number(request, "since", 0, (1 << 48) - 1)
        return _json(await self._store.wanted(model, limit=limit, since_ms=since_ms))

    def _reserve(self, request: web.Request, most: int) -> int:
        size = request.content_length if request.content_length is not None else most
        if size > most:
            raise errors.TooLargeError(f"body of {size} bytes, expected at most {most}")
        if self.held_bytes + size > self._queue_bytes:
            raise errors.BusyError(f"calls with {self.held_bytes} bytes are under way, limit {self._queue_bytes}")
        self.held_bytes += size
        return size


async def _body(request: web.Request, decoder: msgspec.json.Decoder[T], most: int) -> T:
    try:
        # A small body has come with its head, mostly, and needs no timer.
        async with asyncio.timeout(None if request.content.is_eof() else _BODY_SECONDS):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.TooLargeError(f"body is larger than {most} bytes") from error
    if len(body) > most:
        raise errors.TooLargeError(f"body of {len(body)} bytes, expected at most {most}")
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise errors.BadInputError(f"body: {error}") from error
    except UnicodeDecodeError as error:
        raise errors.BadInputError("body: expected UTF-8") from error


def _json(message: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(message), headers=_JSON)


def _stretch(found: store.Stretch) -> web.Response:
    """Put a `Log` together from entries that are JSON already."""
    begin = b'{"head":%d,"timeline":%b,"labels":%b,"entries":[' % (
        found.head,
        msgspec.json.encode(found.timeline),
        msgspec.json.encode(found.labels),
    )
    return web.Response(body=b"".join([begin, b",".join(found.entries), b"]}"]), headers=_JSON)


def _seconds(request: web.Request) -> float:
    text = request.query.get("wait", "") or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= ledger.LOG_WAIT_SECONDS_MAX:
        raise errors.BadInputError(
            f"wait: expected seconds from 0 to {ledger.LOG_WAIT_SECONDS_MAX:.0f}, got {text[:80]!r}"
        )
    return value

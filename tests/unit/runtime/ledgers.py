"""A small server that speaks the ledger's wire, as the edge of tests: in memory, and as awkward as a test wants."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from leadline_wire import ledger


@dataclass
class Ledger:
    """Keeps what it is brought; `status` other than 200 refuses it, a closed `gate` holds answers back."""

    status: int = 200
    calls: list[ledger.Intake] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    outcomes: dict[tuple[str, int], ledger.Outcome] = field(default_factory=dict)
    stored: dict[str, ledger.Stored] = field(default_factory=dict)
    copies: list[ledger.Copied] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploads: int = 0
    fate: ledger.Fate | None = None
    """What becomes of every outcome; None: as a ledger would have it."""
    raw: bytes | None = None
    """Answered instead."""
    refuses_kept: bool = False
    """Calls with kept predictions are malformed to it."""
    wanted: ledger.Wanted = field(default_factory=lambda: ledger.Wanted([], 0.0, 0))
    """What is told of the answers that are wanted."""
    sources: dict[str, str] = field(default_factory=dict)
    """Whose each reporter's token is; all others are unknown."""
    reporters: list[str] = field(default_factory=list)
    """Tokens that it was asked about."""
    port: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> Any:
        application = web.Application(client_max_size=64 << 20)
        base = "/v1/namespaces/{namespace}"
        application.router.add_post(base + "/models/{name}/intake", self._intake)
        application.router.add_post(base + "/models/{name}/source", self._source)
        application.router.add_get(base + "/models/{name}/wanted", self._wanted)
        application.router.add_get(base + "/blobs/{digest}", self._blob)
        application.router.add_put(base + "/blobs/{digest}", self._put)
        runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            self.gate.set()
            await runner.cleanup()

    async def _source(self, request: web.Request) -> web.Response:
        token = msgspec.json.decode(await request.read(), type=ledger.Reporter).token
        self.reporters.append(token)
        await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": f"status {self.status} on purpose"}, status=self.status)
        return web.Response(body=msgspec.json.encode(ledger.Source(self.sources.get(token, ""))))

    async def _wanted(self, request: web.Request) -> web.Response:
        self.paths.append(request.path_qs)
        self.tokens.append(request.headers.get("authorization", ""))
        await self.gate.wait()
        if self.status != 200:
            return web.json_response({"error": f"status {self.status} on purpose"}, status=self.status)
        return web.Response(body=self.raw if self.raw is not None else msgspec.json.encode(self.wanted))

    async def _intake(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.tokens.append(request.headers.get("authorization", ""))
        call = msgspec.json.decode(await request.read(), type=ledger.Intake)
        await self.gate.wait()
        if self.raw is not None:
            return web.Response(body=self.raw)
        if self.refuses_kept and call.predictions:
            return web.Response(status=400)
        if self.status != 200:
            body = msgspec.json.encode(ledger.LedgerError(f"status {self.status} on purpose"))
            return web.Response(body=body, status=self.status)
        self.calls.append(call)
        for kept in call.predictions:
            self.stored[kept.client_id] = kept
        self.copies += call.copies
        fates = [self._fate(outcome) for outcome in call.outcomes]
        return web.Response(body=msgspec.json.encode(ledger.IntakeAnswer(fates)))

    def _fate(self, outcome: ledger.Outcome) -> ledger.Fate:
        if self.fate is not None:
            return self.fate
        identifier = outcome.id
        if outcome.client_id:
            if outcome.client_id not in self.stored:
                return "UnknownId"
            identifier = self.stored[outcome.client_id].id
        key = (identifier, outcome.row)
        before = self.outcomes.setdefault(key, outcome)
        if before is outcome:
            return "Accepted"
        same = (before.truth, before.correct, before.score) == (outcome.truth, outcome.correct, outcome.score)
        return "Duplicate" if same else "Conflict"

    async def _blob(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("authorization", ""))
        blob = self.blobs.get(request.match_info["digest"])
        if blob is None or self.status != 200:
            return web.Response(status=404 if self.status == 200 else self.status)
        return web.Response(body=blob, headers={"etag": f'"{request.match_info["digest"]}"'})

    async def _put(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("authorization", ""))
        self.uploads += 1
        body = await request.read()
        digest = request.match_info["digest"]
        if self.status != 200:
            return web.Response(status=self.status)
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            return web.Response(status=400)
        self.blobs[digest] = body
        return web.Response(status=204)

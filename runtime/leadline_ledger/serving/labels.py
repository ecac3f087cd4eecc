"""The calls on labelled rows: bring them, see how far they are, and, for runtimes, get those that wait."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web
from leadline_wire import labels, ledger

from leadline_ledger import errors, store
from leadline_ledger.serving import asked, edge

RESOURCE: Final = "modeldeployments/labels"
"""What RBAC is asked about: a subresource that no object has."""
_BODY_SECONDS: Final = 30.0
_CALLS_MAX: Final = 4
"""Bodies that are held at the same time; more calls are answered 503."""
_JSON: Final = {"content-type": "application/json"}


class Labels:
    """Handlers; each says who may."""

    def __init__(self, kept: store.Store, rim: edge.Edge) -> None:
        """Set up."""
        self._store = kept
        self._rim = rim
        self._under_way = 0

    async def add(self, request: web.Request) -> web.Response:
        """Keep labelled rows: lines of JSON, an object for each."""
        model = asked.named(request)
        await self._rim.require_access(request, "create", RESOURCE)
        truth = request.query.get("truth", "")
        if not truth:
            raise errors.BadInputError("truth: expected the name of the column with the true answers, ?truth=COLUMN")
        if self._under_way >= _CALLS_MAX:
            raise errors.BusyError(f"{self._under_way} calls with labelled rows are under way, limit {_CALLS_MAX}")
        self._under_way += 1
        try:
            rows = await asyncio.to_thread(_rows, await _body(request), truth)
            return _json(await self._store.label(model, rows, user=request[edge.USER]))
        finally:
            self._under_way -= 1

    async def state(self, request: web.Request) -> web.Response:
        """Return how far labelled rows are."""
        model = asked.named(request)
        await self._rim.require_access(request, "get", RESOURCE)
        return _json(await self._store.labels(model))

    async def waiting(self, request: web.Request) -> web.Response:
        """Return the oldest rows that wait."""
        model = asked.model(self._rim, request)
        limit = asked.number(request, "limit", ledger.LABELS_PAGE, ledger.LABELS_PAGE, least=1)
        rows = await self._store.labels_waiting(model, limit=limit)
        return web.Response(body=b'{"rows":[%b]}' % b",".join(rows), headers=_JSON)


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.TooLargeError(f"body is larger than {ledger.INTAKE_BYTES_MAX} bytes; bring fewer rows") from error


def _rows(body: bytes, truth: str) -> list[store.LabelledRow]:
    """Return the rows of a body.

    Raises:
        BadInputError: One is no labelled row; the message says which.
        TooLargeError: There are too many.
    """
    rows: list[store.LabelledRow] = []
    for line in body.splitlines():
        if not line.strip():
            continue
        number = len(rows) + 1
        if number > ledger.LABELS_MAX:
            raise errors.TooLargeError(f"more than {ledger.LABELS_MAX} rows in one call; bring them in several")
        try:
            inputs, answer = labels.row(msgspec.json.decode(line), truth)
        except (labels.BadLabelError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.BadInputError(f"row {number}: {error}") from error
        rows.append(store.LabelledRow(labels.hash_of(inputs), inputs, answer))
    if not rows:
        raise errors.BadInputError("expected at least one row, a line of JSON such as " + labels.EXAMPLE)
    return rows


def _json(message: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(message), headers=_JSON)

"""Puts the routes together. What each does is in `records`, `exporting` and `model_bytes`, what goes for all in `edge`."""

from dataclasses import dataclass

from aiohttp import web
from leadline_wire import ledger

from leadline_ledger import store, tokens
from leadline_ledger.blobs.kept import Blobs
from leadline_ledger.captures.kept import Captures
from leadline_ledger.serving import capturing, edge, exporting, growing, labels, metrics, model_bytes, records


@dataclass(frozen=True, slots=True)
class Parts:
    """What the calls work on."""

    kept: store.Store
    model_bytes: Blobs
    known: tokens.Tokens
    operator: str
    """User name of the operator's service account."""
    queue_bytes: int
    requests_max: int
    captured: Captures


def application(parts: Parts) -> web.Application:
    """Return the ledger's HTTP application."""
    rim = edge.Edge(parts.known, operator=parts.operator, requests_max=parts.requests_max)
    calls = records.Records(parts.kept, rim, queue_bytes=parts.queue_bytes)
    exports = exporting.Exports(parts.kept, parts.captured, rim)
    brought = capturing.Capturing(parts.captured, rim)
    grown = growing.Growing(parts.kept, parts.captured, parts.model_bytes, rim)
    labelled = labels.Labels(parts.kept, rim)
    content = model_bytes.ModelBytes(parts.model_bytes, rim)
    counted = metrics.Metrics(parts.kept, parts.model_bytes, parts.known, rim, parts.captured)

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        why = parts.kept.trouble or parts.model_bytes.trouble
        return web.Response(status=503 if why else 200, text=f"{why or 'ok'}\n")

    async def counters(_: web.Request) -> web.Response:
        return web.Response(body=counted.text(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    served = web.Application(middlewares=[rim.middleware], client_max_size=ledger.INTAKE_BYTES_MAX)
    model = "/v1/namespaces/{namespace}/models/{name}"
    blob = "/v1/namespaces/{namespace}/blobs/{digest}"
    served.add_routes(
        [
            web.post(f"{model}/intake", calls.intake),
            web.post(f"{model}/source", calls.source),
            web.post(f"{model}/decisions", calls.decide),
            web.put(f"{model}/checkpoint", calls.keep),
            web.get("/v1/resume", calls.resume, allow_head=False),
            web.get("/v1/log", calls.log, allow_head=False),
            web.get(f"{model}/log", calls.log_of_model, allow_head=False),
            web.get(f"{model}/outcomes", exports.outcomes, allow_head=False),
            web.post(f"{model}/captures", brought.put),
            web.post(f"{model}/test-set", grown.make),
            web.get(f"{model}/captures", brought.describe, allow_head=False),
            web.get(f"{model}/wanted", calls.wanted, allow_head=False),
            web.post(f"{model}/labels", labelled.add),
            web.get(f"{model}/labels", labelled.state, allow_head=False),
            web.get(f"{model}/labels/waiting", labelled.waiting, allow_head=False),
            web.put(blob, content.put),
            web.get(blob, content.get),
            web.get("/healthz", alive),
            web.get("/readyz", ready),
            web.get("/metrics", counters),
        ]
    )
    served.on_shutdown.append(exports.close)
    served.on_shutdown.append(brought.close)
    served.on_shutdown.append(grown.close)
    return served

"""OpenTelemetry traces: a span per sampled request, sent by the SDK's own thread.

Loaded only where an endpoint is named (OTEL_EXPORTER_OTLP_ENDPOINT and the other standard variables). The request's
`traceparent` is honoured and its sampled flag is law, unless OTEL_TRACES_SAMPLER says otherwise. What the collector does
not take in time is dropped and counted. Next step of a span: the SDK's queue, its thread, OTLP over HTTP. Must not be
imported where tracing is off: SDK and exporter cost 20 MB.
"""

import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from leadline_runtime import VERSION, logs, settings
from leadline_runtime.telemetry import runs, sampling

QUEUE_MAX: Final = 2_048
"""Spans that wait for the collector, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise."""
BATCH_MAX: Final = 64
"""Spans in a message, unless OTEL_BSP_MAX_EXPORT_BATCH_SIZE says otherwise: the fewer, the shorter the exporter's thread
holds the interpreter at a time."""
_SWITCH_SECONDS: Final = 0.0005
"""How long that thread may keep the event loop waiting, instead of Python's 5 ms."""
_CLOSE_SECONDS: Final = 1.5
_REPEAT_SECONDS: Final = 60.0
_ERROR_STATUS: Final = 500
_CLIENT_GONE: Final = 499
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"})
_PATHS: Final = frozenset({"/v2", "/v2/health/live", "/v2/health/ready", "/v2/repository/index"})
_CALLS: Final = {
    "inference.GRPCInferenceService": frozenset(
        f"{noun}{verb}"
        for noun, verbs in (("Server", "Live Ready Metadata"), ("Model", "Ready Metadata Infer StreamInfer"))
        for verb in verbs.split()
    )
    | {"RepositoryIndex"},
    "grpc.health.v1.Health": frozenset({"Check", "Watch"}),
}
_ACTIONS: Final = frozenset({"infer", "ready", "outcomes", "stats"})

_Value = str | int | float | bool


class Tracer:
    """Makes spans and counts what became of them."""

    def __init__(
        self,
        config: settings.Settings,
        environment: Mapping[str, str],
        timings: runs.Timings,
        *,
        exporter: SpanExporter | None = None,
    ) -> None:
        """Prepare tracing; `exporter` stands for OTLP in tests.

        Raises:
            SettingsError: A standard variable cannot be meant.
        """
        self._sampler = sampling.from_environment(environment)
        self._timings = timings
        self._propagator = TraceContextTextMapPropagator()
        self._exporter = _Counting(exporter or OTLPSpanExporter())
        queue_max = int(environment.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE_MAX)
        batch_max = int(environment.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") or min(BATCH_MAX, queue_max))
        self._processor = _Processor(self._exporter, queue_max=queue_max, batch_max=batch_max)
        resource = {
            "service.name": environment.get("OTEL_SERVICE_NAME") or config.model_name,
            "service.namespace": config.namespace,
            "service.instance.id": config.pod_uid,
            "service.version": config.revision,
        }
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create({key: value for key, value in resource.items() if value})
        )
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("leadline_runtime", VERSION)
        self._revision = config.revision
        self._model = config.model_name
        _quiet()
        sys.setswitchinterval(min(_SWITCH_SECONDS, sys.getswitchinterval()))

    @property
    def dropped(self) -> int:
        """Spans that did not get to the collector."""
        return self._processor.dropped + self._exporter.failed

    def begin(
        self,
        method: bytes,
        target: bytes,
        headers: Mapping[bytes, bytes],
        client: str,
        now_ns: int,
        *,
        protocol: str = "HTTP/1.1",
    ) -> "Span | None":
        """Return a request's span; None: it is not sampled.

        Args:
            method: Of HTTP.
            target: As sent.
            headers: Names in lower case.
            client: Its address.
            now_ns: Since the epoch.
            protocol: `HTTP/1.1`, `HTTP/2` or `gRPC`.
        """
        parent = sampling.parent(headers)
        if not self._sampler(parent):
            return None
        carrier = {}
        if parent:
            carrier = {"traceparent": parent.decode(), "tracestate": headers.get(b"tracestate", b"").decode("latin-1")}
        path, _, query = target.decode("utf-8", "replace").partition("?")
        attributes: dict[str, _Value] = {
            "network.protocol.version": "1.1" if protocol == "HTTP/1.1" else "2",
            "client.address": client,
            "leadline.revision": self._revision,
        }
        agent = headers.get(b"user-agent")
        if agent is not None:
            attributes["user_agent.original"] = agent.decode("latin-1")[:256]
        host, port = _address(headers.get(b"host", headers.get(b":authority", b"")).decode("latin-1"))
        if host:
            attributes["server.address"] = host
        if port:
            attributes["server.port"] = port
        if protocol == "gRPC":
            service, _, call = path.removeprefix("/").rpartition("/")
            name = f"{service}/{call}" if call in _CALLS.get(service, ()) else "grpc"
            attributes |= {"rpc.system": "grpc", "rpc.service": service[:256], "rpc.method": call[:256]}
            is_inference = call == "ModelInfer"
        else:
            verb = method.decode("latin-1") if method in _METHODS else "_OTHER"
            route = self._route(path)
            name = f"{'HTTP' if verb == '_OTHER' else verb} {route}".rstrip()
            attributes |= {"http.request.method": verb, "url.path": path[:1_024], "url.scheme": "http"}
            if verb == "_OTHER":
                attributes["http.request.method_original"] = method.decode("latin-1")[:64]
            if query:
                attributes["url.query"] = query[:1_024]
            if route:
                attributes["http.route"] = route
            is_inference = route.endswith("/infer")
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=now_ns,
        )
        return Span(span, self._timings, began_ns=now_ns, is_inference=is_inference)

    def close(self) -> None:
        """Send what waits, for a moment at most."""
        # The SDK would wait half a minute for a collector that is gone.
        thread = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        thread.start()
        thread.join(_CLOSE_SECONDS)

    def _route(self, path: str) -> str:
        """Return the path with names left out; empty where there is nothing, for what clients make up must name no span."""
        if path in _PATHS:
            return path
        parts = path.split("/")[3:]
        if not path.startswith("/v2/models/") or parts[0] != self._model:
            return ""
        route = ["/v2/models/{model}"]
        rest = parts[1:]
        if rest[:1] == ["versions"] and len(rest) > 1:
            route.append("versions/{version}")
            rest = rest[2:]
        return "/".join([*route, *rest]) if not rest or (len(rest) == 1 and rest[0] in _ACTIONS) else ""


class Span:
    """The span of one request."""

    __slots__ = ("_began_ns", "_is_inference", "_span", "_timings", "traceparent")

    def __init__(self, span: trace.Span, timings: runs.Timings, *, began_ns: int, is_inference: bool) -> None:
        context = span.get_span_context()
        self.traceparent = b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, int(context.trace_flags))
        """For whoever answers in our place."""
        self._began_ns = began_ns
        self._span = span
        self._timings = timings
        self._is_inference = is_inference

    def end(self, status: int, began: float, ended: float, *, rows: int, grpc_status: int | None) -> None:
        """End the span with the request; seconds of `time.perf_counter`."""

        def at(moment: float) -> int:
            return self._began_ns + int((moment - began) * 1e9)

        span = self._span
        if grpc_status is None:
            span.set_attribute("http.response.status_code", status)
        else:
            span.set_attribute("rpc.grpc.status_code", grpc_status)
        if status >= _ERROR_STATUS or status == _CLIENT_GONE:
            span.set_attribute("error.type", "client_gone" if status == _CLIENT_GONE else str(status))
        if status >= _ERROR_STATUS:
            span.set_status(Status(StatusCode.ERROR))
        run = self._timings.last
        if self._is_inference and run is not None and began <= run.began and run.ended <= ended:
            if rows:
                span.set_attribute("leadline.rows", rows)
            span.set_attribute("leadline.batch.rows", run.rows)
            # Events, for a span of its own costs as much as the request's.
            span.add_event("inference.begin", timestamp=at(run.began))
            span.add_event("inference.end", timestamp=at(run.ended))
        span.end(at(ended))


class _Processor(BatchSpanProcessor):
    """The SDK's queue; what does not fit is counted instead of logged span by span."""

    def __init__(self, exporter: "_Counting", *, queue_max: int, batch_max: int) -> None:
        super().__init__(exporter, max_queue_size=queue_max, max_export_batch_size=batch_max)
        self._counting = exporter
        self._queue_max = queue_max
        self._taken = 0
        self.dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        if self._taken - self._counting.taken >= self._queue_max:
            self.dropped += 1
            return
        self._taken += 1
        super().on_end(span)


class _Counting(SpanExporter):
    """An exporter that says how many spans went in and how many did not get through."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:  # it may break down, at an endpoint that is no URL for one; the SDK logs that
            if result is not SpanExportResult.SUCCESS:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Handler(logging.Handler):
    """Makes one line of ours of what the SDK says; the same thing once a minute, for each batch says it again."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if record.created - self._said.get(record.msg, 0.0) >= _REPEAT_SECONDS:
            self._said[record.msg] = record.created
            logs.warning("tracing", said=record.getMessage()[:300])


def _quiet() -> None:
    """Let what the SDK logs look like our own lines."""
    logger = logging.getLogger("opentelemetry")
    logger.handlers[:] = [_Handler()]
    logger.setLevel(logging.WARNING)
    logger.propagate = False


def _address(host: str) -> tuple[str, int]:
    """Return name and port of a Host header; 0 where it has none."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, ""
    return name.strip("[]"), int(port) if port.isdecimal() and len(port) <= 5 else 0

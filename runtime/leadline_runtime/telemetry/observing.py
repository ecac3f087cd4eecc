"""One request as access log and traces see it, and what there is for all requests of a worker.

Whatever answers requests asks for a `span` with a request in hand, and says `ended` once the answer is on its way.
`connections` does that for HTTP/1.1. Must not answer anything.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from leadline_runtime import errors, logs, settings
from leadline_runtime.engine.session import Model
from leadline_runtime.telemetry import runs, sampling
from leadline_runtime.telemetry.access_log import AccessLog, Record

if TYPE_CHECKING:
    from leadline_runtime.telemetry.tracing import Span, Tracer

CLIENT_GONE: Final = 499
"""What the access log says where nobody took the answer; no client ever sees it."""
_ROWS: Final = re.compile(rb'"shape"\s*:\s*\[\s*(\d{1,9})')
"""The first shape of a request, in JSON and in the head of binary tensors alike; a look by `re` at sampled requests only,
so that the request path need not keep a number for them."""
_LOOK_BYTES: Final = 4_096
_PROTOCOL: Final = "HTTP/1.1"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

now = time.perf_counter
"""Seconds; finer than the event loop's clock, which stands still while it works."""


class Observer:
    """Access log and tracer of one worker, either of which may be off."""

    def __init__(
        self, log: AccessLog | None, tracer: "Tracer | None", timings: runs.Timings, now_ns: Callable[[], int]
    ) -> None:
        self.log = log
        self.tracer = tracer
        self.timings = timings
        self.now_ns = now_ns

    def watched(self, model: Model) -> Model:
        """Return the model as it is to be run."""
        return model if self.tracer is None else self.timings.watched(model)

    def span(
        self, method: bytes, target: bytes, headers: Mapping[bytes, bytes], client: str, *, protocol: str = _PROTOCOL
    ) -> "Span | None":
        """Return the span of a request that begins now; None: it is not sampled."""
        if self.tracer is None:
            return None
        return self.tracer.begin(method, target, headers, client, self.now_ns(), protocol=protocol)

    def ended(
        self,
        began: float,
        span: "Span | None",
        *,
        port: str,
        client: str,
        method: bytes,
        target: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        status: int,
        response_bytes: int,
        protocol: str = _PROTOCOL,
        grpc_status: int | None = None,
    ) -> None:
        """Note the answer to a request, or that nobody was there to take it (`CLIENT_GONE`).

        Args:
            began: What `now` said when the request was whole.
            span: What `span` returned then.
            port: `public` or `own`.
            client: Its address.
            method: Of HTTP.
            target: As sent.
            headers: The request's, names in lower case.
            body: The request's.
            status: Of HTTP.
            response_bytes: Without the head.
            protocol: As the access log has it.
            grpc_status: Of a gRPC call.
        """
        log = self.log
        wanted = log is not None and log.wants(status)
        if not wanted and span is None:
            return
        ended = now()
        trace = sampling.parent(headers)
        if span is not None:
            found = _ROWS.search(body, 0, _LOOK_BYTES)
            rows = int(found[1]) if found is not None else 0
            span.end(status, began, ended, rows=rows, grpc_status=grpc_status)
            trace = span.traceparent
        if log is not None and wanted:
            log.add(
                Record(
                    self.now_ns(),
                    ended - began,
                    port,
                    protocol,
                    method,
                    target,
                    status,
                    len(body),
                    response_bytes,
                    client,
                    trace,
                    headers.get(b"x-request-id", b""),
                    grpc_status,
                )
            )

    def refused(self, port: str, status: int, client: str) -> None:
        """Note what came in and was no request."""
        if self.log is not None and self.log.wants(status):
            self.log.add(Record(self.now_ns(), 0.0, port, _PROTOCOL, b"", b"", status, 0, 0, client, b"", b""))

    def counts(self) -> dict[str, int]:
        """Return how much of what was to be told was not, for metrics."""
        counts = {}
        if self.log is not None:
            counts["access_log_dropped"] = self.log.dropped
        if self.tracer is not None:
            counts["spans_dropped"] = self.tracer.dropped
        return counts

    def close(self) -> None:
        """Write and send what waits, for a moment at most."""
        if self.log is not None:
            self.log.close()
        if self.tracer is not None:
            self.tracer.close()


def observer(config: settings.Settings, environment: Mapping[str, str], now_ns: Callable[[], int]) -> Observer | None:
    """Return what watches requests; None: nothing does, and nothing of it was loaded."""
    timings = runs.Timings(now)
    tracer = _tracer(config, environment, timings)
    log = AccessLog(config.access_log, config.revision) if config.access_log is not None else None
    if log is None and tracer is None:
        return None
    if log is not None:
        log.start()
    return Observer(log, tracer, timings, now_ns)


def _tracer(config: settings.Settings, environment: Mapping[str, str], timings: runs.Timings) -> "Tracer | None":
    """Return a tracer where an endpoint is named. Tracing that cannot be is no reason not to serve."""
    endpoint = next((environment[name] for name in _ENDPOINTS if environment.get(name)), "")
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not endpoint or disabled or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {None, "", "http/protobuf"}:
        logs.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf", got=protocol)
        return None
    try:
        from leadline_runtime.telemetry import tracing  # noqa: PLC0415  # 20 MB that only traces need
    except ImportError as error:
        logs.warning("no traces: expected the packages of leadline[tracing]", missing=error.name)
        return None
    try:
        return tracing.Tracer(config, environment, timings)
    except (errors.SettingsError, ValueError) as error:
        logs.warning("no traces", error=error)
        return None

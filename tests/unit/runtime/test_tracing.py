"""Spans without sockets: what is dropped, and how paths and hosts are read."""

import sys
import threading
import time
from pathlib import Path

import pytest
from leadline_runtime import settings
from leadline_runtime.telemetry import observing, runs, tracing
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

CONFIG = settings.read(
    {
        "LEADLINE_MODEL_NAME": "digits",
        "LEADLINE_REVISION": "digits-1",
        "LEADLINE_MODEL_URI": Path("/m.onnx").as_uri(),
    }
)


class Collector(SpanExporter):
    """A collector that takes its time until it is let go on."""

    def __init__(self):
        self.free = threading.Event()
        self.asked = threading.Event()
        self.spans = []

    def export(self, spans):
        self.asked.set()
        assert self.free.wait(30)
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.free.set()


@pytest.fixture
def tracer(collector):
    interval = sys.getswitchinterval()
    environment = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
    yield tracing.Tracer(CONFIG, environment, runs.Timings(time.perf_counter), exporter=collector)
    sys.setswitchinterval(interval)


def ask(tracer, target=b"/v2/models/digits/infer", host=b"digits.ml:8080"):
    span = tracer.begin(b"POST", target, {b"host": host}, "10.0.0.1", time.time_ns())
    span.end(200, 1.0, 1.5, rows=0, grpc_status=None)


def test_what_the_collector_does_not_take_in_time_is_dropped_and_counted(tracer, collector):
    for _ in range(4):
        ask(tracer)
    assert collector.asked.wait(30)
    # Four are with the collector and sixteen may wait.
    for _ in range(100):
        ask(tracer)
    assert tracer.dropped == 84
    collector.free.set()
    tracer.close()
    assert len(collector.spans) == 20


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/v2/models/digits/infer", "POST /v2/models/{model}/infer"),
        (b"/v2/models/digits/versions/digits-1/infer?x=1", "POST /v2/models/{model}/versions/{version}/infer"),
        (b"/v2/models/digits", "POST /v2/models/{model}"),
        (b"/v2/health/live", "POST /v2/health/live"),
        (b"/v2/models/others/infer", "POST"),
        (b"/v2/models/digits2/infer", "POST"),
        (b"/v2/models/digits/made-up", "POST"),
        (b"/v2/models/digits/versions/1/made/up", "POST"),
        (b"/" + b"x" * 10_000, "POST"),
        (b"/\xff", "POST"),
    ],
)
def test_names_of_spans_are_few(tracer, collector, target, name):
    collector.free.set()
    ask(tracer, target)
    tracer.close()
    (span,) = collector.spans
    assert span.name == name
    assert len(span.attributes["url.path"]) <= 1_024


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        (b"digits.ml:8080", "digits.ml", 8080),
        (b"digits.ml", "digits.ml", None),
        (b"[::1]:80", "::1", 80),
        (b"[::1]", "::1", None),
        (b"digits.ml:", "digits.ml", None),
        (b"", None, None),
        (b"digits.ml:\xb2", "digits.ml", None),
    ],
)
def test_the_server_is_what_the_client_called(tracer, collector, host, address, port):
    collector.free.set()
    ask(tracer, host=host)
    tracer.close()
    (span,) = collector.spans
    assert (span.attributes.get("server.address"), span.attributes.get("server.port")) == (address, port)


def test_a_parent_of_bytes_that_are_no_text_is_none(tracer, collector):
    collector.free.set()
    later = b"01-%032x-%016x-01-" % (1, 2)
    for value in (later + b"\xff", later + b"\x00", later + b"more"):
        span = tracer.begin(b"POST", b"/v2", {b"traceparent": value}, "10.0.0.1", time.time_ns())
        span.end(200, 1.0, 1.5, rows=0, grpc_status=None)
    tracer.close()
    assert [span.parent is not None for span in collector.spans] == [False, False, True]


def test_spans_that_the_exporter_breaks_down_with_are_counted(collector):
    class Broken(SpanExporter):
        def export(self, spans):
            raise OSError("no such host")

    interval = sys.getswitchinterval()
    tracer = tracing.Tracer(CONFIG, {}, runs.Timings(time.perf_counter), exporter=Broken())
    ask(tracer)
    tracer.close()
    sys.setswitchinterval(interval)
    assert tracer.dropped == 1


def test_nothing_observes_where_neither_log_nor_traces_are_on():
    assert observing.observer(CONFIG, {}, time.time_ns) is None
    assert observing.observer(CONFIG, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, time.time_ns) is None

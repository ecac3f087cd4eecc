"""Traces of real pods, as a collector gets them."""

import http.client
import json
import subprocess
import sys
import time

import pytest
from leadline_wire import exchange
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.wiring.runtime.collectors import Collector
from tests.wiring.runtime.pods import call, eventually, free_ports, infer, inference, send

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "vendor=x", "user-agent": "test/1"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"}
PATH = "/v2/models/digits/infer"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def traced(start, digits, collector):
    """Return a starter of ready pods that send traces."""

    def started(**more):
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            **more.pop("environment", {}),
        }
        uri, digest = digits.uri("good.onnx"), digits.digest("good.onnx")
        return start(uri, digest=digest, environment=environment, **more).wait_ready()

    return started


def collected(collector, count):
    eventually(f"{count} spans", lambda: len(collector.spans) >= count)
    assert len(collector.spans) == count
    return sorted(collector.spans, key=lambda span: (span["began"], -span["ended"]))


def test_a_request_becomes_a_span_of_its_callers_trace(traced, collector, digits):
    pod = traced()
    before = time.time_ns()
    body = json.dumps({"inputs": [{"name": "X", "shape": [3, 64], "datatype": "FP32", "data": digits.rows[:3]}]})
    assert call(pod.public, "POST", f"{PATH}?a=b", body.encode(), SAMPLED).status == 200
    (server,) = collected(collector, 1)
    assert server["name"] == "POST /v2/models/{model}/infer"
    assert server["kind"] == trace_pb2.Span.SPAN_KIND_SERVER
    assert (server["trace"], server["parent"], server["state"]) == (TRACE_ID, PARENT_ID, "vendor=x")
    assert server["status"] == trace_pb2.Status.STATUS_CODE_UNSET
    assert server["attributes"] == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v2/models/{model}/infer",
        "url.path": PATH,
        "url.query": "a=b",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": pod.public,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "user_agent.original": "test/1",
        "leadline.revision": "digits-1",
        "leadline.rows": 3,
        "leadline.batch.rows": 3,
    }
    (begin, run_began), (end, run_ended) = server["events"]
    assert (begin, end) == ("inference.begin", "inference.end")
    assert before <= server["began"] <= run_began <= run_ended <= server["ended"] <= time.time_ns()
    (resource,) = collector.resources
    expected = {"service.name": "digits", "service.namespace": "ml", "service.instance.id": "uid-1"}
    assert expected.items() <= resource.items()


def test_the_callers_decision_not_to_sample_is_kept(traced, collector, digits):
    pod = traced()
    for _ in range(5):
        assert call(pod.public, "POST", PATH, inference(digits.rows[0]), NOT_SAMPLED).status == 200
    assert call(pod.public, "GET", "/v2/nothing", headers=SAMPLED).status == 404
    (span,) = collected(collector, 1)
    assert span["name"] == "GET"
    assert span["attributes"]["http.response.status_code"] == 404
    assert span["attributes"]["url.path"] == "/v2/nothing"


def test_a_request_without_a_trace_begins_one_and_a_broken_header_is_none(traced, collector, digits):
    pod = traced()
    call(pod.public, "GET", "/v2/health/live")
    call(pod.public, "GET", "/v2/health/live", headers={"traceparent": "00-0-0-01"})
    one, other = collected(collector, 2)
    assert one["parent"] == other["parent"] == ""
    assert one["trace"] != other["trace"]
    assert one["name"] == "GET /v2/health/live"


def test_a_share_of_the_requests_without_a_trace_may_be_sampled(traced, collector, digits):
    pod = traced(environment={"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"})
    for _ in range(20):
        assert infer(pod.public, digits.rows[0]).status == 200
    call(pod.public, "GET", "/v2", headers=SAMPLED)
    assert collected(collector, 1)[0]["trace"] == TRACE_ID


def test_a_standby_pod_passes_its_own_span_on(traced, collector, digits):
    serving, standby = traced(revision="digits-2", uid="uid-2"), traced()
    forward = exchange.Forward("digits-2", "127.0.0.1", serving.own)
    standby.report("forwarding", lambda report: report.forwarding, role="standby", forward=forward)
    # Twice on one connection, with the same head: the second must not become a child of the first.
    for port in (standby.own, standby.public):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(2):
            answer = send(connection, "POST", PATH, inference(digits.rows[0]), SAMPLED)
            assert answer.json()["model_version"] == ("digits-2" if port == standby.public else "digits-1")
        connection.close()
    spans = collected(collector, 6)
    passing = [span for span in spans if span["attributes"].get("leadline.revision") == "digits-1"]
    answering = [span for span in spans if span["attributes"].get("leadline.revision") == "digits-2"]
    assert {span["trace"] for span in spans} == {TRACE_ID}
    assert [span["parent"] for span in passing] == [PARENT_ID] * 4
    assert {span["parent"] for span in answering} == {span["id"] for span in passing[2:]}
    assert {span["state"] for span in answering} == {"vendor=x"}


def test_the_access_log_names_the_same_trace(traced, collector, digits):
    pod = traced(environment={"LEADLINE_ACCESS_LOG": "all"})
    call(pod.public, "GET", "/v2")
    (span,) = collected(collector, 1)
    line = json.loads(eventually("line", pod.out.read_text))
    assert line["trace_id"] == span["trace"]


def test_what_waits_is_sent_when_the_pod_ends(traced, collector, digits):
    pod = traced(environment={"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    assert infer(pod.public, digits.rows[0]).status == 200
    pod.terminate()
    assert pod.ended() == 0
    assert len(collector.spans) == 1


def test_a_collector_that_is_gone_costs_spans_and_no_request(traced, digits):
    (nobody,) = free_ports(1)
    pod = traced(
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{nobody}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        }
    )
    for _ in range(50):
        assert infer(pod.public, digits.rows[0]).status == 200
    assert eventually("dropped", lambda: pod.metrics()["leadline_spans_dropped_total"]) > 10
    pod.terminate()
    assert pod.ended() == 0
    assert "Traceback" not in pod.log.read_text()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf got=grpc"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER: expected one of always_on, always_off"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "expected a share from 0 to 1"),
    ],
)
def test_tracing_that_cannot_be_is_told_and_no_reason_not_to_serve(traced, digits, environment, said):
    pod = traced(environment=environment)
    assert infer(pod.public, digits.rows[0]).status == 200
    assert said in pod.log.read_text()


@pytest.mark.parametrize("environment", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_what_the_standard_switches_off_is_off(traced, collector, digits, environment):
    pod = traced(environment=environment)
    assert call(pod.public, "GET", "/v2", headers=SAMPLED).status == 200
    assert "leadline_spans_dropped_total" not in pod.metrics()


def test_a_worker_without_a_collector_does_not_load_the_sdk():
    code = "import sys, leadline_runtime.worker.app, leadline_runtime.main; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"

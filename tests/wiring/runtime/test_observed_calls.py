"""gRPC calls in access log and traces, as a real pod tells them."""

import json

import grpc
import pytest
from leadline_runtime.grpc import protocol
from leadline_wire.exchange import Forward

from tests.wiring.runtime import calling
from tests.wiring.runtime.collectors import Collector
from tests.wiring.runtime.pods import CHANGE_SECONDS, eventually

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = [("traceparent", f"00-{TRACE_ID}-{PARENT_ID}-01"), ("x-request-id", "order-7")]
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def observed(start, digits, collector):
    def started(**more):
        environment = {
            "LEADLINE_ACCESS_LOG": "all",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
        }
        uri, digest = digits.uri("good.onnx"), digits.digest("good.onnx")
        return start(uri, digest=digest, environment=environment, **more).wait_ready()

    return started


def lines(pod, count):
    def check():
        found = [json.loads(line) for line in pod.out.read_text().splitlines()]
        return found if len(found) >= count else None

    found = eventually(f"{count} lines", check)
    assert len(found) == count
    return found


def collected(collector, count):
    eventually(f"{count} spans", lambda: len(collector.spans) >= count)
    assert len(collector.spans) == count
    return sorted(collector.spans, key=lambda span: span["began"])


def ask(pod, message, name="ModelInfer"):
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{pod.public}", options=options) as channel:
        return calling.method(channel, name)(message, timeout=CHANGE_SECONDS, metadata=SAMPLED)


def test_a_call_gets_a_line_and_a_span_of_its_callers_trace(observed, collector, digits):
    pod = observed()
    answer = ask(pod, calling.request(digits.rows[:3]))
    (line,) = lines(pod, 1)
    (span,) = collected(collector, 1)
    assert 0 < line["duration_ms"] < 10_000
    assert {key: line[key] for key in ("protocol", "path", "status", "grpc_status", "trace_id", "request_id")} == {
        "protocol": "gRPC",
        "path": INFER,
        "status": 200,
        "grpc_status": 0,
        "trace_id": TRACE_ID,
        "request_id": "order-7",
    }
    assert line["response_bytes"] == answer.ByteSize() + 5
    assert (span["name"], span["trace"], span["parent"]) == (INFER[1:], TRACE_ID, PARENT_ID)
    told = span["attributes"]
    assert (told["rpc.system"], told["rpc.service"], told["rpc.method"]) == ("grpc", *INFER[1:].split("/"))
    assert (told["rpc.grpc.status_code"], told["leadline.batch.rows"], told["server.port"]) == (0, 3, pod.public)
    assert [name for name, _ in span["events"]] == ["inference.begin", "inference.end"]


def test_an_error_is_told_by_its_code(observed, collector, digits):
    pod = observed()
    with pytest.raises(grpc.RpcError) as error:
        ask(pod, calling.request([[1.0]]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [(line["status"], line["grpc_status"]) for line in lines(pod, 1)] == [(400, 3)]
    (span,) = collected(collector, 1)
    assert span["attributes"]["rpc.grpc.status_code"] == 3
    assert span["events"] == []


def test_a_stream_of_messages_is_one_record(observed, collector, digits):
    pod = observed()
    with grpc.insecure_channel(f"127.0.0.1:{pod.public}") as channel:
        stream = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=protocol.InferRequest.SerializeToString,
            response_deserializer=protocol.StreamResponse.FromString,
        )
        answers = list(stream(iter([calling.request(digits.rows[:1])] * 5), metadata=SAMPLED, timeout=CHANGE_SECONDS))
    assert len(answers) == 5
    (line,) = lines(pod, 1)
    (span,) = collected(collector, 1)
    assert (line["grpc_status"], line["response_bytes"]) == (0, sum(answer.ByteSize() + 5 for answer in answers))
    assert span["name"] == "inference.GRPCInferenceService/ModelStreamInfer"


def test_a_standby_pod_passes_its_own_span_on_with_a_call(observed, collector, digits):
    serving, standby = observed(revision="digits-2", uid="uid-2"), observed()
    forward = Forward("digits-2", "127.0.0.1", serving.own)
    standby.report("forwarding", lambda report: report.forwarding, role="standby", forward=forward)
    assert ask(standby, calling.request(digits.rows[:1])).model_version == "digits-2"
    passing, answering = collected(collector, 2)
    assert (passing["parent"], passing["attributes"]["leadline.revision"]) == (PARENT_ID, "digits-1")
    assert (answering["parent"], answering["attributes"]["leadline.revision"]) == (passing["id"], "digits-2")

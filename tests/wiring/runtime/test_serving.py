"""A real pod as its users see it."""

import http.client
import json
import socket
import time
from pathlib import Path

import pytest

from tests.wiring.runtime.pods import CHANGE_SECONDS, call, infer, inference, send

INFER = "/v2/models/digits/infer"


def test_a_prediction_is_the_models_own(served, digits):
    for port in (served.public, served.own):
        answer = infer(port, digits.rows[0])
        assert answer.status == 200
        label, scores = answer.json()["outputs"]
        assert answer.json()["model_version"] == "digits-1"
        assert (label["datatype"], label["data"]) == ("INT64", [digits.label])
        assert scores["data"] == pytest.approx(digits.scores, abs=1e-4)


def test_metadata_and_health_are_there(served):
    assert call(served.public, "GET", "/v2/health/ready").json() == {"ready": True}
    told = call(served.public, "GET", "/v2/models/digits").json()
    assert told["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 64]}]
    assert call(served.admin, "GET", "/healthz").status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no json", "body: expected a JSON object"),
        (inference([1.0] * 64, name="image"), 'inputs[0].name: expected "X", got "image"'),
        (inference([1.0] * 63), 'input "X": expected shape [-1, 64], got [1,63]'),
        (inference([1.0] * 64, datatype="INT64"), 'input "X": expected datatype FP32, got "INT64"'),
    ],
    ids=["no JSON", "wrong name", "wrong shape", "wrong datatype"],
)
def test_a_wrong_request_is_told_what_was_expected(served, body, said):
    answer = call(served.public, "POST", INFER, body)
    assert answer.status == 400
    assert said in answer.error


def raw(port: int, *parts: bytes) -> bytes:
    """Send bytes as they are, and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=CHANGE_SECONDS) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while data := connection.recv(65_536):
            received += data
        return received


def test_a_head_that_does_not_come_is_answered_408_in_time(served):
    began = time.monotonic()
    assert raw(served.public, b"POST /v2 HTT").startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 5.0


def test_a_body_that_does_not_come_is_answered_408_in_time(served):
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n"
    assert raw(served.public, head, b"{").startswith(b"HTTP/1.1 408 ")


def test_a_body_or_head_that_is_too_large_is_refused_while_the_client_still_sends(served):
    head = b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n"
    assert raw(served.public, head, b" " * 1_000_000).startswith(b"HTTP/1.1 413 ")
    assert raw(served.public, b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 100_000).startswith(b"HTTP/1.1 431 ")


def test_pipelined_requests_are_answered_in_order(served, digits):
    whole = b""
    for number in range(20):
        body = json.dumps({"id": str(number), **json.loads(inference(digits.rows[number]))}).encode()
        last = b"connection: close\r\n" if number == 19 else b""
        whole += (
            b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (INFER.encode(), last, len(body)) + body
        )
    received = raw(served.public, whole)
    places = [received.index(b'"id":"%d"' % number) for number in range(20)]
    assert places == sorted(places)


def posted(body: bytes, more: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (INFER.encode(), more, len(body), body)


def test_hundreds_of_requests_behind_a_prediction_are_answered(served, digits):
    sent = posted(inference(digits.rows[0])) + b"GET /v2 HTTP/1.1\r\nhost:\r\n\r\n" * 280
    received = raw(served.public, sent, b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b"HTTP/1.1 ") == 282


def test_http_1_0_is_answered_and_closed_even_where_it_asks_to_be_kept(served):
    received = raw(served.public, b"GET /v2/health/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert received.endswith(b'\r\n\r\n{"ready":true}')


def test_trailers_are_no_part_of_the_next_request(served, digits):
    body = inference(digits.rows[0])
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % INFER.encode()
    chunked = head + b"%x\r\n%b\r\n0\r\ncontent-encoding: br\r\nhost: y\r\n\r\n" % (len(body), body)
    received = raw(served.public, chunked, posted(b"no json"), posted(body, b"connection: close\r\n"))
    assert [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200"]
    assert b"body: expected a JSON object" in received


def test_one_connection_serves_many_requests(served, digits):
    connection = http.client.HTTPConnection("127.0.0.1", served.public, timeout=CHANGE_SECONDS)
    for row in digits.rows:
        assert send(connection, "POST", INFER, inference(row)).status == 200
    connection.close()


def test_metrics_count_what_happened(served, digits):
    before = served.metrics()
    for row in digits.rows[:3]:
        infer(served.public, row)
    call(served.public, "POST", INFER, b"no json")
    after = served.metrics()

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown('leadline_requests_total{code="200"}') == 3
    assert grown('leadline_requests_total{code="400"}') == 1
    assert grown("leadline_batch_rows_total") == 3
    assert grown("leadline_request_seconds_count") == 3
    assert after['leadline_phase{phase="Ready"}'] == 1


def test_the_supervisor_holds_neither_onnxruntime_nor_numpy_nor_pyarrow(served):
    def maps(process):
        return Path(f"/proc/{process}/maps").read_text()

    for library in ("onnxruntime", "numpy", "pyarrow"):
        assert library not in maps(served.process.pid)
    assert "onnxruntime" in maps(served.worker_pid())
    assert "pyarrow" not in maps(served.worker_pid())

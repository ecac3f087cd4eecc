"""The access log and the logs of a real pod."""

import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.wiring.runtime.pods import Clients, call, eventually, infer

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def logged(start, digits):
    """Return a starter of ready pods with an access log."""

    def started(what, **more):
        environment = {"LEADLINE_ACCESS_LOG": what, **more.pop("environment", {})}
        return start(
            digits.uri("good.onnx"), digest=digits.digest("good.onnx"), environment=environment, **more
        ).wait_ready()

    return started


def lines(pod):
    return [json.loads(line) for line in pod.out.read_text().splitlines()]


def written(pod, count):
    def check():
        found = lines(pod)
        return found if len(found) >= count else None

    found = eventually(f"{count} lines", check)
    assert len(found) == count
    return found


def test_each_request_gets_a_line_that_says_what_happened(logged, digits):
    pod = logged("all")
    before = time.time_ns() / 1e9
    headers = {"traceparent": TRACE, "x-request-id": "order-7"}
    answer = call(pod.public, "POST", "/v2/models/digits/infer", b'{"inputs": 1}', headers)
    infer(pod.own, digits.rows[0])
    refused, own = written(pod, 2)
    assert before - 1 < datetime.fromisoformat(refused.pop("time")).timestamp() < before + 60
    assert 0 < refused.pop("duration_ms") < 10_000
    assert refused == {
        "port": "public",
        "protocol": "HTTP/1.1",
        "method": "POST",
        "path": "/v2/models/digits/infer",
        "status": 400,
        "request_bytes": 13,
        "response_bytes": len(answer.body),
        "revision": "digits-1",
        "client": "127.0.0.1",
        "trace_id": TRACE[3:35],
        "request_id": "order-7",
    }
    assert (own["port"], own["status"]) == ("own", 200)
    assert "trace_id" not in own


def test_a_traceparent_that_is_none_names_no_trace(logged):
    pod = logged("all")
    for value in ("garbage", TRACE.upper(), TRACE):
        call(pod.public, "GET", "/v2/health/live", headers={"traceparent": value})
    assert [line.get("trace_id") for line in written(pod, 3)] == [None, None, TRACE[3:35]]


def test_what_is_no_request_and_who_is_gone_get_lines(logged, digits):
    pod = logged("all")
    with socket.create_connection(("127.0.0.1", pod.public)) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in client.recv(4_096)
    (line,) = written(pod, 1)
    assert (line["method"], line["path"], line["status"], line["request_bytes"]) == ("", "", 400, 0)


def test_only_errors_get_a_line_where_that_is_asked_for(logged, digits):
    pod = logged("errors")
    for _ in range(20):
        assert infer(pod.public, digits.rows[0]).status == 200
    call(pod.public, "GET", "/v2/nothing?here=1")
    assert [(line["status"], line["path"]) for line in written(pod, 1)] == [(404, "/v2/nothing?here=1")]


def test_no_line_is_lost_when_the_pod_ends(logged, digits):
    pod = logged("all")
    with Clients(pod.public, digits.rows[0]) as clients:
        eventually("served", lambda: len(clients.seen) > 200)
    pod.terminate()
    assert pod.ended() == 0
    assert clients.failures == []
    assert [line["status"] for line in lines(pod)] == [200] * len(clients.seen)


def test_a_reader_that_does_not_read_costs_lines_and_no_request(logged, digits):
    reader, writer = os.pipe()
    try:
        pod = logged("all", stdout=writer)
        get = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        with socket.create_connection(("127.0.0.1", pod.public), timeout=30) as client:
            client.sendall(get)
            answer = client.recv(4_096)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            answers = client.makefile("rb")
            for _ in range(100):
                client.sendall(get * 100)
                assert answers.read(100 * len(answer)) == answer * 100
        assert infer(pod.public, digits.rows[0]).status == 200
        dropped = eventually("dropped lines", lambda: pod.metrics()["leadline_access_log_dropped_total"])
        assert 0 < dropped < 10_002
    finally:
        os.close(reader)
        os.close(writer)


def test_nothing_is_written_and_no_thread_runs_where_it_is_off(served, digits):
    assert infer(served.public, digits.rows[0]).status == 200
    assert served.out.read_bytes() == b""
    threads = Path(f"/proc/{served.worker_pid()}/task").iterdir()
    assert not {"access-log"} & {(thread / "comm").read_text().strip() for thread in threads}
    assert "leadline_access_log_dropped_total" not in served.metrics()


def test_logs_are_json_lines_where_that_is_asked_for(start, digits, tmp_path):
    pod = start(
        digits.uri("good.onnx"),
        digest=digits.digest("good.onnx"),
        environment={"LEADLINE_LOG_FORMAT": "json", "LEADLINE_LOG_LEVEL": "warning"},
    ).wait_ready()
    os.kill(pod.worker_pid(), 9)
    eventually("told", lambda: "worker ended" in pod.log.read_text())
    (line,) = [json.loads(line) for line in pod.log.read_text().splitlines()]
    assert line.pop("time").endswith("Z")
    assert {**line, "lived_seconds": 0} == {
        "level": "error",
        "process": "supervisor",
        "message": "worker ended",
        "cause": "SIGKILL",
        "lived_seconds": 0,
        "next_in_seconds": 0.0,
    }


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LEADLINE_ACCESS_LOG", "some", "expected off, errors, all or a share from 0 to 1, got 'some'"),
        ("LEADLINE_LOG_LEVEL", "loud", "expected one of debug, info, warning, error; got 'loud'"),
        ("LEADLINE_LOG_FORMAT", "xml", "expected one of text, json; got 'xml'"),
    ],
)
def test_a_setting_that_cannot_be_meant_ends_the_process_with_a_line(start, digits, variable, value, said):
    pod = start(digits.uri("good.onnx"), environment={variable: value})
    assert pod.ended() == 2
    (line,) = pod.log.read_text().splitlines()
    assert f'cannot start error="{variable}: {said}"' in line

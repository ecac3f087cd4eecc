"""A demoted pod: what its clients see, and what never happens to them."""

import http.client
import os
import signal
import socket
import time

import pytest
from leadline_wire.exchange import Forward

from tests.wiring.runtime.pods import CHANGE_SECONDS, Clients, Pod, call, eventually, free_ports, infer, inference, send


@pytest.fixture(scope="module")
def pods(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demotion")
    old = Pod(
        folder / "old", digits.uri("worse.onnx"), digest=digits.digest("worse.onnx"), revision="digits-old", workers=2
    )
    new = Pod(folder / "new", digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-new")
    try:
        yield old.wait_ready(), new.wait_ready()
    finally:
        old.stop()
        new.stop()


@pytest.fixture
def two(pods):
    """The pod of the old revision, and that of the one that is to serve; both serve."""
    for pod in pods:
        assert not pod.exchange("serving").forwarding
    return pods


def to(pod):
    return Forward(revision=pod.revision, host="127.0.0.1", port=pod.own)


def test_keep_alive_clients_see_no_failure_and_no_answer_of_the_demoted_model_after_the_word(two, digits):
    old, new = two
    with Clients(old.public, digits.rows[0], count=6) as clients:
        eventually("clients are served", lambda: len(clients.seen) > 50)
        report = old.exchange("standby", forward=to(new))
        acknowledged = time.monotonic()
        assert report.forwarding
        eventually("forwarded", lambda: sum(sent > acknowledged for sent, _ in clients.seen) > 100)
    assert clients.failures == []
    assert {revision for sent, revision in clients.seen if sent > acknowledged} == {"digits-new"}
    assert {revision for _, revision in clients.seen} == {"digits-old", "digits-new"}
    eventually("counted", lambda: old.exchange("standby", forward=to(new)).forwarded > 100)


def test_a_forwarded_answer_closes_the_connection_and_is_the_serving_revisions_own(two, digits):
    old, new = two
    connection = http.client.HTTPConnection("127.0.0.1", old.public, timeout=CHANGE_SECONDS)
    send(connection, "POST", "/v2/models/digits/infer", inference(digits.rows[0]))
    old.exchange("standby", forward=to(new))
    answer = send(connection, "POST", "/v2/models/digits/infer", inference(digits.rows[0]))
    assert answer.json()["model_version"] == "digits-new"
    assert answer.headers["connection"] == "close"
    assert answer.body == infer(new.own, digits.rows[0]).body
    wrong = call(old.public, "POST", "/v2/models/digits/infer", b"no json")
    assert wrong.status == 400
    assert "body: expected a JSON object" in wrong.error
    metadata = call(old.public, "GET", "/v2/models/digits").json()
    assert metadata["versions"] == ["digits-new"]
    head = call(old.public, "HEAD", "/v2/health/ready")
    assert (head.status, head.body) == (200, b"")


def test_the_own_port_answers_with_the_own_model_whatever_the_role(two, digits):
    old, new = two
    old.exchange("standby", forward=to(new))
    assert infer(old.own, digits.rows[0]).json()["model_version"] == "digits-old"


def test_idle_connections_of_a_demoted_pod_are_closed(two, digits):
    old, new = two
    with socket.create_connection(("127.0.0.1", old.public), timeout=CHANGE_SECONDS) as connection:
        old.exchange("standby", forward=to(new))
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.5 < time.monotonic() - began < 5.0


def test_a_target_that_is_gone_is_a_503_and_never_an_answer_of_the_demoted_model(two, digits):
    old, new = two
    old.exchange("standby", forward=to(new))
    assert infer(old.public, digits.rows[0]).json()["model_version"] == "digits-new"
    old.exchange("standby", forward=Forward(revision="digits-gone", host="127.0.0.1", port=free_ports(1)[0]))
    answer = infer(old.public, digits.rows[0])
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "digits-gone" in answer.error
    old.exchange("standby", forward=None)
    assert infer(old.public, digits.rows[0]).status == 503


def test_a_pod_promoted_again_answers_with_its_own_model_and_keeps_connections(two, digits):
    old, new = two
    old.exchange("standby", forward=to(new))
    report = old.exchange("serving")
    assert not report.forwarding
    answer = infer(old.public, digits.rows[0])
    assert answer.json()["model_version"] == "digits-old"
    assert answer.headers["connection"] is None


def test_a_role_without_renewal_expires(two, digits):
    old, new = two
    assert old.exchange("standby", forward=to(new), lease_seconds=0.3).forwarding
    eventually("own answers again", lambda: infer(old.public, digits.rows[0]).json()["model_version"] == "digits-old")


def test_a_worker_that_is_killed_while_demoted_comes_back_demoted(two, digits):
    old, new = two
    old.exchange("standby", forward=to(new))
    killed = old.worker_pid()
    os.kill(killed, signal.SIGKILL)
    eventually("killed", lambda: not old.exchange("standby", forward=to(new)).forwarding or old.worker_pid() != killed)
    for _ in range(20):
        try:
            answer = infer(old.public, digits.rows[0])
        except OSError:
            continue
        assert answer.json()["model_version"] == "digits-new"
    eventually("in force", lambda: old.exchange("standby", forward=to(new)).forwarding)

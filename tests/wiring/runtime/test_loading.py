"""From a URI to a warm model, or to a reason why not."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest
from onnx import helper

from tests.unit.runtime import models
from tests.wiring.runtime.pods import Clients, call, eventually, infer


def failed(pod, reason):
    """Return the message of the trouble that a pod reports; it is not ready, and its user port says so, too."""
    report = pod.report(f"failed with {reason}", lambda report: report.phase == "Failed" and report.trouble)
    assert report.trouble.reason == reason
    assert reason in pod.ready()
    answer = eventually("user port", lambda: call(pod.public, "POST", "/v2/models/digits/infer", b"{}"))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    return report.trouble


def test_a_pod_without_a_digest_waits_for_the_exchange_and_loads_when_it_is_told_what_it_found(start, digits):
    pod = start(digits.uri("good.onnx"))
    report = pod.report("waits", lambda report: report.phase == "Waiting")
    assert report.digest == digits.digest("good.onnx")
    assert pod.ready().startswith("Waiting: ")
    assert call(pod.public, "GET", "/v2/health/live").status == 200
    assert call(pod.public, "GET", "/v2/health/ready").status == 503
    pod.exchange(digest=report.digest)
    pod.wait_ready()
    assert infer(pod.public, digits.rows[0]).status == 200


def test_a_pod_without_a_digest_finds_the_learned_one_in_its_volume(start, digits):
    pod = start(digits.uri("good.onnx"))
    (pod.folder / "revision" / "digest").write_text(digits.digest("good.onnx") + "\n")
    pod.wait_ready()


@pytest.mark.parametrize("told_by", ["spec", "exchange"])
def test_other_bytes_than_those_that_are_trusted_are_a_digest_mismatch(start, digits, told_by):
    expected = digits.digest("worse.onnx")
    pod = start(digits.uri("good.onnx"), digest=expected if told_by == "spec" else "")
    if told_by == "exchange":
        pod.report("waits", lambda report: report.phase == "Waiting")
        pod.exchange(digest=expected)
    trouble = failed(pod, "DigestMismatch")
    assert trouble.blame == "model"
    assert digits.digest("good.onnx") in trouble.message
    assert expected in trouble.message


def test_nothing_at_the_uri_is_told_and_found_once_it_is_there(start, digits, tmp_path):
    place = tmp_path / "later.onnx"
    pod = start(place.as_uri(), digest=digits.digest("good.onnx"))
    trouble = failed(pod, "ModelNotFound")
    assert (trouble.blame, str(place) in trouble.message) == ("surroundings", True)
    shutil.copy(digits.folder / "good.onnx", place)
    pod.wait_ready()
    assert pod.exchange().trouble is None


def test_a_file_that_is_no_model_is_told_with_what_it_begins_with(start, tmp_path):
    place = tmp_path / "model.onnx"
    place.write_bytes(b"<html>Sign in</html>")
    pod = start(place.as_uri())
    report = pod.report("waits", lambda report: report.phase == "Waiting")
    pod.exchange(digest=report.digest)
    trouble = failed(pod, "InvalidModel")
    assert trouble.blame == "model"
    assert "not an ONNX model" in trouble.message
    assert "<html>" in trouble.message


def test_an_unknown_operator_is_named(start, tmp_path):
    tensors = ({"x": (models.FLOAT, ("N", 3))}, {"y": (models.FLOAT, ("N", 3))})
    place = models.save(tmp_path / "m.onnx", [helper.make_node("Frobnicate", ["x"], ["y"])], *tensors)
    pod = start(place.as_uri())
    pod.exchange(digest=pod.report("waits", lambda report: report.phase == "Waiting").digest)
    assert "Frobnicate" in failed(pod, "InvalidModel").message


def test_a_worker_that_is_killed_is_replaced_and_costs_only_its_own_connections(start, digits):
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    killed = pod.worker_pid()
    with Clients(pod.public, digits.rows[0]) as clients:
        eventually("served and counted", lambda: pod.exchange().requests > 20)
        counted = pod.exchange().requests
        os.kill(killed, signal.SIGKILL)
        eventually("not ready", lambda: pod.ready() != "ok" or pod.worker_pid() != killed)
        seen = len(clients.seen)
        eventually("served again", lambda: len(clients.seen) > seen + 20, 30.0)
    assert len(clients.failures) <= len(clients.threads), clients.failures
    pod.wait_ready()
    assert pod.exchange().trouble is None
    eventually("counts go on", lambda: pod.exchange().requests > counted + 20)


def test_a_worker_that_dies_while_it_loads_is_told_after_the_third_time(start, digits, tmp_path):
    place = tmp_path / "pipe.onnx"
    shutil.copy(digits.folder / "good.onnx", place)
    pod = start(place.as_uri())
    report = pod.report("waits", lambda report: report.phase == "Waiting")
    # Reading a pipe that nobody writes to holds the worker in the midst of loading for as long as the test needs.
    fetched = pod.folder / "data" / "model" / "model.onnx"
    fetched.unlink()
    os.mkfifo(fetched)
    pod.exchange(digest=report.digest)
    killed: set[int] = set()

    def kill():
        worker = pod.worker_pid()
        if worker not in killed and pod.exchange().phase == "Loading":
            os.kill(worker, signal.SIGSEGV)
            killed.add(worker)
        return pod.exchange().phase == "Failed"

    eventually("given up", kill, 30.0)
    trouble = failed(pod, "InvalidModel")
    assert (trouble.blame, "SIGSEGV" in trouble.message) == ("model", True)
    assert len(killed) == 3


def test_sigterm_drains_without_a_failed_request(start, digits):
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    with Clients(pod.public, digits.rows[0], count=6) as clients:
        clients.stop_when_closed = True
        eventually("served", lambda: len(clients.seen) > 50)
        pod.terminate()
        eventually("draining", lambda: pod.ready().startswith("Draining"))
        assert pod.ended() == 0
        eventually("clients were told to go", lambda: not any(thread.is_alive() for thread in clients.threads))
    assert clients.failures == []


def test_a_drain_is_as_long_as_the_environment_says(start, digits):
    limit = {"LEADLINE_DRAIN_SECONDS": "1"}
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), environment=limit).wait_ready()
    with socket.create_connection(("127.0.0.1", pod.public), timeout=10.0) as client:
        client.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: digits\r\ncontent-length: 9\r\n\r\n")
        eventually("taken up", lambda: pod.metrics()["leadline_connections"] == 1)
        pod.terminate()
        assert pod.ended() == 0
    drained = next(line for line in pod.log.read_text().splitlines() if " drained " in line)
    assert "seconds=1." in drained
    assert "connections_cut=1" in drained


def test_sigterm_before_there_is_a_model_ends_at_once(start, tmp_path):
    pod = start((tmp_path / "nothing.onnx").as_uri())
    failed(pod, "ModelNotFound")
    pod.terminate()
    assert pod.ended(5.0) == 0


def test_a_mistake_in_the_environment_is_one_line(start, digits):
    pod = start(digits.uri("good.onnx"), environment={"LEADLINE_MAX_ROWS": "many"})
    assert pod.ended() == 2
    (line,) = pod.log.read_text().splitlines()
    assert "LEADLINE_MAX_ROWS: expected a whole number from 1 to 4096, got 'many'" in line


def test_a_model_that_is_too_large_is_told_with_the_limit(start, digits):
    pod = start(digits.uri("good.onnx"), environment={"LEADLINE_MAX_MODEL_BYTES": "1000"})
    trouble = failed(pod, "ModelTooLarge")
    assert (trouble.blame, "more than 1000 bytes" in trouble.message) == ("surroundings", True)


def test_a_container_that_is_started_again_needs_no_store(start, digits, tmp_path):
    place = tmp_path / "gone-later.onnx"
    shutil.copy(digits.folder / "good.onnx", place)
    first = start(place.as_uri(), digest=digits.digest("good.onnx")).wait_ready()
    first.terminate()
    first.ended()
    place.unlink()
    volume = {"LEADLINE_DATA_DIR": str(first.folder / "data")}
    start(place.as_uri(), digest=digits.digest("good.onnx"), environment=volume).wait_ready()


def test_a_worker_does_not_outlive_its_supervisor(start, digits):
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    worker = pod.worker_pid()
    pod.stop()
    eventually(
        "worker ended",
        lambda: not Path(f"/proc/{worker}/cmdline").exists() or not Path(f"/proc/{worker}/cmdline").read_bytes(),
    )

"""Several workers of one pod: who answers while one is gone, and what a killed one costs."""

import os
import shutil
import signal

import pytest
from leadline_wire import exchange
from leadline_wire.exchange import Forward

from tests.wiring.runtime.pods import START_SECONDS, Clients, call, eventually, infer


@pytest.fixture
def pair(start, digits):
    """A pod with two workers, both warm."""
    return start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), workers=2).wait_ready()


def up(pod):
    metrics = pod.metrics()
    return [metrics[f'leadline_worker_up{{worker="{slot}"}}'] for slot in range(2)]


def answered(pod):
    metrics = pod.metrics()
    return [metrics[f'leadline_worker_requests_total{{worker="{slot}"}}'] for slot in range(2)]


def hold_back(pod):
    """Let a worker that loads the model from now on wait in the midst of it; return what ends that."""
    path = pod.folder / "data" / "model" / "model.onnx"
    aside = path.with_name("aside.onnx")
    shutil.copy(path, aside)
    path.unlink()
    os.mkfifo(path)

    def release():
        # Whoever has the pipe open already is told the model through it; whoever comes later reads the file.
        writer = os.open(path, os.O_RDWR)
        data = aside.read_bytes()
        aside.replace(path)
        os.write(writer, data)
        os.close(writer)

    return release


def test_a_pod_is_ready_once_all_workers_hold_the_model_and_each_gets_its_share(pair, digits):
    assert len(pair.worker_pids()) == 2
    assert up(pair) == [1, 1]
    for _ in range(64):
        assert infer(pair.public, digits.rows[0]).status == 200
    first, second = answered(pair)
    assert first + second == 64
    assert min(first, second) >= 8, "2 in 10^10 by chance"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=["killed", "crashed"])
def test_a_worker_that_is_gone_costs_the_requests_that_it_had_and_no_other(pair, digits, number):
    with Clients(pair.public, digits.rows[0], count=20) as clients:
        # That one worker got all of so many connections: 1 in 500,000.
        eventually("both serve", lambda: min(answered(pair)) > 20 or None)
        seen = len(clients.seen)
        os.kill(pair.worker_pids()[0], number)
        eventually("served on", lambda: len(clients.seen) > seen + 400, START_SECONDS)
        assert pair.ready() == "ok"
    # Each client has one request on its way at most, and none fails twice: its next connection is another worker's.
    assert len(clients.failures) <= len(clients.threads), clients.failures
    eventually("both again", lambda: up(pair) == [1, 1], START_SECONDS)
    assert pair.exchange().trouble is None


def test_new_connections_do_not_wait_for_a_worker_that_is_gone(pair, digits):
    release = hold_back(pair)
    killed = pair.worker_pids()[0]
    os.kill(killed, signal.SIGKILL)
    # The kernel goes on to give half of these to the sockets of the worker that is gone, and nobody loads a model now.
    for _ in range(64):
        assert infer(pair.public, digits.rows[0]).status == 200
        assert infer(pair.own, digits.rows[0]).status == 200
    assert pair.ready() == "ok"
    eventually("another one loads", lambda: killed not in pair.worker_pids() and len(pair.worker_pids()) == 2)
    assert sum(up(pair)) == 1
    release()
    eventually("both again", lambda: up(pair) == [1, 1], START_SECONDS)
    before = answered(pair)
    for _ in range(64):
        assert infer(pair.public, digits.rows[0]).status == 200
    grown = [after - earlier for after, earlier in zip(answered(pair), before, strict=True)]
    assert sum(grown) == 64
    assert min(grown) >= 8, "its sockets are its own again"


def test_a_worker_that_cannot_load_what_the_other_holds_is_given_up_and_the_pod_serves_on(pair, digits):
    hold_back(pair)
    kept, killed = pair.worker_pids()

    def kill():
        for worker in pair.worker_pids():
            if worker != kept:
                os.kill(worker, signal.SIGSEGV)
        return "going on without it" in pair.log.read_text()

    os.kill(killed, signal.SIGSEGV)
    eventually("given up", kill, START_SECONDS)
    eventually("one is left", lambda: pair.worker_pids() == [kept])
    assert pair.ready() == "ok"
    assert pair.exchange().trouble is None
    for _ in range(16):
        assert infer(pair.public, digits.rows[0]).status == 200


def test_a_pod_is_not_failed_while_another_worker_may_load_the_model_and_both_serve_in_the_end(pair, digits):
    release = hold_back(pair)
    for worker in pair.worker_pids():
        os.kill(worker, signal.SIGKILL)
    eventually("both load", lambda: len(pair.worker_pids()) == 2 and pair.exchange().phase == "Loading", START_SECONDS)
    kept = max(pair.worker_pids())
    ended: set[int] = set()

    def kill():
        for worker in set(pair.worker_pids()) - {kept} - ended:
            os.kill(worker, signal.SIGKILL)
            ended.add(worker)
        return len(ended) >= 3

    eventually("one was killed three times", kill, START_SECONDS)
    eventually("and came back", lambda: len(set(pair.worker_pids()) - ended) == 2, START_SECONDS)
    report = pair.exchange()
    assert (report.phase, report.trouble) == ("Loading", None)
    release()
    pair.wait_ready()
    eventually("both serve", lambda: up(pair) == [1, 1], START_SECONDS)
    assert infer(pair.public, digits.rows[0]).status == 200


def test_a_worker_that_hangs_is_killed_and_replaced(start, digits):
    pod = start(
        digits.uri("good.onnx"),
        digest=digits.digest("good.onnx"),
        workers=2,
        environment={"LEADLINE_SILENT_WORKER_SECONDS": "3"},
    ).wait_ready()
    hanging, other = pod.worker_pids()
    os.kill(hanging, signal.SIGSTOP)
    eventually("replaced", lambda: hanging not in pod.worker_pids() and up(pod) == [1, 1], START_SECONDS)
    assert "worker hangs and is killed" in pod.log.read_text()
    assert other in pod.worker_pids()
    for _ in range(16):
        assert infer(pod.public, digits.rows[0]).status == 200


def test_standby_is_in_force_only_when_it_is_so_in_all_workers(pair, digits, start):
    other = start(
        digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-2", workers=1
    ).wait_ready()
    target = Forward(revision="digits-2", host="127.0.0.1", port=other.own)
    assert pair.exchange("standby", forward=target).forwarding
    for _ in range(32):
        assert infer(pair.public, digits.rows[0]).json()["model_version"] == "digits-2"
    os.kill(pair.worker_pids()[0], signal.SIGKILL)
    for _ in range(32):
        assert infer(pair.public, digits.rows[0]).json()["model_version"] == "digits-2"
        assert pair.exchange("standby", forward=target).forwarding
    assert not pair.exchange("serving").forwarding
    for _ in range(32):
        assert infer(pair.public, digits.rows[0]).json()["model_version"] == "digits-1"


def test_a_test_set_is_answered_by_one_worker_and_taken_over_by_the_other(pair, digits):
    request = exchange.TestSetRequest(uri=digits.uri("test.parquet"), truth="digit", run="run-1")
    report = pair.report(
        "answered", lambda report: report.test_set and report.test_set.state == "Done", test_set=request
    )
    assert report.test_set.rows == digits.test_rows
    os.kill(pair.worker_pids()[0], signal.SIGKILL)
    again = exchange.TestSetRequest(uri=digits.uri("test.parquet"), truth="digit", run="run-2")
    second = pair.report(
        "answered", lambda report: report.test_set.run == "run-2" and report.test_set.state == "Done", test_set=again
    )
    assert second.test_set.answers == report.test_set.answers


def test_counts_of_all_workers_and_their_lives_are_told_as_one(pair, digits):
    for _ in range(32):
        infer(pair.public, digits.rows[0])
    eventually("counted", lambda: pair.exchange().requests == 32)
    os.kill(pair.worker_pids()[0], signal.SIGKILL)
    for _ in range(32):
        infer(pair.public, digits.rows[0])
    report = eventually("counted on", lambda: (told := pair.exchange()).requests == 64 and told)
    assert report.service.requests == sum(report.service.latency) == 64
    assert report.service.failures == report.service.refused == 0
    assert report.service.started_ms > 0


def test_sigterm_drains_all_workers_without_a_failed_request(pair, digits):
    keeping = Clients(pair.public, digits.rows[0], count=6)
    coming = Clients(pair.public, digits.rows[0], count=3, keep=False)
    keeping.stop_when_closed = True
    with keeping, coming:
        eventually("both serve", lambda: min(answered(pair)) > 20 or None)
        pair.terminate()
        eventually("draining", lambda: pair.ready().startswith("Draining"))
        seen = len(coming.seen)
        eventually("kept clients were told to go", lambda: not any(each.is_alive() for each in keeping.threads))
        eventually("new ones are served on", lambda: len(coming.seen) > seen + 100)
        coming.stop.set()
        assert pair.ended() == 0
    assert keeping.failures == coming.failures == []


def test_a_pod_that_drains_serves_new_connections_in_whichever_worker_is_left(pair, digits):
    pair.terminate()
    eventually("draining", lambda: pair.ready().startswith("Draining"))
    for _ in range(64):
        answer = infer(pair.public, digits.rows[0])
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert pair.ended() == 0


def test_two_workers_serve_a_pod_that_has_no_model_yet(start, tmp_path):
    pod = start((tmp_path / "nothing.onnx").as_uri(), workers=2)
    pod.report("failed", lambda report: report.phase == "Failed")
    assert len(pod.worker_pids()) == 1, "the others start when the first has loaded the model"
    for _ in range(8):
        assert call(pod.public, "GET", "/v2/health/ready").status == 503

"""A pod that many press at once: what they get, what it costs, and how those fare who behave.

`make bench-pressure` has the figures; here are the bounds.
"""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.wiring.runtime import misbehaving
from tests.wiring.runtime.pods import CHANGE_SECONDS, START_SECONDS, Clients, eventually, inference

GROWTH_BYTES = 200 << 20
"""Of one worker under a thousand misbehaving clients; all they send and ask for is without bound."""


@pytest.fixture
def pair(start, digits):
    return start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), workers=2).wait_ready()


def memory(pod):
    metrics = pod.metrics()
    return max(metrics[f'leadline_worker_resident_memory_bytes{{worker="{slot}"}}'] for slot in range(2))


def test_a_thousand_misbehaving_clients_take_bounded_memory_and_others_go_on(pair, digits):
    before, row = memory(pair), digits.rows[0]
    with misbehaving.Misbehaving(pair.public, inference(row)) as bad, Clients(pair.public, row) as good:
        for hundred in range(1, 4):
            eventually("others are served", lambda: len(good.seen) >= 100 * hundred, START_SECONDS)  # noqa: B023
            assert memory(pair) < before + GROWTH_BYTES
    assert sum(bad.connects.values()) >= 1_000
    assert good.failures == []
    assert pair.ready() == "ok"
    assert [pair.metrics()[f'leadline_worker_restarts_total{{worker="{slot}"}}'] for slot in range(2)] == [0, 0]
    eventually("all are gone", lambda: pair.metrics()["leadline_connections"] == 0)
    assert "Traceback" not in pair.log.read_text()


def test_more_than_the_queue_holds_are_answered_429_at_once_and_told_when_to_come_back(start, digits):
    limits = {"LEADLINE_MAX_QUEUE_ROWS": "8"}
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), environment=limits).wait_ready()
    sent = misbehaving.request(inference(digits.rows[0]))
    clients = [socket.create_connection(("127.0.0.1", pod.public), timeout=CHANGE_SECONDS) for _ in range(32)]
    eventually("accepted", lambda: pod.metrics()["leadline_connections"] == 32)
    worker = pod.worker_pid()
    # All of them come in one pass of the event loop.
    os.kill(worker, signal.SIGSTOP)
    # The signal only asks; until it stands still the worker would take the first of them alone.
    eventually("stopped", lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    for client in clients:
        client.sendall(sent)
    os.kill(worker, signal.SIGCONT)
    heads = []
    for client in clients:
        head = client.recv(65_536).partition(b"\r\n\r\n")[0]
        heads.append(head)
        client.close()
    full = [head for head in heads if head.startswith(b"HTTP/1.1 429 ")]
    assert len(full) == 24
    assert all(b"\r\nretry-after: 1" in head for head in full)
    assert sum(head.startswith(b"HTTP/1.1 200 ") for head in heads) == 8
    eventually("counted", lambda: pod.exchange().service.refused == 24)

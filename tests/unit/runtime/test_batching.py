"""How requests share runs: who waits for whom, what is bounded, and what a demotion waits for."""

import asyncio
import dataclasses
import json
import threading
import time

import numpy as np
import pytest
from leadline_runtime.engine import batching, counters, session
from leadline_runtime.oip import datatypes, signature
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor
from tests.unit.runtime.wires import answers, request


def row(*values, **more):
    return request("/v2/models/m/infer", json.dumps(asking(tensor(list(values), [1, 3]), **more)).encode())


@pytest.fixture
def served(tmp_path):
    return Served(models.identity(tmp_path / "m.onnx"), max_rows=4, max_queue_rows=6)


def told(transport):
    return json.loads(answers(transport.sent)[0].body)


def test_requests_that_arrive_together_share_a_run_and_get_their_own_answers(served):
    sent = [served.send(row(number, 0, 0, id=f"r{number}")) for number in range(3)]
    served.loop.run()
    assert [told(transport)["outputs"][0]["data"][0] for transport in sent] == [0.0, 1.0, 2.0]
    assert [told(transport)["id"] for transport in sent] == ["r0", "r1", "r2"]
    assert (served.counters.batches, served.counters.rows) == (1, 3)


def test_a_run_never_has_more_rows_than_it_may(served):
    sent = [served.send(row(number, 0, 0)) for number in range(5)]
    served.loop.run()
    assert served.counters.batches == 2
    assert [told(transport)["outputs"][0]["data"][0] for transport in sent] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_full_queue_answers_429_and_when_to_come_back(served):
    sent = [served.send(row(number, 0, 0)) for number in range(7)]
    (refused,) = answers(sent[-1].sent)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    served.loop.run()
    assert all(answers(transport.sent)[0].status == 200 for transport in sent[:-1])
    assert served.batcher.queue_rows == 0


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(served):
    body = json.dumps(asking(tensor([0.0] * 30, [10, 3]))).encode()
    served.send(request("/v2/models/m/infer", body))
    assert served.batcher.queue_rows == 10


def test_a_gone_client_does_not_disturb_the_others_of_its_batch(served):
    first = served.send(row(1, 0, 0))
    second = served.send(row(2, 0, 0))
    next(iter(served.server.connections)).connection_lost(None)
    served.loop.run()
    assert sum(bool(transport.sent) for transport in (first, second)) == 1


def test_a_refused_row_leaves_no_trace_in_the_batch(served):
    good = served.send(row(1, 2, 3, id="good"))
    bad = served.send(row(9, 9, "x", id="bad"))
    last = served.send(row(4, 5, 6))
    served.loop.run()
    assert answers(bad.sent)[0].status == 400
    assert (told(good)["id"], told(good)["outputs"][0]["data"]) == ("good", [1.0, 2.0, 3.0])
    assert "id" not in told(last)
    assert told(last)["outputs"][0]["data"] == [4.0, 5.0, 6.0]


def test_requests_of_different_inner_shapes_never_share_a_run(tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", shape=("N", "K")))
    bodies = [asking(tensor([1.0] * width, [1, width])) for width in (2, 2, 3, 2)]
    sent = [served.send(request("/v2/models/m/infer", json.dumps(body).encode())) for body in bodies]
    served.loop.run()
    assert [told(transport)["outputs"][0]["shape"] for transport in sent] == [[1, 2], [1, 2], [1, 3], [1, 2]]
    assert served.counters.batches == 3


class Gate:
    """A model whose runs wait until the test lets them go on."""

    def __init__(self):
        self.open = threading.Event()
        self.started = threading.Event()
        self.rows = []

    def run(self, arrays):
        self.rows.append(len(arrays["x"]))
        self.started.set()
        assert self.open.wait(10)
        return [arrays["x"]]


@pytest.fixture
async def slow():
    gate = Gate()
    x = signature.Tensor("x", datatypes.BY_NAME["FP32"], (-1, 3))
    model = session.Model(gate.run, signature.Signature((x,), (x,), has_rows=True), "", "", (), 1.0, 1.0)
    served = Served(None, max_rows=4, model=model)
    served.batcher.close()
    served.batcher = batching.Batcher(
        model, counters.Counters(), max_rows=4, max_queue_rows=64, loop=asyncio.get_running_loop()
    )
    assert not served.batcher.inline
    served.inference._batcher = served.batcher
    yield served, gate
    gate.open.set()
    served.batcher.close()


@pytest.mark.parametrize("row_layout", [False, True], ids=["arrays", "packed"])
def test_inputs_that_wait_are_bounded_by_their_bytes_as_well(tmp_path, row_layout):
    served = Served(
        models.identity(tmp_path / "m.onnx", shape=("N", 1_000)), max_queue_bytes=11_000, row_layout=row_layout
    )
    body = json.dumps(asking(tensor([0.0] * 1_000, [1, 1_000]))).encode()
    sent = [served.send(request("/v2/models/m/infer", body)) for _ in range(3)]
    served.loop.run()
    assert [answers(transport.sent)[0].status for transport in sent] == [200, 200, 429]
    assert served.batcher.queue_bytes == 0
    assert served.ask(asking(tensor([0.0] * 1_000, [1, 1_000]))).status == 200
    large = asking(tensor([0.0] * 8_000, [8, 1_000]))
    assert served.ask(large).status == 200, "a lone request of any size may"


@pytest.mark.parametrize(("width", "inline", "batches"), [(8, True, 1), (40_000, True, 2), (40_000, False, 1)])
def test_large_arrays_are_put_together_only_where_a_run_takes_longer_than_the_copy(tmp_path, width, inline, batches):
    served = Served(models.identity(tmp_path / "m.onnx", shape=("N", width)), row_layout=False)
    served.batcher.inline = inline
    for _ in range(2):
        served.send(request("/v2/models/m/infer", json.dumps(asking(tensor([0.0] * width, [1, width]))).encode()))
    assert len(served.batcher.waiting) == batches


async def test_the_next_batch_grows_while_the_compute_thread_runs(slow):
    served, gate = slow
    sent = [served.send(row(0, 0, 0))]
    await asyncio.to_thread(gate.started.wait, 10)
    sent += [served.send(row(number, 0, 0)) for number in range(1, 4)]
    gate.open.set()
    async with asyncio.timeout(10):
        await served.batcher.settle()
    assert gate.rows == [1, 3]
    assert [told(transport)["outputs"][0]["data"][0] for transport in sent] == [0.0, 1.0, 2.0, 3.0]


async def test_settling_waits_for_what_was_accepted_and_not_for_what_comes_later(slow):
    served, gate = slow
    first = served.send(row(1, 0, 0))
    await asyncio.to_thread(gate.started.wait, 10)
    settled = asyncio.ensure_future(served.batcher.settle())
    await asyncio.sleep(0)
    assert not settled.done()
    later = served.send(row(2, 0, 0))
    gate.open.set()
    async with asyncio.timeout(10):
        await settled
    assert first.sent
    async with asyncio.timeout(10):
        await served.batcher.settle()
    assert later.sent


async def test_a_low_priority_run_lets_waiting_requests_go_first(slow):
    served, gate = slow
    gate.open.set()
    sent = served.send(row(1, 0, 0))
    async with asyncio.timeout(10):
        outputs = await served.batcher.run_aside({"x": np.zeros((2, 3), np.float32)})
    assert sent.sent
    assert gate.rows == [1, 2]
    assert outputs[0].shape == (2, 3)


async def test_what_waited_too_long_is_answered_503_and_never_run(slow):
    served, gate = slow
    served.batcher.wait_seconds_max = 0.05
    first = served.send(row(1, 0, 0))
    await asyncio.to_thread(gate.started.wait, 10)
    late = [served.send(row(number, 0, 0)) for number in (2, 3)]
    several = served.send(request("/v2/models/m/infer", json.dumps(asking(tensor([0.0] * 6, [2, 3]))).encode()))
    while not served.batcher.waiting[-1].created + 0.05 < time.perf_counter():
        await asyncio.sleep(0.01)
    served.batcher.expire()
    for transport in (*late, several):
        (refused,) = answers(transport.sent)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "s for the model, limit 0.05 s; not run" in json.loads(refused.body)["error"]
    assert served.batcher.queue_rows == 1, "what runs is not given up"
    gate.open.set()
    async with asyncio.timeout(10):
        await served.batcher.settle()
    assert answers(first.sent)[0].status == 200
    assert gate.rows == [1]


async def test_what_waited_too_long_is_not_run_either_when_its_turn_comes(slow):
    served, gate = slow
    gate.open.set()
    served.batcher.wait_seconds_max = -1.0
    transport = served.send(row(1, 0, 0))
    async with asyncio.timeout(10):
        await served.batcher.settle()
    assert answers(transport.sent)[0].status == 503
    assert gate.rows == []
    assert served.batcher.queue_rows == 0


def slow_down(served, seconds):
    """Let each run of the model take so long."""
    run = served.model.run

    def slower(arrays):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return run(arrays)

    served.batcher.model = dataclasses.replace(served.model, run=slower)


def test_a_model_that_turns_out_slow_leaves_the_event_loop(served):
    slow_down(served, 4 * batching.INLINE_FULL_SECONDS_MAX)
    for number in range(batching.SLOW_RUNS_MAX):
        assert served.batcher.inline
        served.send(row(number, 0, 0))
        served.loop.run()
    assert not served.batcher.inline


def test_a_slow_run_now_and_then_is_chance_and_changes_nothing(served):
    quick = served.model
    for _ in range(batching.SLOW_RUNS_MAX):
        slow_down(served, 2 * batching.INLINE_FULL_SECONDS_MAX)
        served.send(row(1, 0, 0))
        served.loop.run()
        served.batcher.model = quick
        for _ in range(4):
            served.send(row(1, 0, 0))
            served.loop.run()
    assert served.batcher.inline


def test_waits_runs_and_rows_are_counted_per_batch(served):
    for _ in range(3):
        served.send(row(1, 0, 0))
    served.loop.run()
    counts = served.counters.message(queue_rows=0, connections=0, in_flight=0, is_inline=True, refusals={})
    assert counts.row_buckets[2] == 1, "three rows are at most four"
    assert sum(counts.row_buckets) == sum(counts.run_buckets) == 1
    assert sum(counts.wait_buckets) == sum(counts.buckets) == 3
    assert counts.wait_seconds > 0
    assert 0 < counts.run_seconds < counts.seconds


def test_a_lone_request_runs_at_the_next_turn_of_the_loop(served):
    transport = served.send(row(1, 0, 0))
    function, arguments = served.loop.soon.pop()
    function(*arguments)
    assert answers(transport.sent)[0].status == 200
    assert not served.loop.soon


def test_the_time_of_a_model_decides_where_it_runs(tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", TensorProto.FLOAT))
    for row_seconds, full_seconds, inline in ((0.0001, 0.001, True), (0.001, 0.001, False), (0.0001, 0.1, False)):
        model = session.Model(None, served.model.signature, "", "", (), row_seconds, full_seconds)
        batcher = batching.Batcher(model, counters.Counters(), max_rows=4, max_queue_rows=4, loop=served.loop)
        assert batcher.inline is inline


def looked_up(folder):
    """Write a model that gives the number at a place of a table of three, and fails on any other place."""
    table = helper.make_tensor("t", TensorProto.FLOAT, [3], [5.0, 6.0, 7.0])
    return models.save(
        folder / "m.onnx",
        [helper.make_node("Constant", [], ["table"], value=table), helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ("N", 1))},
        {"y": (TensorProto.FLOAT, ("N", 1))},
    )


def place(*places, **more):
    asked = asking(tensor(list(places), [len(places), 1], datatype="INT64"), **more)
    return request("/v2/models/m/infer", json.dumps(asked).encode())


@pytest.mark.parametrize("row_layout", [False, True], ids=["arrays", "packed"])
def test_a_request_that_the_model_fails_on_fails_alone(tmp_path, row_layout):
    served = Served(looked_up(tmp_path), row_layout=row_layout)
    sent = [served.send(place(number, id=f"r{number}")) for number in (0, 3, 2, 9)]
    sent.append(served.send(place(1, 2)))
    served.loop.run()
    found = [answers(transport.sent) for transport in sent]
    assert [[answer.status for answer in one] for one in found] == [[200], [500], [200], [500], [200]]
    assert [told(sent[place])["outputs"][0]["data"] for place in (0, 2, 4)] == [[5.0], [7.0], [6.0, 7.0]]
    assert told(sent[2])["id"] == "r2"
    assert "the model failed" in told(sent[1])["error"]
    assert (served.counters.requests, served.counters.failures) == (5, 2)
    assert served.batcher.queue_rows == served.batcher.queue_bytes == 0


async def test_a_request_that_the_model_fails_on_fails_alone_in_the_compute_thread(tmp_path):
    served = Served(looked_up(tmp_path))
    served.batcher = batching.Batcher(
        served.model, served.counters, max_rows=4, max_queue_rows=64, loop=asyncio.get_running_loop()
    )
    served.batcher.inline = False
    served.inference._batcher = served.batcher
    sent = [served.send(place(number)) for number in (0, 3, 2)]
    async with asyncio.timeout(10):
        await served.batcher.settle()
    assert [answers(transport.sent)[0].status for transport in sent] == [200, 500, 200]
    assert served.batcher.queue_rows == 0
    served.batcher.close()


@pytest.mark.parametrize("row_layout", [False, True], ids=["arrays", "packed"])
def test_nobody_gets_anothers_rows_from_a_model_that_drops_some(tmp_path, row_layout):
    path = models.save(  # gives the numbers that are at most 10: all of those of the warm-up
        tmp_path / "m.onnx",
        [
            helper.make_node("Constant", [], ["ten"], value=helper.make_tensor("o", TensorProto.FLOAT, [], [10.0])),
            helper.make_node("LessOrEqual", ["x", "ten"], ["small"]),
            helper.make_node("Compress", ["x", "small"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ("N",))},
        {"y": (TensorProto.FLOAT, ("M",))},
    )
    served = Served(path, row_layout=row_layout)
    assert served.model.signature.has_rows
    sent = [
        served.send(request("/v2/models/m/infer", json.dumps(asking(tensor([number], [1]))).encode()))
        for number in (50.0, 0.25, 0.5)
    ]
    served.loop.run()
    assert [[answer.status for answer in answers(transport.sent)] for transport in sent] == [[200]] * 3
    found = [told(transport)["outputs"][0] for transport in sent]
    assert [(output["shape"], output["data"]) for output in found] == [([0], []), ([1], [0.25]), ([1], [0.5])]


def test_copies_that_find_the_queue_full_are_no_clients_turned_away(served):
    asked = json.dumps(asking(tensor([0.0] * 3, [1, 3]))).encode()
    for _ in range(6):
        served.send(row(0, 0, 0))
    copy = served.send(request("/v2/models/m/infer", asked, head="host: x\r\nleadline-copy: 1\r\n"), own=True)
    client = served.send(row(0, 0, 0))
    assert [answers(transport.sent)[0].status for transport in (copy, client)] == [429, 429]
    assert served.counters.full == 1

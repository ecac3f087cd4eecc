"""Whose inputs are captured, what is brought of them, and what is dropped: through the protocol, to a server that keeps it."""

import asyncio
import contextlib
import json
import math

import msgspec
import numpy as np
import pytest
from aiohttp import web
from leadline_runtime.outcomes import capturing
from leadline_wire import captures, exchange, receipts
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.models import KEY, Served, asking, tensor
from tests.unit.runtime.wires import answers, request

KEYS = {KEY.id: KEY}
SOON = exchange.CaptureSettings(share=1_000_000, gather_ms=1)
WAIT_SECONDS = 10.0


class Keeper:
    """Keeps chunks, or answers with `status`."""

    def __init__(self):
        self.chunks, self.asked, self.status = [], [], 204
        self.gate = asyncio.Event()
        self.gate.set()

    @contextlib.asynccontextmanager
    async def running(self):
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/{rest:.*}", self._take)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _take(self, request):
        body = await request.read()
        self.asked.append((request.path_qs, request.headers.get("authorization")))
        await self.gate.wait()
        if self.status == 204:
            self.chunks.append(msgspec.msgpack.decode(body, type=captures.Chunk))
        return web.Response(status=self.status)


@contextlib.asynccontextmanager
async def capturing_from(served, settings=SOON):
    async with Keeper().running() as keeper:
        capturer = capturing.Capturer(
            asyncio.get_running_loop(), served.counters, lambda: b"secret", "/v1/namespaces/ml/models/m/captures"
        )
        keeper.capturer, keeper.aimed = capturer, capturer.aim(keeper.url, settings, served.model.signature.inputs)
        served.recorder.capturer = capturer if keeper.aimed else None
        try:
            yield keeper
        finally:
            capturer.close()


async def until(what):
    async with asyncio.timeout(WAIT_SECONDS):
        while not what():
            await asyncio.sleep(0)


def values(column, count):
    return np.frombuffer(column.data, {"FP32": "<f4", "INT64": "<i8"}[column.datatype]).reshape(count, -1).tolist()


def identifier(answer):
    return receipts.verify(json.loads(answer.body)["parameters"]["receipt"], KEYS).id


def row(*numbers, **more):
    return asking(tensor(list(numbers), [len(numbers) // 3, 3]), **more)


@pytest.fixture
def served(tmp_path):
    return Served(models.classifier(tmp_path / "m.onnx")).sign()


async def test_inputs_of_each_prediction_with_a_receipt_are_brought_by_its_id(served):
    async with capturing_from(served) as keeper:
        bodies = [row(1.0, 0.0, float(number)) for number in range(3)]
        sent = [identifier(served.ask(body)) for body in bodies]
        with_id = identifier(served.ask(row(5.0, 6.0, 7.0, id="a")))
        many = identifier(served.ask(row(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)))
        await until(lambda: sum(chunk.count for chunk in keeper.chunks) == 6)
        found = {}
        for chunk in keeper.chunks:
            assert captures.problem(chunk) == ""
            (column,) = chunk.columns
            assert (column.name, column.datatype, column.shape) == ("x", "FP32", [3])
            for place, numbers in enumerate(values(column, chunk.count)):
                key = chunk.ids[32 * place : 32 * place + 32], (chunk.rows or [0] * chunk.count)[place]
                found[key] = numbers
        assert found == {
            **{(each, 0): [1.0, 0.0, float(number)] for number, each in enumerate(sent)},
            (with_id, 0): [5.0, 6.0, 7.0],
            (many, 0): [1.0, 2.0, 3.0],
            (many, 1): [4.0, 5.0, 6.0],
        }
        path, token = keeper.asked[0]
        keep, most = SOON.keep_ms, SOON.max_bytes
        assert path == f"/v1/namespaces/ml/models/m/captures?keep_ms={keep}&max_bytes={most}"
        assert token == "Bearer secret"
        await until(lambda: served.counters.captured == 6)
        assert served.counters.capture_dropped == 0


async def test_what_gets_no_receipt_is_not_captured(tmp_path):
    served = Served(models.classifier(tmp_path / "m.onnx")).sign(share=500_000)
    async with capturing_from(served) as keeper:
        answers = [served.ask(row(1.0, 0.0, float(number))) for number in range(60)]
        got = [identifier(answer) for answer in answers if b"receipt" in answer.body]
        assert 5 < len(got) < 55
        await until(lambda: served.counters.captured == len(got))
        ids = "".join(chunk.ids for chunk in keeper.chunks)
        assert [ids[at : at + 32] for at in range(0, len(ids), 32)] == got
        # On the own port nobody gets one.
        served.ask(row(1.0, 2.0, 3.0), own=True)
        assert served.counters.captured == len(got)


@pytest.mark.parametrize("more", [{}, {"id": "a"}], ids=["packed", "the general way"])
async def test_a_share_is_drawn_prediction_by_prediction(served, more):
    settings = msgspec.structs.replace(SOON, share=100_000)
    async with capturing_from(served, settings) as keeper:
        for _ in range(2_000):
            served.ask(row(1.0, 0.0, 0.0, **more))
        # Binomial(2000, 1/10): 5 standard deviations are 67.
        await until(lambda: served.counters.captured > 133)
        ids = "".join(chunk.ids for chunk in keeper.chunks)
        assert len(ids) // 32 < 267


async def test_a_dropped_input_never_leaves_the_process_and_types_stay(tmp_path):
    nodes = [helper.make_node("Identity", ["age"], ["label"])]
    inputs = {
        "age": (TensorProto.INT64, ("N",)),
        "ssn": (TensorProto.STRING, ("N", 1)),
        "word": (TensorProto.STRING, ("N", 1)),
        "half": (TensorProto.FLOAT16, ("N", 2)),
    }
    nodes += [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("ssn", "word", "half")]
    outputs = {"label": (TensorProto.INT64, ("N",))} | {f"{name}_out": inputs[name] for name in ("ssn", "word", "half")}
    path = models.save(tmp_path / "m.onnx", nodes, inputs, outputs, {"leadline.prediction": "label"})
    served = Served(path).sign()
    async with capturing_from(served, msgspec.structs.replace(SOON, drop=["ssn"])) as keeper:
        asked = {
            "inputs": [
                {"name": "age", "shape": [2], "datatype": "INT64", "data": [2**62, -1]},
                {"name": "ssn", "shape": [2, 1], "datatype": "BYTES", "data": ["secret-1", "secret-2"]},
                {"name": "word", "shape": [2, 1], "datatype": "BYTES", "data": ["über", ""]},
                {"name": "half", "shape": [2, 2], "datatype": "FP16", "data": [0.5, 1, 65504, -2]},
            ]
        }
        assert served.ask(asked).status == 200
        await until(lambda: keeper.chunks)
        (chunk,) = keeper.chunks
        assert [(column.name, column.datatype) for column in chunk.columns] == [
            ("age", "INT64"),
            ("word", "BYTES"),
            ("half", "FP32"),
        ]
        assert values(chunk.columns[0], 2) == [[2**62], [-1]]
        assert (chunk.columns[0].shape, chunk.columns[1].texts) == ([], ["über", ""])
        assert values(chunk.columns[2], 2) == [[0.5, 1.0], [65504.0, -2.0]]
        assert b"secret" not in msgspec.msgpack.encode(chunk)


async def test_where_all_inputs_are_dropped_or_called_as_our_columns_nothing_is_captured(tmp_path, served):
    async with capturing_from(served, msgspec.structs.replace(SOON, drop=["x"])) as keeper:
        assert not keeper.aimed
    named = models.save(
        tmp_path / "row.onnx",
        [helper.make_node("Identity", ["row"], ["y"])],
        {"row": (models.FLOAT, ("N", 3))},
        {"y": (models.FLOAT, ("N", 3))},
    )
    async with capturing_from(Served(named)) as keeper:
        assert not keeper.aimed


async def test_a_slow_ledger_costs_memory_up_to_a_bound_and_answers_nothing(served, monkeypatch):
    monkeypatch.setattr(capturing, "BUFFER_BYTES_MAX", 40_000)
    monkeypatch.setattr(capturing, "CHUNK_BYTES", 10_000)
    async with capturing_from(served) as keeper:
        keeper.gate.clear()
        for number in range(1_000):
            assert served.ask(row(1.0, 0.0, float(number))).status == 200
        await until(lambda: keeper.asked)
        for number in range(1_000):
            assert served.ask(row(1.0, 0.0, float(number))).status == 200
        assert served.counters.capture_dropped > 1_000
        keeper.gate.set()
        await until(lambda: served.counters.captured + served.counters.capture_dropped == 2_000)
        assert sum(chunk.count for chunk in keeper.chunks) == served.counters.captured > 50


async def test_what_the_ledger_refuses_is_dropped_and_what_it_cannot_take_now_comes_again(served, monkeypatch):
    monkeypatch.setattr(capturing, "_PAUSE_SECONDS", 0.001)
    async with capturing_from(served) as keeper:
        keeper.status = 400
        served.ask(row(1.0, 2.0, 3.0))
        await until(lambda: served.counters.capture_dropped == 1)
        assert len(keeper.asked) == 1
        keeper.status = 507
        served.ask(row(1.0, 2.0, 3.0))
        await until(lambda: len(keeper.asked) == 2)
        keeper.status = 204
        await until(lambda: served.counters.captured == 1)


async def test_what_waits_is_forgotten_when_an_input_is_to_be_dropped(served):
    async with capturing_from(served, msgspec.structs.replace(SOON, gather_ms=60_000)) as keeper:
        served.ask(row(1.0, 2.0, 3.0))
        assert not keeper.capturer.aim(
            keeper.url, msgspec.structs.replace(SOON, drop=["x"]), served.model.signature.inputs
        )
        assert served.counters.capture_dropped == 1
        keeper.capturer.aim(keeper.url, SOON, served.model.signature.inputs)
        served.ask(row(4.0, 5.0, 6.0))
        await until(lambda: keeper.chunks)
        assert [values(chunk.columns[0], 1) for chunk in keeper.chunks] == [[[4.0, 5.0, 6.0]]]


async def test_rows_of_a_batch_are_not_those_that_its_buffer_holds_later(served):
    async with capturing_from(served, msgspec.structs.replace(SOON, gather_ms=20)) as keeper:
        for number in range(20):
            served.ask(row(float(number), 0.0, 0.0))
        await until(lambda: sum(chunk.count for chunk in keeper.chunks) == 20)
        found = [numbers[0] for chunk in keeper.chunks for numbers in values(chunk.columns[0], chunk.count)]
        assert found == list(map(float, range(20)))
        assert not any(map(math.isnan, found))


async def test_a_model_without_rows_is_one_row_of_all_its_elements(tmp_path):
    path = models.classifier(tmp_path / "m.onnx")
    served = Served(path, has_rows=False).sign()
    async with capturing_from(served) as keeper:
        sent = identifier(served.ask(row(1.0, 2.0, 3.0)))
        await until(lambda: keeper.chunks)
        (chunk,) = keeper.chunks
        assert (chunk.ids, chunk.rows, values(chunk.columns[0], 1)) == (sent, [], [[1.0, 2.0, 3.0]])
        assert captures.problem(chunk) == ""


async def test_binary_tensors_and_a_batch_of_mixed_forms_are_captured_too(served):
    async with capturing_from(served) as keeper:
        tensor_bytes = np.array([[1.5, 2.5, 3.5]], np.float32).tobytes()
        asked = {
            "inputs": [
                {
                    "name": "x",
                    "shape": [1, 3],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(tensor_bytes)},
                }
            ]
        }
        head = json.dumps(asked).encode()
        lines = f"host: x\r\ninference-header-content-length: {len(head)}\r\n"
        binary = request("/v2/models/m/infer", head + tensor_bytes, head=lines)
        plain = request("/v2/models/m/infer", json.dumps(row(4.0, 5.0, 6.0)).encode())
        transports = [served.send(binary), served.send(plain)]
        served.loop.run()
        assert [answers(transport.sent)[0].status for transport in transports] == [200, 200]
        await until(lambda: served.counters.captured == 2)
        found = [numbers for chunk in keeper.chunks for numbers in values(chunk.columns[0], chunk.count)]
        assert found == [[1.5, 2.5, 3.5], [4.0, 5.0, 6.0]]

"""Requests of the Open Inference Protocol against real models in onnxruntime."""

import json
import math

import numpy as np
import pytest
from leadline_runtime.oip import routes
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor
from tests.unit.runtime.wires import Port, answers, request


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(models.identity(tmp_path_factory.mktemp("model") / "identity.onnx"))


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory):
    path = models.save(
        tmp_path_factory.mktemp("model") / "two.onnx",
        [helper.make_node("Mul", ["a", "b"], ["product"]), helper.make_node("Add", ["a", "b"], ["sum"])],
        {"a": (TensorProto.FLOAT, ("N", 2)), "b": (TensorProto.FLOAT, ("N", 2))},
        {"product": (TensorProto.FLOAT, ("N", 2)), "sum": (TensorProto.FLOAT, ("N", 2))},
    )
    return Served(path)


def test_one_row_is_answered_with_model_revision_and_shape(served):
    answer = served.ask(asking(tensor([1, 2.5, -3], [1, 3])))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {
        "model_name": "m",
        "model_version": "m-1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.5, -3.0]}],
    }


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/m/infer",
        "/v2/models/m/versions/m-1/infer",
        "/v2/models/%6d/infer?a=b",
        "http://x:80/v2/models/m/infer",
    ],
)
def test_the_model_is_found_by_name_and_by_version(served, path):
    assert served.ask(asking(tensor([1, 2, 3], [1, 3])), path).status == 200


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]], ids=["flat", "nested"])
def test_data_may_be_flat_or_nested(served, data):
    (output,) = json.loads(served.ask(asking(tensor(data, [2, 3]))).body)["outputs"]
    assert (output["shape"], output["data"]) == ([2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_one_nested_row_and_an_id_come_back(served):
    told = json.loads(served.ask(asking(tensor([[1, 2, 3]], [1, 3]), id='q"1')).body)
    assert told["id"] == 'q"1'
    assert told["outputs"][0]["data"] == [1.0, 2.0, 3.0]


def test_more_rows_than_one_run_may_have_are_answered_in_one_piece(served):
    data = np.arange(75, dtype="float32").reshape(25, 3)
    (output,) = json.loads(ask_aside(served, asking(tensor(data.tolist(), [25, 3]))))["outputs"]
    assert (output["shape"], output["data"]) == ([25, 3], data.ravel().tolist())


def ask_aside(served, body):
    """Ask what the batcher gives to its thread, running it here."""
    transport = served.send(request("/v2/models/m/infer", json.dumps(body).encode()))
    (batch,) = served.batcher.waiting
    served.batcher.waiting.clear()
    served.loop.soon.clear()
    served.batcher._scheduled = False
    served.batcher._run_here(batch, batch.created)
    return answers(transport.sent)[0].body


def test_parameters_are_accepted(served):
    body = asking(tensor([1, 2, 3], [1, 3], parameters={"a": 1}), parameters={"b": True})
    assert served.ask(body).status == 200


def test_several_inputs_are_told_apart_by_name(two_inputs):
    body = asking(tensor([3, 4], [1, 2], "b"), tensor([1, 2], [1, 2], "a"))
    product, total = json.loads(two_inputs.ask(body).body)["outputs"]
    assert (product["name"], product["data"]) == ("product", [3.0, 8.0])
    assert (total["name"], total["data"]) == ("sum", [4.0, 6.0])


def test_only_the_outputs_asked_for_come_in_the_order_asked_for(two_inputs):
    body = asking(tensor([3, 4], [1, 2], "b"), tensor([1, 2], [1, 2], "a"), outputs=[{"name": "sum"}], id="1")
    told = json.loads(two_inputs.ask(body).body)
    assert [output["name"] for output in told["outputs"]] == ["sum"]
    both = asking(*body["inputs"], outputs=[{"name": "sum"}, {"name": "product"}])
    assert [output["name"] for output in json.loads(two_inputs.ask(both).body)["outputs"]] == ["sum", "product"]


BAD = {
    "a list": ([], "body: expected a JSON object, got a list"),
    "no JSON": (b"inputs=1", "body: expected a JSON object; unexpected character"),
    "nothing": (b"", "body: expected a JSON object, got nothing"),
    "NaN token": (
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[NaN,1,2]}]}',
        "body: expected a JSON",
    ),
    "not UTF-8": (b'{"inputs":"\xff"}', "body: expected a JSON object"),
    "no inputs": ({}, 'inputs: expected a list of "x", got nothing'),
    "empty inputs": ({"inputs": []}, 'inputs: "x" is missing'),
    "input is no object": ({"inputs": [1]}, "inputs[0]: expected an object, got a number"),
    "wrong name": (asking(tensor([1, 2, 3], [1, 3], "z")), 'inputs[0].name: expected "x", got "z"'),
    "same twice": (asking(*[tensor([1, 2, 3], [1, 3])] * 2), 'inputs[1].name: "x" is given twice'),
    "wrong datatype": (asking(tensor([1, 2, 3], [1, 3], datatype="FP64")), 'expected datatype FP32, got "FP64"'),
    "wrong shape": (asking(tensor([1, 2, 3, 4], [1, 4])), "expected shape [-1, 3], got [1,4]"),
    "wrong rank": (asking(tensor([1, 2, 3], [3])), "expected shape [-1, 3], got [3]"),
    "no shape": (asking({"name": "x", "datatype": "FP32", "data": [1]}), "expected shape [-1, 3]"),
    "boolean shape": (asking(tensor([1, 2, 3], [True, 3])), "expected shape [-1, 3]"),
    "negative shape": (asking(tensor([1, 2, 3], [-1, 3])), "expected shape [-1, 3]"),
    "fractional shape": (asking(tensor([1, 2, 3], [1.5, 3])), "expected shape [-1, 3]"),
    "no rows": (asking(tensor([], [0, 3])), "expected at least one row and one element, got shape [0, 3]"),
    "too few elements": (asking(tensor([1, 2], [1, 3])), "expected 3 elements for shape [1, 3], got 2"),
    "data is text": (asking(tensor("123", [1, 3])), "expected data as a list, got a string"),
    "ragged": (asking(tensor([[1, 2, 3], [4, 5]], [2, 3])), "expected data flat or nested as shape [2, 3]"),
    "nested otherwise": (asking(tensor([[1, 2], [3, 4], [5, 6]], [2, 3])), "expected data flat or nested as shape"),
    "too deep": (asking(tensor([[[1], [2], [3]]], [1, 3])), "element 0: expected numbers for FP32, got [1]"),
    "text element": (asking(tensor([1, "2", 3], [1, 3])), 'element 1: expected numbers for FP32, got "2"'),
    "boolean element": (asking(tensor([1, True, 3], [1, 3])), "element 1: expected numbers for FP32, got true"),
    "overflow": (asking(tensor([1, 1e39, 3], [1, 3])), "element 1, 1e+39, is too large for FP32"),
    "overflow in rows": (asking(tensor([1, 1e39, 3] * 2, [2, 3])), "element 1, 1e+39, is too large for FP32"),
    "id is a number": (asking(tensor([1, 2, 3], [1, 3]), id=1), "id: expected a string, got a number"),
    "parameters are a list": (asking(tensor([1, 2, 3], [1, 3]), parameters=[]), "parameters: expected an object"),
    "unknown output": (
        asking(tensor([1, 2, 3], [1, 3]), outputs=[{"name": "z"}]),
        'outputs[0].name: expected "y", got "z"',
    ),
    "outputs are text": (asking(tensor([1, 2, 3], [1, 3]), outputs="y"), "outputs: expected a list, got a string"),
    "deep nesting": (b"[" * 100_000, "body: expected a JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_request_is_told_what_was_expected(served, case):
    body, said = BAD[case]
    answer = served.ask(body)
    assert answer.status == 400
    assert said in json.loads(answer.body)["error"]
    assert served.ask(asking(tensor([1, 2, 3], [1, 3]))).status == 200, "the next request is answered"


def test_inputs_with_different_numbers_of_rows_are_refused(two_inputs):
    answer = two_inputs.ask(asking(tensor([1, 2], [1, 2], "a"), tensor([1, 2, 3, 4], [2, 2], "b")))
    assert answer.status == 400
    assert "the same number of rows" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/v2/models/m/infer", 405, "expected POST"),
        ("POST", "/v2/models/m", 405, "expected GET, HEAD"),
        ("GET", "/v2/models/m/stats", 404, "the admin port has them under /metrics"),
        ("GET", "/v2/models/m/versions/m-1/x", 404, "there is no path /v2/models/m/versions/m-1/x"),
        ("POST", "/v2/models/z/infer", 404, 'there is no model "z" here; this pod serves "m"'),
        ("POST", "/v2/models/m/versions/m-2/infer", 404, 'no version "m-2" here; this pod serves "m-1"'),
        ("GET", "/", 404, "/v2/health/ready"),
    ],
)
def test_a_wrong_path_or_method_is_told_the_right_one(served, method, path, status, said):
    answer = served.ask(b"", path, method=method)
    assert answer.status == status
    assert said in json.loads(answer.body)["error"]


def test_metadata_and_health_follow_the_protocol(served):
    def got(path):
        return json.loads(served.ask(b"", path, method="GET").body)

    assert got("/v2/health/live") == {"live": True}
    assert got("/v2/health/ready") == {"ready": True}
    assert got("/v2/models/m/ready") == got("/v2/models/m/versions/m-1/ready") == {"name": "m", "ready": True}
    assert got("/v2/models/m") == {
        "name": "m",
        "versions": ["m-1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert got("/v2")["name"] == "leadline"
    assert got("/v2")["extensions"] == ["binary_tensor_data", "model_configuration", "model_repository"]
    assert got("/v2/models/m/config") == got("/v2/models/m/versions/m-1/config")
    assert got("/v2/models/m/config") == {
        "name": "m",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": ["m-1"]}},
        "max_batch_size": 8,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [3]}],
    }


INDEX = [{"name": "m", "version": "m-1", "state": "READY", "reason": ""}]
WAITING = [{"name": "m", "version": "m-1", "state": "UNAVAILABLE", "reason": "the model is being fetched"}]


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"ready":false}', b'{"ready":true}'])
def test_the_repository_index_has_the_model_and_can_leave_out_what_is_not_ready(served, body):
    assert json.loads(served.ask(body, "/v2/repository/index").body) == INDEX
    waiting = Served(None, model=served.model, attached=False)
    assert json.loads(waiting.ask(body, "/v2/repository/index").body) == ([] if b"true" in body else WAITING)


@pytest.mark.parametrize("body", [b"ready", b"[]", b'{"ready":1}', b'{"ready":null}'])
def test_an_index_asked_for_wrongly_is_told_what_was_expected(served, body):
    answer = served.ask(body, "/v2/repository/index")
    assert answer.status == 400
    assert "body: expected nothing or" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_loading_is_the_model_deployments_to_say(served, verb):
    answer = served.ask(b"{}", f"/v2/repository/models/m/{verb}")
    assert answer.status == 403
    assert "its ModelDeployment says" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("data", [[None, 2.5, 3], [[None, 2.5, 3]]], ids=["flat", "nested"])
def test_null_is_a_missing_number(tmp_path, data):
    path = models.save(
        tmp_path / "isnan.onnx",
        [helper.make_node("IsNaN", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ("N", 3))},
        {"y": (TensorProto.BOOL, ("N", 3))},
    )
    (output,) = json.loads(Served(path).ask(asking(tensor(data, [1, 3]))).body)["outputs"]
    assert output["data"] == [True, False, False]


ELEMENTS = {
    "FP16": (TensorProto.FLOAT16, [0.5, -2.0, 65504.0], [1e5]),
    "BF16": (TensorProto.BFLOAT16, [0.5, -2.0, 128.0], [3.4e38, 1e39, "1"]),
    "FP32": (TensorProto.FLOAT, [0.5, -2.0, 1.0], [1e39]),
    "FP64": (TensorProto.DOUBLE, [0.1, -2.0, 1e300], ["1"]),
    "INT8": (TensorProto.INT8, [-128, 0, 127], [128]),
    "INT16": (TensorProto.INT16, [-32768, 0, 32767], [32768]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1], [2**31]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1], [2**63, 1.5]),
    "UINT8": (TensorProto.UINT8, [0, 1, 255], [-1, 256]),
    "UINT16": (TensorProto.UINT16, [0, 1, 65535], [-1]),
    "UINT32": (TensorProto.UINT32, [0, 1, 2**32 - 1], [-1]),
    "UINT64": (TensorProto.UINT64, [0, 1, 2**64 - 1], [-1, 2**64]),
    "BOOL": (TensorProto.BOOL, [True, False, True], [1, "true"]),
    "BYTES": (TensorProto.STRING, ["a", "ü\n", "%b true"], [1, None]),
}


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_every_datatype_comes_back_as_it_was_sent(datatype, tmp_path):
    element, values, wrong = ELEMENTS[datatype]
    served = Served(models.identity(tmp_path / "m.onnx", element))
    for rows in (1, 2):
        answer = served.ask(asking(tensor(values * rows, [rows, 3], datatype=datatype)))
        assert answer.status == 200, answer.body
        (output,) = json.loads(answer.body)["outputs"]
        assert (output["datatype"], output["shape"], output["data"]) == (datatype, [rows, 3], values * rows)
    for value in wrong:
        for rows in (1, 2):
            body = asking(tensor([*values[:2], value] + values * (rows - 1), [rows, 3], datatype=datatype))
            answer = served.ask(body)
            assert answer.status == 400, (value, answer.body)
            assert "element 2" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("shape", "sent", "data"),
    [
        ((), [], [7.0]),
        (("N",), [4], [1.0, 2.0, 3.0, 4.0]),
        (("N",), [1], [1.0]),
        (("N", 1), [2, 1], [1.0, 2.0]),
        ((2, 2), [2, 2], [1.0, 2.0, 3.0, 4.0]),
        (("N", 2, 2), [1, 2, 2], [1.0, 2.0, 3.0, 4.0]),
        (("N", "H", "W"), [1, 1, 3], [1.0, 2.0, 3.0]),
        ((1, "K"), [1, 2], [1.0, 2.0]),
        ((1, "K"), [1, 0], []),
        (("A", 2), [0, 2], []),
    ],
)
def test_scalars_vectors_fixed_free_and_empty_shapes_come_back(shape, sent, data, tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", shape=shape), has_rows=bool(data))
    answer = served.ask(asking(tensor(data, sent)))
    assert answer.status == 200, answer.body
    (output,) = json.loads(answer.body)["outputs"]
    assert (output["shape"], output["data"]) == (sent, data)
    nested = np.reshape(data, sent).tolist()
    if isinstance(nested, list):
        assert json.loads(served.ask(asking(tensor(nested, sent))).body)["outputs"] == [output]


def test_an_answer_that_is_not_finite_is_the_models_failure_for_its_own_row_only(tmp_path):
    path = models.save(
        tmp_path / "log.onnx",
        [helper.make_node("Log", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ("N", 1))},
        {"y": (TensorProto.FLOAT, ("N", 1))},
    )
    served = Served(path)
    sent = [
        served.send(request("/v2/models/m/infer", json.dumps(asking(tensor([x], [1, 1]))).encode())) for x in (1, 0, -1)
    ]
    served.loop.run()
    got = [answers(transport.sent)[0] for transport in sent]
    assert [answer.status for answer in got] == [200, 500, 500]
    assert "not finite" in json.loads(got[1].body)["error"]
    assert (served.counters.requests, served.counters.failures, served.counters.batches) == (3, 2, 1)
    assert served.ask(asking(tensor([1, 0], [2, 1]))).status == 500
    assert math.isclose(json.loads(served.ask(asking(tensor([1, 1], [2, 1]))).body)["outputs"][0]["data"][1], 0.0)


def test_a_run_that_fails_is_a_500_that_says_why(tmp_path):
    path = models.save(
        tmp_path / "gather.onnx",
        [
            helper.make_node(
                "Constant", [], ["table"], value=helper.make_tensor("t", TensorProto.FLOAT, [2], [5.0, 6.0])
            ),
            helper.make_node("Gather", ["table", "x"], ["y"]),
        ],
        {"x": (TensorProto.INT64, ("N", 1))},
        {"y": (TensorProto.FLOAT, ("N", 1))},
    )
    served = Served(path)
    assert json.loads(served.ask(asking(tensor([1], [1, 1], datatype="INT64"))).body)["outputs"][0]["data"] == [6.0]
    answer = served.ask(asking(tensor([2], [1, 1], datatype="INT64")))
    assert answer.status == 500
    assert "the model failed" in json.loads(answer.body)["error"]
    assert served.counters.failures == 1


def test_a_model_without_rows_is_run_request_by_request(tmp_path):
    path = models.save(
        tmp_path / "sum.onnx",
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        {"x": (TensorProto.FLOAT, ("N",))},
        {"y": (TensorProto.FLOAT, ())},
    )
    served = Served(path)
    assert not served.model.signature.has_rows
    sent = [
        served.send(request("/v2/models/m/infer", json.dumps(asking(tensor([x, x], [2]))).encode())) for x in (1, 2)
    ]
    served.loop.run()
    results = [json.loads(answers(transport.sent)[0].body)["outputs"][0] for transport in sent]
    assert [(output["shape"], output["data"]) for output in results] == [([], [2.0]), ([], [4.0])]
    assert served.counters.batches == 2


def test_hundreds_of_requests_that_are_sent_ahead_are_answered_however_deep_they_wait(tmp_path):
    served = Served(models.identity(tmp_path / "identity.onnx"))
    sent = request("/v2/models/m/infer", json.dumps(asking(tensor([1, 2, 3], [1, 3]))).encode())
    following = b"GET /v2 HTTP/1.1\r\nhost:\r\n\r\n" * 280
    transport = served.send(sent + following)
    served.loop.run()
    assert [answer.status for answer in answers(transport.sent)] == [200] * 281


@pytest.mark.parametrize("shape", [[0, 2**52, 2**52], [2**52, 2**52, 0], [2**30, 0, 2**30]])
def test_an_empty_tensor_with_lengths_that_no_array_has_is_refused(shape, tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", shape=("A", "B", "C")), has_rows=False)
    for answer in (
        served.ask(asking(tensor([], shape))),
        served.ask_binary(
            asking({"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": 0}})
        ),
    ):
        assert answer.status == 400
        assert "expected lengths whose product" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("length", [1, 63, 180, 185, 189, 253])
@pytest.mark.parametrize("version", ["7", "7/infer", "", "7" * 300])
def test_another_version_of_a_model_with_a_long_name_is_told_which_one_is_served(length, version):
    port = Port()
    port.server.app = routes.Routes("m" * length, "m-1").handle
    connection, transport = port.connect()
    connection.data_received(request(f"/v2/models/{'m' * length}/versions/{version}"))
    (answer,) = answers(transport.sent)
    assert answer.status == 404
    assert 'this pod serves "m-1"' in json.loads(answer.body)["error"]
    assert len(answer.body) < 700


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("row_layout", [True, False])
@pytest.mark.parametrize("has_rows", [True, False])
@pytest.mark.parametrize("is_binary", [True, False])
def test_what_waits_is_bounded_by_the_bytes_of_its_bodies_too(tmp_path, rows, row_layout, has_rows, is_binary):
    path = models.identity(tmp_path / "m.onnx")
    served = Served(path, max_queue_bytes=1_000_000, row_layout=row_layout, has_rows=has_rows)
    given = tensor([0] * 3 * rows, [rows, 3])
    if is_binary:
        given["parameters"] = {"binary_data_size": 12 * rows}
        del given["data"]
    text = json.dumps(asking(given)).encode() + b" " * 300_000
    head = f"host: x\r\ninference-header-content-length: {len(text)}\r\n" if is_binary else "host: x\r\n"
    sent = request("/v2/models/m/infer", text + bytes(12 * rows) * is_binary, head=head)
    transports = [served.send(sent) for _ in range(6)]
    served.loop.run()
    assert [answers(transport.sent)[0].status for transport in transports] == [200] * 3 + [429] * 3
    assert (served.batcher.queue_rows, served.batcher.queue_bytes) == (0, 0)
    assert [answers(served.send(sent).sent), served.loop.run()] == [[], None], "there is room again"


@pytest.mark.parametrize("row_layout", [False, True], ids=["arrays", "packed"])
def test_requests_that_are_not_finite_themselves_are_counted_apart_from_failures(tmp_path, row_layout):
    served = Served(models.identity(tmp_path / "m.onnx"), row_layout=row_layout)
    copied = {"head": "leadline-copy: 1\r\n", "own": True}
    assert [served.ask(asking(tensor([None, 1, 2], [1, 3])), **more).status for more in ({}, copied)] == [400, 400]
    assert (served.counters.requests, served.counters.failures, served.counters.unanswerable) == (1, 0, 1)

"""The binary tensor data extension against real models: raw tensors in and out, beside JSON in one run, and copied whole."""

import json
import struct

import numpy as np
import pytest
from leadline_runtime.oip import forms
from leadline_wire import receipts
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor, told
from tests.unit.runtime.wires import answers, request

ALL = {"binary_data_output": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(models.identity(tmp_path_factory.mktemp("model") / "identity.onnx"))


@pytest.fixture
def classifier(tmp_path):
    return Served(models.classifier(tmp_path / "classifier.onnx"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A model with two inputs and two outputs."""
    tensors = dict.fromkeys(("a", "b", "product", "sum"), (TensorProto.FLOAT, ("N", 2)))
    path = models.save(
        tmp_path_factory.mktemp("model") / "two.onnx",
        [helper.make_node("Mul", ["a", "b"], ["product"]), helper.make_node("Add", ["a", "b"], ["sum"])],
        {name: tensors[name] for name in ("a", "b")},
        {name: tensors[name] for name in ("product", "sum")},
    )
    return Served(path)


def raw(size, shape, name="x", datatype="FP32"):
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


def floats(*values):
    return np.array(values, "<f4").tobytes()


def whole(header, tensors, path="/v2/models/m/infer", more=""):
    """Return a request with raw tensors as it goes over the wire."""
    text = json.dumps(header).encode()
    head = f"host: x\r\ninference-header-content-length: {len(text)}\r\n{more}"
    return request(path, text + tensors, head=head)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_raw_tensors_come_back_raw_where_that_was_asked_for(served, rows):
    data = floats(*range(3 * rows))
    header, tensors = told(served.ask_binary(asking(raw(12 * rows, [rows, 3]), parameters=ALL, id='q"1'), data))
    assert header == {
        "model_name": "m",
        "model_version": "m-1",
        "id": 'q"1',
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": 12 * rows}}
        ],
    }
    assert tensors == {"y": data}


def test_raw_tensors_are_answered_in_json_unless_asked_for_raw(served):
    answer = served.ask_binary(asking(raw(12, [1, 3])), floats(1, 2.5, -3))
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.0, 2.5, -3.0]


def test_json_is_answered_raw_where_that_was_asked_for(served):
    _, tensors = told(served.ask(asking(tensor([1, 2.5, -3], [1, 3]), parameters=ALL)))
    assert tensors == {"y": floats(1, 2.5, -3)}


@pytest.mark.parametrize("rows", [1, 3])
def test_json_and_raw_tensors_mix_in_one_request_and_one_answer(two, rows):
    a, b = np.arange(2 * rows, dtype="<f4"), np.arange(2 * rows, dtype="<f4") + 1
    header = asking(
        tensor(a.tolist(), [rows, 2], "a"),
        raw(8 * rows, [rows, 2], "b"),
        outputs=[{"name": "sum", "parameters": {"binary_data": True}}, {"name": "product"}],
    )
    header, tensors = told(two.ask_binary(header, b.tobytes()))
    assert [output["name"] for output in header["outputs"]] == ["sum", "product"]
    assert header["outputs"][1]["data"] == (a * b).tolist()
    assert tensors == {"sum": (a + b).tobytes()}


def test_an_output_may_be_asked_for_in_json_where_the_others_are_raw(two):
    outputs = [{"name": "sum"}, {"name": "product", "parameters": {"binary_data": False}}]
    header = asking(raw(8, [1, 2], "a"), raw(8, [1, 2], "b"), outputs=outputs, parameters=ALL)
    header, tensors = told(two.ask_binary(header, floats(1, 2, 3, 4)))
    assert tensors == {"sum": floats(4, 6)}
    assert header["outputs"][1]["data"] == [3.0, 8.0]


def test_requests_of_different_forms_share_a_run_and_each_gets_its_own(classifier):
    classifier.sign()
    label = {"outputs": [{"name": "label", "parameters": {"binary_data": True}}]}

    def row(place):
        return [float(number == place) for number in range(3)]

    sent = [
        classifier.send(part)
        for part in (
            request("/v2/models/m/infer", json.dumps(asking(tensor(row(0), [1, 3]))).encode()),
            whole(asking(raw(12, [1, 3]), parameters=ALL), floats(*row(1))),
            request("/v2/models/m/infer", json.dumps(asking(tensor(row(2), [1, 3]), id="c")).encode()),
            whole(asking(raw(12, [1, 3]), parameters=ALL, id="d"), floats(*row(2))),
            whole(asking(raw(12, [1, 3]), **label), floats(*row(0))),
            whole(asking(raw(12, [1, 3])), floats(*row(1))),
        )
    ]
    classifier.loop.run()
    got = [answers(transport.sent)[0] for transport in sent]
    assert (classifier.counters.requests, classifier.counters.batches) == (6, 1)
    json_answers = [json.loads(got[place].body) for place in (0, 2, 5)]
    assert [answer["outputs"][0]["data"] for answer in json_answers] == [[0], [2], [1]]
    assert [answer.get("id") for answer in json_answers] == [None, "c", None]
    binary = [told(got[place]) for place in (1, 3, 4)]
    assert [tensors["label"] for _, tensors in binary] == [struct.pack("<q", place) for place in (1, 2, 0)]
    assert [sorted(tensors) for _, tensors in binary] == [["label", "y"], ["label", "y"], ["label"]]
    assert [header.get("id") for header, _ in binary] == [None, "d", None]
    found = [receipts.verify(answer.headers[receipts.HEADER], {models.KEY.id: models.KEY}) for answer in got]
    assert [receipt.predictions[0] for receipt in found] == ["i0", "i1", "i2", "i2", "i0", "i1"]
    for (header, _), place in zip(binary, (1, 3, 4), strict=True):
        assert header["parameters"] == {"receipt": got[place].headers[receipts.HEADER]}


@pytest.mark.parametrize("more", [{}, {"id": "a"}], ids=["bare", "with id"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_binary_answer_has_its_receipt_in_parameter_and_for_one_row_in_the_header(classifier, rows, more):
    classifier.sign()
    header = asking(raw(12 * rows, [rows, 3]), parameters=ALL, **more)
    answer = classifier.ask_binary(header, floats(*[0, 1, 0] * rows))
    found, _ = told(answer)
    receipt = found["parameters"]["receipt"]
    assert answer.headers.get(receipts.HEADER) == (receipt if rows == 1 else None)
    assert receipts.verify(receipt, {models.KEY.id: models.KEY}).predictions == dict.fromkeys(range(rows), "i1")


class Copies:
    """Stands for the other revision's lane: keeps what is offered."""

    def __init__(self):
        self.requests = []

    def offer(self, bodies, ids, words):
        self.requests += bodies


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("row_layout", [True, False])
def test_a_copy_of_a_binary_request_is_the_same_request(tmp_path, rows, row_layout):
    served = Served(models.classifier(tmp_path / "m.onnx"), row_layout=row_layout).sign()
    served.recorder.copier = copies = Copies()
    sent = [
        served.send(whole(asking(raw(12 * rows, [rows, 3]), parameters=ALL), floats(*[0, 1, 0] * rows))),
        served.send(whole(asking(raw(12 * rows, [rows, 3])), floats(*[0, 0, 1] * rows))),
    ]
    served.loop.run()
    assert all(answers(transport.sent)[0].status == 200 for transport in sent)
    assert [type(copy) for copy in copies.requests] == [forms.Headed] * 2
    words = []
    for copy in copies.requests:
        head = f"host: x\r\n{copy.lines.decode()}leadline-copy: 1\r\n"
        transport = served.send(request("/v2/models/m/infer", copy.body, head=head), own=True)
        served.loop.run()
        words.append(answers(transport.sent)[0].body)
    assert words == [b"~".join([word] * rows) for word in (b"i1", b"i2")]


ONE = asking(raw(12, [1, 3]))
BAD = {
    "too few bytes": (ONE, floats(1, 2), 'input "x": expected 12 bytes (binary_data_size), 8 are left'),
    "too many bytes": (ONE, floats(1, 2, 3, 4), "body: 4 bytes after the last input's"),
    "size and shape differ": (
        asking(raw(8, [1, 3])),
        floats(1, 2),
        "expected 12 bytes for shape [1, 3] of FP32, got 8",
    ),
    "size is text": (asking(raw("12", [1, 3])), floats(1, 2, 3), 'binary_data_size: expected a length, got "12"'),
    "size is negative": (asking(raw(-1, [1, 3])), floats(1, 2, 3), "binary_data_size: expected a length, got -1"),
    "size is no whole number": (asking(raw(1.5, [1, 3])), b"", "binary_data_size: expected a length, got 1.5"),
    "size is true": (asking(raw(True, [1, 3])), b"", "binary_data_size: expected a length, got true"),
    "data as well": (
        asking({**raw(12, [1, 3]), "data": [1, 2, 3]}),
        floats(1, 2, 3),
        "expected either data or binary_data_size, got both",
    ),
    "no data": (asking({"name": "x", "shape": [1, 3], "datatype": "FP32"}), b"", "expected data as a list"),
    "wrong datatype": (asking(raw(24, [1, 3], datatype="FP64")), bytes(24), "expected datatype FP32"),
    "wrong shape": (asking(raw(16, [1, 4])), bytes(16), "expected shape [-1, 3], got [1,4]"),
    "flag is text": (
        {**ONE, "parameters": {"binary_data_output": "yes"}},
        floats(1, 2, 3),
        "binary_data_output: expected",
    ),
    "output's flag is a number": (
        {**ONE, "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]},
        floats(1, 2, 3),
        "outputs[0].parameters.binary_data: expected true or false, got 1",
    ),
    "parameters are a list": ({**ONE, "parameters": []}, floats(1, 2, 3), "parameters: expected an object"),
    "no JSON": (b"inputs=1", floats(1, 2, 3), "body: expected a JSON object"),
    "an empty header": (b"", floats(1, 2, 3), "body: expected a JSON object, got nothing"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_binary_request_is_told_what_was_expected(served, case):
    header, data, said = BAD[case]
    answer = served.ask_binary(header, data)
    assert answer.status == 400
    assert said in json.loads(answer.body)["error"]


@pytest.mark.parametrize("length", ["", "x", "-1", "1.0", "9" * 40, "10000", "2, 2"])
def test_a_header_length_that_is_none_is_refused(served, length):
    answer = served.ask(b'{"inputs":[]}', head=f"inference-header-content-length: {length}\r\n")
    assert answer.status == 400
    assert "inference-header-content-length: expected 0 to 13" in json.loads(answer.body)["error"]


def test_raw_tensors_without_the_header_are_refused(served):
    answer = served.ask(asking(raw(12, [1, 3])))
    assert answer.status == 400
    assert "no header inference-header-content-length" in json.loads(answer.body)["error"]


DATATYPES = {
    "FP16": (TensorProto.FLOAT16, np.array([0.5, np.nan, -np.inf], "<f2").tobytes()),
    "BF16": (TensorProto.BFLOAT16, struct.pack("<3H", 0x3F80, 0x7FC1, 0xFF80)),
    "FP32": (TensorProto.FLOAT, np.array([0.5, np.nan, -np.inf], "<f4").tobytes()),
    "FP64": (TensorProto.DOUBLE, np.array([1e-300, np.nan, np.inf], "<f8").tobytes()),
    "INT8": (TensorProto.INT8, struct.pack("<3b", -128, 0, 127)),
    "INT16": (TensorProto.INT16, struct.pack("<3h", -(2**15), 0, 2**15 - 1)),
    "INT32": (TensorProto.INT32, struct.pack("<3i", -(2**31), 0, 2**31 - 1)),
    "INT64": (TensorProto.INT64, struct.pack("<3q", -(2**63), 0, 2**63 - 1)),
    "UINT8": (TensorProto.UINT8, struct.pack("<3B", 0, 1, 2**8 - 1)),
    "UINT16": (TensorProto.UINT16, struct.pack("<3H", 0, 1, 2**16 - 1)),
    "UINT32": (TensorProto.UINT32, struct.pack("<3I", 0, 1, 2**32 - 1)),
    "UINT64": (TensorProto.UINT64, struct.pack("<3Q", 0, 1, 2**64 - 1)),
    "BOOL": (TensorProto.BOOL, b"\1\0\1"),
    "BYTES": (
        TensorProto.STRING,
        b"".join(struct.pack("<I", len(text)) + text for text in (b"", b"a\n", "ü".encode())),
    ),
}


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("rows", [1, 2])
def test_every_datatype_comes_back_bit_for_bit(datatype, rows, tmp_path):
    element, data = DATATYPES[datatype]
    served = Served(models.identity(tmp_path / "m.onnx", element))
    answer = served.ask_binary(asking(raw(len(data) * rows, [rows, 3], datatype=datatype), parameters=ALL), data * rows)
    assert told(answer)[1] == {"y": data * rows}


@pytest.mark.parametrize(
    ("datatype", "data", "said"),
    [
        ("BOOL", b"\1\2\0", "element 1: expected 0 or 1 for BOOL, got 2"),
        ("BYTES", struct.pack("<I", 1) + b"\xff" + bytes(8), "element 0: expected UTF-8"),
        ("BYTES", struct.pack("<I", 9) + b"a", "element 0: expected 9 bytes as its length says, got 1"),
        ("BYTES", bytes(4) + b"\1\0", "element 1: expected 4 bytes of length, got 2"),
        ("BYTES", bytes(8), "expected 3 elements for its shape, got 2"),
        ("BYTES", bytes(16), "expected 3 elements for its shape, got more than 3"),
    ],
)
def test_a_raw_tensor_that_is_none_of_its_datatype_is_refused(datatype, data, said, tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", DATATYPES[datatype][0]))
    answer = served.ask_binary(asking(raw(len(data), [1, 3], datatype=datatype)), data)
    assert answer.status == 400
    assert said in json.loads(answer.body)["error"]


def test_only_json_fails_on_a_number_that_is_not_finite(tmp_path):
    path = models.save(
        tmp_path / "log.onnx",
        [helper.make_node("Log", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])],
        {"x": (TensorProto.FLOAT, ("N", 1))},
        {"y": (TensorProto.FLOAT, ("N", 1)), "z": (TensorProto.FLOAT, ("N", 1))},
    )
    served = Served(path)
    mixed = [{"name": "y"}, {"name": "z", "parameters": {"binary_data": True}}]
    headers = [
        asking(raw(4, [1, 1]), **more) for more in ({"parameters": ALL}, {"outputs": mixed}, {"outputs": mixed[1:]}, {})
    ]
    sent = [served.send(whole(header, floats(-1))) for header in headers]
    served.loop.run()
    assert [answers(transport.sent)[0].status for transport in sent] == [200, 500, 200, 500]
    assert (served.counters.batches, served.counters.failures) == (1, 2)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("has_rows", [True, False])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_the_client_sent_are_not_the_models_failure(tmp_path, rows, has_rows, number):
    served = Served(models.identity(tmp_path / "model.onnx"), has_rows=has_rows)
    data = floats(*[1.0] * (3 * rows - 1), number)
    answer = served.ask_binary(asking(raw(12 * rows, [rows, 3])), data)
    assert (answer.status, served.counters.failures) == (400, 0)
    assert "data holds elements that are not finite" in json.loads(answer.body)["error"]
    assert served.ask(asking(tensor([1, 2, 3], [1, 3]))).status == 200


@pytest.mark.parametrize("row_layout", [True, False])
def test_true_is_no_length_however_the_request_is_read(tmp_path, row_layout):
    path = models.identity(tmp_path / "m.onnx", TensorProto.INT8, ("N", 1))
    served = Served(path, row_layout=row_layout)
    for shape, size in (([True, 1], 1), ([1, True], 1), ([1, 1], True)):
        answer = served.ask_binary(asking(raw(size, shape, datatype="INT8")), b"\x01")
        assert answer.status == 400, (shape, size)
    assert served.ask_binary(asking(raw(1, [1, 1], datatype="INT8")), b"\x01").status == 200

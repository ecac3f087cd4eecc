"""ModelInfer against real models: raw and typed, every datatype, in one run with REST, with receipts, copies and deadlines."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_runtime.grpc import answering, framing, protocol
from leadline_runtime.oip import datatypes, forms
from leadline_wire import receipts
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.called import usual_client
from tests.unit.runtime.models import KEY, Served, asking, tensor
from tests.unit.runtime.wires import answers, request

KEYS = {KEY.id: KEY}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def served(folder):
    return Served(models.identity(folder / "identity.onnx"))


@pytest.fixture(scope="module")
def learning(served):
    """A client whose requests are all of one port, which learns of them."""
    return usual_client(served)


@pytest.fixture
def classifier(tmp_path):
    return Served(models.classifier(tmp_path / "m.onnx"))


def infer_request(*numbers, shape=None, typed=False, **more):
    message = protocol.InferRequest(model_name="m", **more)
    given = message.inputs.add(name="x", datatype="FP32", shape=shape or [len(numbers) // 3, 3])
    if typed:
        given.contents.fp32_contents.extend(numbers)
    else:
        message.raw_input_contents.append(struct.pack(f"<{len(numbers)}f", *numbers))
    return message


def floats(raw):
    return np.frombuffer(raw, "<f4").tolist()


def test_raw_is_answered_raw_and_typed_is_answered_typed(served):
    client = usual_client(served)
    raw = client.call(infer_request(1, 2, 3)).answer
    assert (raw.model_name, raw.model_version, raw.id) == ("m", "m-1", "")
    (output,) = raw.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [1, 3])
    assert not output.HasField("contents")
    assert floats(raw.raw_output_contents[0]) == [1, 2, 3]
    typed = client.call(infer_request(1, 2, 3, typed=True)).answer
    assert list(typed.outputs[0].contents.fp32_contents) == [1, 2, 3]
    assert list(typed.raw_output_contents) == []


def test_a_beginning_that_was_seen_is_not_parsed_again_and_means_the_same(served):
    client = usual_client(served)
    for number in range(5):
        answer = client.call(infer_request(number, 0, 1)).answer
        assert floats(answer.raw_output_contents[0]) == [number, 0, 1]
    assert len(client.predictions._known) == 1
    assert floats(client.call(infer_request(1, 2, 3, 4, 5, 6)).answer.raw_output_contents[0]) == [1, 2, 3, 4, 5, 6]
    # The tensor is not at the end here, so nothing is learned of it.
    odd = infer_request(7, 8, 9).SerializeToString() + b"\xfa\x7f\x0e\x3a\x0c" + bytes(12)
    for _ in range(2):
        assert floats(client.call(odd).answer.raw_output_contents[0]) == [7, 8, 9]
    assert len(client.predictions._known) == 1


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3),
    st.lists(
        st.sampled_from(
            [
                b"\x0a\x01m",
                b"\x0a\x01n",
                b"\x12\x03m-1",
                b"\x12\x01x",
                b"\x1a\x01i",
                b"\x32\x03\x0a\x01y",
                b"\x32\x03\x0a\x01z",
                b"\x3a\x0c" + bytes(12),
                b"\x3a\x00",
                b"\xfa\x7f\x0e\x3a\x0c" + bytes(12),
                b"\x22\x00",
            ]
        ),
        max_size=3,
    ),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_what_was_learned_changes_no_answer(learning, numbers, parts, is_before):
    whole = infer_request(*numbers).SerializeToString()
    body = b"".join(parts) + whole if is_before else whole + b"".join(parts)
    learning.call(body)
    learned = learning.call(body)
    fresh = usual_client(learning.served).call(body)
    assert (learned.code, learned.details, learned.messages) == (fresh.code, fresh.details, fresh.messages)


ELEMENTS = {
    "FP16": (TensorProto.FLOAT16, [0.5, -2.0, 65504.0]),
    "FP32": (TensorProto.FLOAT, [0.5, -2.0, 1e30]),
    "FP64": (TensorProto.DOUBLE, [0.5, -2.0, 1e300]),
    "INT8": (TensorProto.INT8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, [-32768, 0, 32767]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1]),
    "UINT8": (TensorProto.UINT8, [0, 1, 255]),
    "UINT16": (TensorProto.UINT16, [0, 1, 65535]),
    "UINT32": (TensorProto.UINT32, [0, 1, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 1, 2**64 - 1]),
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "BYTES": (TensorProto.STRING, ["", "a", "ü%\n"]),
}


def encoded(name, values):
    if name == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
    return np.array(values, datatypes.BY_NAME[name].numpy).tobytes()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", ELEMENTS)
def test_every_datatype_comes_back_as_it_went(folder, name, rows):
    element, values = ELEMENTS[name]
    client = usual_client(Served(models.identity(folder / f"{name}.onnx", element)))
    raw = encoded(name, values) * rows
    message = protocol.InferRequest(model_name="m", raw_input_contents=[raw])
    message.inputs.add(name="x", datatype=name, shape=[rows, 3])
    for _ in range(2):
        answer = client.call(message).answer
        assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (name, [rows, 3])
        assert list(answer.raw_output_contents) == [raw]
    if name == "FP16":
        return
    del message.raw_input_contents[:]
    field = answering.CONTENTS[name]
    elements = [value.encode() if name == "BYTES" else value for value in values] * rows
    getattr(message.inputs[0].contents, field).extend(elements)
    answer = client.call(message).answer
    assert list(getattr(answer.outputs[0].contents, field)) == pytest.approx(elements)


def test_requests_of_both_protocols_share_one_run(served):
    client = usual_client(served)
    client.call(infer_request(1, 2, 3))
    runs = served.batcher.accepted
    asked = asking(tensor([4, 5, 6], [1, 3]))
    rest = served.send(request("/v2/models/m/infer", json.dumps(asked).encode()))
    number = client.begin(framing.framed(infer_request(1, 2, 3).SerializeToString()))
    reply = client.replies()[number]
    assert floats(reply.answer.raw_output_contents[0]) == [1, 2, 3]
    (told,) = answers(rest.sent)
    assert json.loads(told.body)["outputs"][0]["data"] == [4, 5, 6]
    assert served.batcher.accepted == runs + 1


def classification(message):
    message.outputs.add(name="y").parameters["classification"].int64_param = 1


def empty(message):
    message.inputs[0].shape[0] = 0
    message.raw_input_contents[0] = b""


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda m: setattr(m, "model_name", ""), 5, 'there is no model "" here'),
        (lambda m: setattr(m, "model_version", "2"), 5, 'there is no version "2"'),
        (lambda m: m.inputs.add(name="x"), 3, "expected one for each of 2 inputs, got 1"),
        (lambda m: setattr(m.inputs[0], "name", "z"), 3, 'inputs[0].name: expected "x", got "z"'),
        (lambda m: setattr(m.inputs[0], "datatype", "FP64"), 3, 'input "x": expected datatype FP32, got "FP64"'),
        (lambda m: m.inputs[0].shape.append(1), 3, 'input "x": expected shape [-1, 3], got [1,3,1]'),
        (lambda m: m.inputs[0].shape.__setitem__(0, -1), 3, 'input "x": expected shape [-1, 3], got [-1, 3]'),
        (lambda m: m.inputs[0].shape.__setitem__(0, 2), 3, "expected 24 bytes for shape [2, 3] of FP32, got 12"),
        (lambda m: m.inputs[0].shape.__setitem__(0, 0), 3, "expected 0 bytes for shape [0, 3] of FP32, got 12"),
        (empty, 3, 'input "x": expected at least one row and one element, got shape [0, 3]'),
        (lambda m: m.inputs[0].contents.fp32_contents.append(1), 3, "either contents or raw_input_contents, got both"),
        (lambda m: m.outputs.add(name="z"), 3, 'outputs[0].name: expected "y", got "z"'),
        (classification, 3, "outputs[0].parameters: classification is not offered"),
        (lambda m: [m.outputs.add(name="y") for _ in range(2)], 3, '"y" is given twice'),
        (lambda m: m.ClearField("inputs") or m.ClearField("raw_input_contents"), 3, '"x" is missing; expected "x"'),
    ],
)
def test_what_is_wrong_is_named(served, change, code, said):
    message = infer_request(1, 2, 3)
    change(message)
    reply = usual_client(served).call(message)
    assert (reply.code, reply.messages) == (code, [])
    assert said in reply.details


def test_typed_contents_are_checked(folder):
    client = usual_client(Served(models.identity(folder / "int8.onnx", TensorProto.INT8)))
    message = protocol.InferRequest(model_name="m")
    given = message.inputs.add(name="x", datatype="INT8", shape=[1, 3])
    given.contents.int_contents.extend([1, 2, 300])
    assert "element 2: expected -128 to 127 for INT8, got 300" in client.call(message).details
    given.contents.int_contents.pop()
    assert "expected 3 elements in contents.int_contents, got 2" in client.call(message).details
    given.contents.fp32_contents.append(1)
    assert "expected INT8 in contents.int_contents, got fp32_contents" in client.call(message).details
    half = usual_client(Served(models.identity(folder / "half.onnx", TensorProto.FLOAT16)))
    given.datatype = "FP16"
    assert "expected raw_input_contents, for contents have no field for FP16" in half.call(message).details
    text = usual_client(Served(models.identity(folder / "text.onnx", TensorProto.STRING)))
    given.datatype = "BYTES"
    given.ClearField("contents")
    given.contents.bytes_contents.extend([b"", b"\xff", b""])
    assert "element 1: expected UTF-8" in text.call(message).details


def test_numbers_that_are_not_finite_can_be_told(served):
    answer = usual_client(served).call(infer_request(float("nan"), float("inf"), 1)).answer
    assert str(floats(answer.raw_output_contents[0])) == "[nan, inf, 1.0]"


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
@pytest.mark.parametrize("more", [{}, {"id": "an id"}], ids=["no id", "id"])
def test_an_answer_has_its_receipt_as_a_parameter(classifier, typed, more):
    client = usual_client(classifier.sign())
    for _ in range(3):
        answer = client.call(infer_request(0, 1, 0, typed=typed, **more)).answer
        found = receipts.verify(answer.parameters["receipt"].string_param, KEYS)
        assert (found.revision, found.predictions) == ("m-1", {0: "i1"})
        assert answer.id == more.get("id", "")
        assert [output.name for output in answer.outputs] == ["label", "y"]
    assert classifier.counters.receipts == 3


def test_some_answers_of_a_run_have_receipts_where_a_share_gets_them(classifier):
    client = usual_client(classifier.sign(share=500_000))
    bodies = [framing.framed(infer_request(0, float(number), 0).SerializeToString()) for number in range(2)]
    numbers = [client.begin(bodies[number % 2]) for number in range(60)]
    found = client.replies()
    signed = ["receipt" in found[number].answer.parameters for number in numbers]
    assert 0 < sum(signed) < 60
    for place, number in enumerate(numbers):
        assert floats(found[number].answer.raw_output_contents[1])[1] == place % 2


def test_entity_and_tags_are_taken_from_the_parameters(classifier):
    client = usual_client(classifier.sign(entity="customer"))
    message = infer_request(0, 1, 0)
    message.parameters["customer"].int64_param = 7
    message.parameters["tags"].string_param = '{"country":"no"}'
    found = receipts.verify(client.call(message).answer.parameters["receipt"].string_param, KEYS)
    assert found.tags == {"country": "no"}
    assert found.entity


def test_a_copy_of_a_call_is_answered_in_words(classifier, folder):
    class Copier:
        def offer(self, bodies, ids, words):
            offered.extend(bodies)

    offered: list = []
    classifier.sign().recorder.copier = Copier()
    client = usual_client(classifier)
    client.call(infer_request(0, 1, 0))
    client.call(infer_request(0, 1, 0))
    client.call(infer_request(0, 1, 0, 1, 0, 0, typed=True))
    told = []
    own = client.served.server
    own.app = client.predictions.infer_rest
    for body in offered:
        assert isinstance(body, forms.Headed)
        head = f"host: x\r\nleadline-copy: 1\r\n{body.lines.decode()}"
        transport = classifier.send(request("/v2/models/m/infer", body.body, head=head))
        classifier.loop.run()
        (answer,) = answers(transport.sent)
        told.append((answer.status, answer.body))
    assert told == [(200, b"i1"), (200, b"i1"), (200, b"i1~i0")]


def test_a_model_that_fails_is_told(tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    shape = {"x": (TensorProto.FLOAT, ("N", 3)), "shape": (TensorProto.INT64, (2,))}
    served = Served(models.save(tmp_path / "m.onnx", nodes, shape, {"y": (TensorProto.FLOAT, ("A", "B"))}))
    message = infer_request(1, 2, 3)
    message.inputs.add(name="shape", datatype="INT64", shape=[2])
    message.raw_input_contents.append(struct.pack("<2q", 2, 2))
    reply = usual_client(served).call(message)
    assert reply.code == 13
    assert "the model failed" in reply.details


def test_a_full_queue_says_when_to_come_back(tmp_path):
    client = usual_client(Served(models.identity(tmp_path / "m.onnx"), max_queue_rows=2))
    body = framing.framed(infer_request(1, 2, 3).SerializeToString())
    numbers = [client.begin(body) for _ in range(4)]
    found = client.replies()
    assert [found[number].code for number in numbers] == [0, 0, 8, 8]
    assert found[numbers[3]].fields["grpc-retry-pushback-ms"] == "1000"


def test_requests_are_counted_by_protocol_whatever_batch_they_share(classifier):
    client = usual_client(classifier)
    body = framing.framed(infer_request(0, 1, 0).SerializeToString())
    two = framing.framed(infer_request(0, 1, 0, 0, 1, 0, shape=[2, 3]).SerializeToString())
    for message in (body, body, two):
        client.begin(message)
    classifier.send(request("/v2/models/m/infer", json.dumps(asking(tensor([0, 1, 0], [1, 3]))).encode()))
    text = json.dumps(asking(tensor([0, 1, 0], [1, 3]), parameters={"binary_data_output": True})).encode()
    classifier.send(request("/v2/models/m/infer", text))
    classifier.loop.run()
    counted = classifier.counters
    assert (counted.requests, counted.protocols["grpc"], counted.protocols["rest_binary"]) == (5, 3, 1)

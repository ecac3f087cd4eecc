"""Loading: what a model says of itself, ZipMap, and files that cannot be served."""

import json

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_runtime import errors
from leadline_runtime.engine import onnx_file, session
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.unit.runtime import models


def load(path):
    return session.load(path, threads=1, max_rows=4)


def refused(path):
    with pytest.raises(errors.RejectedError) as caught:
        load(path)
    trouble = caught.value.trouble
    assert (trouble.reason, trouble.blame) == ("InvalidModel", "model")
    assert "\n" not in trouble.message
    assert len(trouble.message) <= 1_024
    return trouble.message


def test_metadata_tells_task_prediction_and_classes(tmp_path):
    metadata = {"leadline.task": "classification", "leadline.prediction": "y", "leadline.classes": '["a", "b"]'}
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    tensors = ({"x": (models.FLOAT, ("N", 3))}, {"y": (models.FLOAT, ("N", 3))})
    model = load(models.save(tmp_path / "m.onnx", nodes, *tensors, metadata))
    assert (model.task, model.prediction, model.classes) == ("classification", "y", ("a", "b"))
    info = model.info("y")
    assert (info.inputs[0].shape, info.classes) == ([-1, 3], 2)


@pytest.fixture(scope="module")
def classifier():
    features, labels = load_iris(return_X_y=True)
    features = features.astype("float32")
    return LogisticRegression(max_iter=500).fit(features, labels), features


def test_zipmap_is_taken_out_and_the_probabilities_stay_the_same(classifier, tmp_path):
    estimator, features = classifier
    model_file = to_onnx(estimator, features[:1])
    assert any(node.op_type == "ZipMap" for node in model_file.graph.node)
    path = tmp_path / "zipmap.onnx"
    path.write_bytes(model_file.SerializeToString())
    model = load(path)
    labels, probabilities = model.run({"X": features})
    assert [output.name for output in model.signature.outputs] == ["output_label", "output_probability"]
    assert np.array_equal(labels, estimator.predict(features))
    assert np.allclose(probabilities, estimator.predict_proba(features), atol=1e-5)
    assert model.signature.has_rows
    onnx.load_from_string(onnx_file.without_zipmap(path.read_bytes()))


def test_a_file_without_zipmap_is_passed_on_untouched(classifier):
    estimator, features = classifier
    data = to_onnx(estimator, features[:1], options={"zipmap": False}).SerializeToString()
    assert onnx_file.without_zipmap(data) is data


@given(st.binary(max_size=200), st.integers(0, 200))
def test_whatever_is_no_model_is_left_for_onnxruntime_to_refuse(data, place):
    onnx_file.without_zipmap(data[:place] + b"ZipMap" + data[place:])


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\0" * 100, b"PK\3\4" + b"x" * 50])
def test_a_file_that_is_no_onnx_model_is_refused_with_what_it_begins_with(data, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    message = refused(path)
    assert "not an ONNX model" in message
    assert f"{len(data)} bytes" in message


@pytest.mark.parametrize("domain", ["", "my.ops"])
def test_an_unknown_operator_is_named(domain, tmp_path):
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain=domain)]
    tensors = ({"x": (models.FLOAT, ("N", 3))}, {"y": (models.FLOAT, ("N", 3))})
    message = refused(models.save(tmp_path / "m.onnx", nodes, *tensors))
    assert "has an operator that onnxruntime" in message
    assert "Frobnicate" in message


UNSERVED = {
    "tensor(float8e4m3fn)": TensorProto.FLOAT8E4M3FN,
    "tensor(float8e5m2)": TensorProto.FLOAT8E5M2,
}


@pytest.mark.parametrize("name", UNSERVED)
def test_a_type_that_the_protocol_does_not_have_is_named(name, tmp_path):
    path = models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (UNSERVED[name], ("N", 3))},
        {"y": (UNSERVED[name], ("N", 3))},
        opset=23,
    )
    message = refused(path)
    assert f'input "x" has type {name}, which the protocol does not have' in message
    assert "FP32" in message


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_bf16_is_fp32_on_our_side_and_rounded_to_the_nearest(rows, tmp_path):
    model = load(models.identity(tmp_path / "m.onnx", TensorProto.BFLOAT16))
    assert model.signature.has_rows
    array = np.array(
        [[1.0, 1.00390625 + 2**-9, np.nan], [np.inf, -0.0, 3.4e38], [2**-133, 1.005859375, -2.5]], np.float32
    )
    (output,) = model.run({"x": array[:rows]})
    nearest = array.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert output.dtype == np.float32
    assert np.array_equal(output, nearest[:rows], equal_nan=True)


def test_strings_beside_bf16_are_refused(tmp_path):
    tensors = {"x": (TensorProto.STRING, ("N", 3)), "z": (TensorProto.BFLOAT16, ("N", 3))}
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["z"], ["w"])]
    path = models.save(tmp_path / "m.onnx", nodes, tensors, {"y": tensors["x"], "w": tensors["z"]})
    assert "cast BF16 to FP32" in refused(path)


def test_classes_that_are_no_list_are_refused(tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    tensors = ({"x": (models.FLOAT, ("N", 3))}, {"y": (models.FLOAT, ("N", 3))})
    path = models.save(tmp_path / "m.onnx", nodes, *tensors, {"leadline.classes": json.dumps({"a": 1})})
    assert "leadline.classes: expected a JSON list" in refused(path)


def test_a_model_whose_answer_to_one_row_has_no_rows_is_not_batched(tmp_path):
    nodes = [helper.make_node("Squeeze", ["x"], ["y"])]
    path = models.save(tmp_path / "m.onnx", nodes, {"x": (models.FLOAT, ("N", 3))}, {"y": (models.FLOAT, None)})
    model = load(path)
    assert not model.signature.has_rows


def test_a_model_that_refuses_made_up_input_is_served_without_batches(tmp_path):
    # A row of the table is looked up by a number made of zeros: there is none.
    nodes = [
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("o", TensorProto.INT64, [1], [1])),
        helper.make_node("Sub", ["x", "one"], ["place"]),
        helper.make_node("Constant", [], ["table"], value=helper.make_tensor("t", models.FLOAT, [0], [])),
        helper.make_node("Gather", ["table", "place"], ["y"]),
    ]
    path = models.save(
        tmp_path / "m.onnx", nodes, {"x": (TensorProto.INT64, ("N", 1))}, {"y": (models.FLOAT, ("N", 1))}
    )
    model = load(path)
    assert not model.signature.has_rows
    assert model.row_seconds == 0.0


def constant(name, kind, *values):
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, [len(values)], values))


ROWS = {"x": (TensorProto.FLOAT, ("N", 2))}
SAME = {"y": (TensorProto.FLOAT, ("N", 2))}


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], SAME),
        (
            [
                helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
                helper.make_node("Sub", ["x", "mean"], ["y"]),
            ],
            SAME,
        ),
        (
            [
                helper.make_node("ReduceMax", ["x"], ["most"], axes=[0], keepdims=1),
                helper.make_node("Equal", ["x", "most"], ["y"]),
            ],
            {"y": (TensorProto.BOOL, ("N", 2))},
        ),
        (
            [constant("none", TensorProto.INT64, 0), helper.make_node("CumSum", ["x", "none"], ["y"])],
            SAME,
        ),
    ],
    ids=["softmax of a list", "less the mean", "place of the best", "running sum"],
)
def test_a_model_whose_rows_hang_on_each_other_is_not_batched(tmp_path, nodes, outputs):
    assert not load(models.save(tmp_path / "m.onnx", nodes, ROWS, outputs)).signature.has_rows


def test_a_model_that_takes_two_numbers_of_rows_is_not_batched(tmp_path):
    nodes = [
        helper.make_node("ReduceMean", ["z"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["y"]),
    ]
    inputs = {**ROWS, "z": (TensorProto.FLOAT, ("M", 2))}
    assert not load(models.save(tmp_path / "m.onnx", nodes, inputs, SAME)).signature.has_rows


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("RandomNormalLike", ["x"], ["y"])],
        [helper.make_node("Log", ["x"], ["y"])],
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
    ],
    ids=["chance", "not finite", "rounded by the run"],
)
def test_a_model_whose_answers_differ_otherwise_is_batched(tmp_path, nodes):
    assert load(models.save(tmp_path / "m.onnx", nodes, ROWS, SAME)).signature.has_rows


def test_a_model_that_looks_up_places_is_batched_where_ours_are_there_or_not(tmp_path):
    for size in (1, 3):
        table = helper.make_tensor("t", TensorProto.FLOAT, [size], [1.0] * size)
        nodes = [helper.make_node("Constant", [], ["t"], value=table), helper.make_node("Gather", ["t", "x"], ["y"])]
        inputs = {"x": (TensorProto.INT64, ("N", 2))}
        assert load(models.save(tmp_path / "m.onnx", nodes, inputs, SAME)).signature.has_rows

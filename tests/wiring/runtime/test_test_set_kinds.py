"""Test sets of all formats and tasks, answered by real pods."""

import csv
import gzip
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from leadline_wire import exchange
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.unit.runtime import models

FLOAT = TensorProto.FLOAT


def answered(pod, uri, run="a0", state="Done", **more):
    request = exchange.TestSetRequest(uri=uri, run=run, **{"truth": "y", "passes": 2, **more})
    report = pod.report(
        f"test set {state}",
        lambda report: report.test_set and report.test_set.run == run and report.test_set.state == state,
        test_set=request,
    )
    return report.test_set


def bits(bitmap, rows):
    return np.unpackbits(np.frombuffer(bitmap, np.uint8))[:rows]


def as_csv(names, rows):
    text = io.StringIO()
    csv.writer(text).writerows([names, *rows])
    return text.getvalue().encode()


def as_npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.fixture
def pod_of(start, tmp_path):
    """Return a starter: a ready pod of a model that a function writes."""

    def started(write):
        write(tmp_path / "model.onnx")
        pod = start((tmp_path / "model.onnx").as_uri())
        pod.report("fetched", lambda report: report.digest)
        pod.report("ready", lambda report: report.phase == "Ready", digest=pod.last.digest)
        return pod

    return started


@pytest.fixture
def place(tmp_path):
    """Return a writer: the URI of a file with these bytes; its name says nothing of its format."""

    def placed(data, name="examples"):
        (tmp_path / name).write_bytes(data)
        return (tmp_path / name).as_uri()

    return placed


def test_the_same_examples_get_the_same_answers_in_every_format(served, digits, place):
    table = pq.read_table(digits.folder / "test.parquet")
    images = np.array(table.column("X").to_pylist())
    truth = np.array(table.column("digit"))
    lines = as_csv(
        [*(f"pixel {n}" for n in range(64)), "digit"], [[*x, y] for x, y in zip(images.tolist(), truth, strict=True)]
    )
    files = {"csv": lines, "gz": gzip.compress(lines), "npz": as_npz(X=images, digit=truth)}
    expected = answered(served, digits.uri("test.parquet"), "parquet", truth="digit")
    for name, data in files.items():
        report = answered(served, place(data, f"examples-{name}"), name, truth="digit")
        assert (report.rows, report.right, report.answers) == (digits.test_rows, expected.right, expected.answers)
    assert bits(expected.right, expected.rows).sum() == digits.good_right


def test_each_class_is_counted_as_scikit_learn_does(served, digits):
    report = answered(served, digits.uri("test.parquet"), "classes", truth="digit")
    assert sum(cell.rows for cell in report.confusion) == digits.test_rows
    right = sum(cell.rows for cell in report.confusion if cell.truth == cell.predicted)
    assert right == digits.good_right
    truth = pq.read_table(digits.folder / "test.parquet").column("digit").to_pylist()
    assert sum(cell.rows for cell in report.confusion if cell.truth == "3") == truth.count(3)
    assert (report.task, report.passes, report.changed, report.unsteady) == ("classification", 2, 0, b"")


def test_one_score_is_right_where_it_is_on_the_side_of_the_truth(pod_of, place):
    generator = np.random.default_rng(7)
    features = generator.normal(size=(200, 2)).astype(np.float32)
    truth = (features.sum(axis=1) + generator.normal(size=200) > 0).astype(int)
    fitted = LogisticRegression().fit(features, truth)

    def write(path):
        weights = helper.make_tensor("w", FLOAT, [2, 1], fitted.coef_.astype(np.float32).ravel())
        bias = helper.make_tensor("b", FLOAT, [1], fitted.intercept_.astype(np.float32))
        constants = [helper.make_node("Constant", [], [each.name], value=each) for each in (weights, bias)]
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])]
        models.save(path, [*constants, *nodes], {"x": (FLOAT, ("N", 2))}, {"p": (FLOAT, ("N", 1))})

    pod = pod_of(write)
    rows = [[*x, bool(y)] for x, y in zip(features.tolist(), truth, strict=True)]
    report = answered(pod, place(as_csv(["a", "b", "y"], rows)))
    assert bits(report.right, 200).tolist() == (fitted.predict(features) == truth).tolist()
    assert (report.task, report.invalid, report.changed) == ("classification", 0, 0)
    failed = answered(pod, place(as_csv(["a", "b", "y"], [[1, 2, 3]]), "three"), "a1", "Failed")
    assert failed.trouble.message == 'column "y", row 1 holds \'3\'; expected 0 or 1, for output "p" is one score'


def test_a_regression_is_measured_where_it_is_asked_for(pod_of, place):
    generator = np.random.default_rng(7)
    features = generator.normal(size=(300, 3)).astype(np.float32)
    truth = features @ [1.0, -2.0, 0.5] + generator.normal(size=300)
    fitted = LinearRegression().fit(features, truth)
    pod = pod_of(lambda path: path.write_bytes(to_onnx(fitted, features[:1]).SerializeToString()))
    uri = place(as_npz(X=features, y=truth))
    report = answered(pod, uri, task="regression")
    errors = np.abs(fitted.predict(features) - truth)
    assert report.absolute_error == pytest.approx(errors.sum(), rel=1e-4)
    assert report.squared_error == pytest.approx((errors**2).sum(), rel=1e-4)
    assert (report.task, report.rows, report.right, report.invalid, report.changed) == ("regression", 300, b"", 0, 0)
    assert answered(pod, uri, "r1", task="regression", passes=1).answers == report.answers
    asked_for_classes = answered(pod, uri, "c1", "Failed")
    assert 'expected 0 or 1, for output "variable" is one score' in asked_for_classes.trouble.message


def test_answers_that_differ_between_passes_are_told_row_by_row(pod_of, place):
    def write(path):
        nodes = [
            helper.make_node("RandomUniformLike", ["x"], ["noise"], low=-1.0, high=1.0),
            helper.make_node("Add", ["x", "noise"], ["z"]),
            helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
        ]
        models.save(path, nodes, {"x": (FLOAT, ("N", 2))}, {"label": (TensorProto.INT64, ("N",))})

    pod = pod_of(write)
    # The first half is decided whatever the noise is, the second by the noise alone.
    rows = [[0, 9, 1]] * 100 + [[0, 0, 1]] * 100
    report = answered(pod, place(as_csv(["a", "b", "y"], rows)), passes=10)
    unsteady = bits(report.unsteady, 200)
    assert report.changed == unsteady.sum()
    assert unsteady[:100].sum() == 0
    assert unsteady[100:].sum() > 90
    assert bits(report.right, 200)[:100].all()


def test_answers_that_hang_on_their_neighbours_are_not_deterministic(pod_of, place):
    def write(path):
        nodes = [
            # So that the made-up rows at load, all of small numbers, do not show it.
            helper.make_node("ThresholdedRelu", ["x"], ["large"], alpha=4.0),
            helper.make_node("ReduceMean", ["large"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["z"]),
            helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
        ]
        models.save(path, nodes, {"x": (FLOAT, ("N", 2))}, {"label": (TensorProto.INT64, ("N",))})

    pod = pod_of(write)
    rows = [[number, 0.5, 0] for number in range(64)]
    report = answered(pod, place(as_csv(["a", "b", "y"], rows)))
    assert report.changed > 10
    assert answered(pod, place(as_csv(["a", "b", "y"], rows)), "r1", passes=1).answers == report.answers


def test_missing_values_that_the_model_has_no_answer_to_are_the_test_sets_fault(pod_of, place):
    pod = pod_of(models.classifier)
    report = answered(pod, place(as_csv(["a", "b", "c", "y"], [[1, 2, 3, 2], [3, "", 1, 0]])), state="Failed")
    assert (report.trouble.reason, report.trouble.blame) == ("InvalidTestSet", "surroundings")
    assert 'row 2 has missing values (NaN) for input "x", and the model has no finite answer' in report.trouble.message


def test_a_row_that_the_model_fails_on_spoils_no_other(pod_of, place):
    def write(path):
        nodes = [
            helper.make_node(
                "Constant", [], ["table"], value=helper.make_tensor("t", TensorProto.INT64, [3], [5, 6, 7])
            ),
            helper.make_node("Gather", ["table", "x"], ["label"]),
        ]
        models.save(path, nodes, {"x": (TensorProto.INT64, ("N",))}, {"label": (TensorProto.INT64, ("N",))})

    pod = pod_of(write)
    report = answered(pod, place(as_csv(["x", "y"], [[0, 5], [1, 6], [99, 7], [2, 7]])))
    assert bits(report.right, 4).tolist() == [1, 1, 0, 1]
    assert report.invalid == 1
    assert exchange.ClassCount("7", None, 1) in report.confusion

"""The engine as a library: what it takes and gives, and that it says what the server would say.

That its answers are the server's to the last bit is in tests/wiring/runtime/test_library.py.
"""

import asyncio
import json
import subprocess
import sys
import threading

import leadline
import leadline_runtime
import numpy as np
import onnx
import pandas as pd
import pytest
from leadline_runtime import InputError, Model, ModelError, RunError
from onnx import TensorProto, helper, numpy_helper

from tests.unit.runtime import models

FLOAT = TensorProto.FLOAT


@pytest.fixture
def identity(tmp_path):
    return Model(models.identity(tmp_path / "m.onnx"), threads=1)


def of(tmp_path, element, shape=("N", 3)):
    return Model(models.identity(tmp_path / f"{element}.onnx", element, shape), threads=1)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1, 2, 3]], dtype=np.float32),
        np.array([[1, 2, 3]], dtype=np.float64),
        np.array([[1, 2, 3]], dtype=np.int16),
        np.array([[9, 1, 2, 3]], dtype=np.float32)[:, 1:],
        [[1, 2.0, 3]],
        [(1, 2, 3)],
        [np.array([1, 2, 3]).tolist()],
        [[np.float64(1), np.int64(2), 3]],
        pd.DataFrame({"a": [1], "b": [2.0], "c": [3]}),
        {"x": [[1, 2, 3]]},
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_may_come_as_whatever_holds_numbers(identity, rows):
    answers = identity.predict(rows)
    assert list(answers) == ["y"]
    assert answers["y"].dtype == np.float32
    assert answers["y"].tolist() == [[1.0, 2.0, 3.0]]


def test_what_a_caller_gave_is_not_changed_by_the_answer(identity):
    rows = np.zeros((2, 3), dtype=np.float32)
    identity.predict(rows)["y"][:] = 7
    assert not rows.any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, 4), np.float32), 'input "x": expected shape [-1, 3], got [1, 4]'),
        (np.zeros(3, np.float32), 'input "x": expected shape [-1, 3], got [3]'),
        (np.zeros((0, 3), np.float32), 'input "x": expected at least one element, got shape [0, 3]'),
        (np.full((1, 3), 1e300), 'input "x": element 0, 1e+300, is too large for FP32'),
        (np.zeros((1, 3), bool), 'input "x": expected datatype FP32 (numbers), got an array of bool'),
        (np.array([["a", "b", "c"]]), 'input "x": expected datatype FP32 (numbers), got an array of <U1'),
        ([[1, 2]], 'input "x": expected shape [-1, 3], got [1,2]'),
        ([[1, "a", 3]], 'input "x": element 1: expected numbers for FP32, got "a"'),
        ([[1, True, 3]], 'input "x": element 1: expected numbers for FP32, got true'),
        ([[1, 2, 3], [4, 5]], 'input "x": expected data flat or nested as shape [2, 3]'),
        ({"z": [[1, 2, 3]]}, "inputs: expected \"x\", got 'z'"),
        ({}, 'inputs: "x" is missing; expected "x"'),
    ],
)
def test_input_that_does_not_fit_is_refused_in_the_words_of_the_server(identity, given, message):
    with pytest.raises(InputError) as caught:
        identity.predict(given)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_refusals_are_the_servers(tmp_path, identity):
    served = models.Served(tmp_path / "m.onnx")
    for data, shape in (([1, 2], [1, 2]), ([1, "a", 3], [1, 3]), ([1e300, 2, 3], [1, 3])):
        answer = served.ask(models.asking(models.tensor(data, shape)))
        with pytest.raises(InputError) as caught:
            identity.predict([data])
        assert json.loads(answer.body)["error"] == str(caught.value)


@pytest.mark.parametrize(
    ("element", "given", "expected"),
    [
        (TensorProto.INT64, np.array([[1, 2, 3]], np.int32), np.array([[1, 2, 3]], np.int64)),
        (TensorProto.UINT8, np.array([[1, 2, 255]]), np.array([[1, 2, 255]], np.uint8)),
        (TensorProto.DOUBLE, np.array([[0.1, 2, 3]]), np.array([[0.1, 2, 3]])),
        (TensorProto.FLOAT16, np.array([[0.5, 2, 3]]), np.array([[0.5, 2, 3]], np.float16)),
        (TensorProto.BOOL, np.array([[True, False, True]]), np.array([[True, False, True]])),
        (TensorProto.STRING, np.array([["a", "ß", ""]]), np.array([["a", "ß", ""]], object)),
        (TensorProto.STRING, np.array([["a", "b", "c"]], object), np.array([["a", "b", "c"]], object)),
        (TensorProto.STRING, [["a", "b", "c"]], np.array([["a", "b", "c"]], object)),
        (TensorProto.BFLOAT16, np.array([[0.5, 2, -3]]), np.array([[0.5, 2, -3]], np.float32)),
        (TensorProto.FLOAT, np.array([[np.nan, np.inf, 3]]), np.array([[np.nan, np.inf, 3]], np.float32)),
    ],
)
def test_every_datatype_comes_back_as_it_is(tmp_path, element, given, expected):
    (answer,) = of(tmp_path, element).predict(given).values()
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    ("element", "given", "message"),
    [
        (
            TensorProto.INT64,
            np.array([[1.0, 2, 3]]),
            "expected datatype INT64 (whole numbers), got an array of float64",
        ),
        (TensorProto.INT8, np.array([[1, 2, 128]]), "element 2: expected -128 to 127 for INT8, got 128"),
        (TensorProto.UINT16, np.array([[-1, 2, 3]]), "element 0: expected 0 to 65535 for UINT16, got -1"),
        (TensorProto.BOOL, np.array([[1, 0, 1]]), "expected datatype BOOL (true or false), got an array of int64"),
        (
            TensorProto.STRING,
            np.array([["a", 1, "c"]], object),
            "expected datatype BYTES (strings), got an array of object",
        ),
    ],
)
def test_numbers_are_never_changed_to_fit(tmp_path, element, given, message):
    with pytest.raises(InputError, match="input") as caught:
        of(tmp_path, element).predict(given)
    assert str(caught.value) == f'input "x": {message}'


@pytest.fixture
def added(tmp_path):
    """A model of two inputs: their sum, and their difference."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["rest"])]
    row = (FLOAT, ("N", 2))
    return Model(models.save(tmp_path / "two.onnx", nodes, {"a": row, "b": row}, {"sum": row, "rest": row}))


def test_inputs_and_outputs_go_by_name(added):
    one = np.ones((2, 2), np.float32)
    found = added.predict({"b": one, "a": 3 * one}, outputs=["rest"])
    assert {name: array.tolist() for name, array in found.items()} == {"rest": [[2, 2], [2, 2]]}


@pytest.mark.parametrize(
    ("given", "outputs", "message"),
    [
        (np.ones((1, 2)), None, 'inputs: expected a dict of "a", "b", got ndarray'),
        ({"a": np.ones((1, 2))}, None, 'inputs: "b" is missing; expected "a", "b"'),
        (
            {"a": np.ones((1, 2)), "b": np.ones((3, 2))},
            None,
            "inputs: expected the same number of rows in all, got {'a': 1, 'b': 3}",
        ),
        ({"a": np.ones((1, 2)), "b": np.ones((1, 2))}, ["c"], 'outputs[0].name: expected "sum", "rest", got \'c\''),
    ],
)
def test_inputs_that_do_not_fit_each_other_are_refused(added, given, outputs, message):
    with pytest.raises(InputError) as caught:
        added.predict(given, outputs=outputs)
    assert str(caught.value) == message


def test_more_rows_than_one_run_may_have_are_run_piece_by_piece(tmp_path):
    model = Model(models.classifier(tmp_path / "m.onnx"), max_rows=4)
    rows = np.random.default_rng(0).random((11, 3), dtype=np.float32)
    answers = model.predict(rows)
    assert answers["label"].tolist() == rows.argmax(axis=1).tolist()
    np.testing.assert_array_equal(answers["y"], rows)


def test_model_says_what_it_is(tmp_path):
    metadata = {
        "leadline.task": "classification",
        "leadline.prediction": "label",
        "leadline.classes": '["a", "b", "c"]',
    }
    model = Model(models.classifier(tmp_path / "m.onnx", metadata))
    assert [(each.name, each.datatype.name, each.shape) for each in model.signature.inputs] == [("x", "FP32", (-1, 3))]
    assert (model.task, model.prediction, model.classes) == ("classification", "label", ("a", "b", "c"))
    said = repr(model)
    assert f"({model.digest[:19]}…)" in said
    assert "takes  x                FP32   [-1, 3]" in said
    assert "task   classification of a, b, c; the prediction is label" in said


def test_threads_share_one_model(tmp_path):
    model = Model(models.classifier(tmp_path / "m.onnx"), threads=1)
    wrong = []

    def ask(seed):
        stacks = np.random.default_rng(seed).random((200, 5, 3), dtype=np.float32)
        wrong.extend(seed for rows in stacks if (model.predict(rows)["label"] != rows.argmax(axis=1)).any())

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def test_closed_model_answers_no_more(tmp_path):
    with Model(models.identity(tmp_path / "m.onnx")) as model:
        assert model.predict([[1, 2, 3]])["y"].tolist() == [[1, 2, 3]]
    with pytest.raises(RunError, match="the model is closed"):
        model.predict([[1, 2, 3]])


def test_model_that_fails_says_so(tmp_path):
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = helper.make_node("Constant", [], ["shape"], value=helper.make_tensor("s", TensorProto.INT64, [2], [2, 2]))
    path = models.save(tmp_path / "m.onnx", [shape, node], {"x": (FLOAT, ("N",))}, {"y": (FLOAT, (2, 2))})
    model = Model(path)
    assert model.predict([1, 2, 3, 4])["y"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(RunError, match=r"the model failed: .*Reshape"):
        model.predict([1, 2, 3])


def test_digest_is_held(tmp_path):
    path = models.identity(tmp_path / "m.onnx")
    digest = Model(path).digest
    assert Model(path, digest=digest).digest == digest
    wrong = "sha256:" + "0" * 64
    with pytest.raises(ModelError, match=f"has digest {digest}, expected {wrong}") as caught:
        Model(path, digest=wrong)
    assert caught.value.reason == "DigestMismatch"


@pytest.fixture
def folder(tmp_path):
    """A model whose numbers lie in a second file."""
    folder = tmp_path / "large"
    folder.mkdir()
    table = numpy_helper.from_array(np.arange(3, dtype=np.float32).reshape(1, 3), "table")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "table"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 3])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save_model(model, folder / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    return folder


@pytest.mark.parametrize(
    "place",
    [
        lambda folder: folder,
        lambda folder: f"{folder}#net.onnx",
        lambda folder: folder / "net.onnx",
        lambda folder: folder.as_uri(),
        lambda folder: f"{folder.as_uri()}/#net.onnx",
    ],
    ids=["folder", "folder and file", "file", "URI", "URI and file"],
)
def test_model_of_several_files_is_loaded_wherever_it_is(folder, place):
    with Model(place(folder)) as model:
        assert model.predict([[1, 1, 1]])["y"].tolist() == [[1, 2, 3]]


def test_digest_of_a_folder_is_that_of_a_pod(folder):
    here, fetched = Model(folder), Model(folder.as_uri())
    assert here.digest == fetched.digest
    Model(folder, digest=here.digest)
    (folder / "net.data").write_bytes(b"\0" * 12)
    with pytest.raises(ModelError, match=r"has digest sha256:.*, expected sha256:"):
        Model(folder, digest=here.digest)


def test_folder_without_one_model_is_refused(folder, tmp_path):
    (folder / "other.onnx").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"InvalidModel: the folder has 2 .onnx files at its top .*name the one to load"
    ):
        Model(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is an empty folder; expected an ONNX file in it"):
        Model(tmp_path / "empty")


@pytest.mark.parametrize(
    ("place", "reason", "message"),
    [
        ("none.onnx", "ModelNotFound", "none.onnx: there is no such file"),
        ("text.onnx", "InvalidModel", "not an ONNX model: 5 bytes that begin with b'hello'"),
        ("file:///none.onnx", "ModelNotFound", "file:///none.onnx: there is no such file"),
    ],
)
def test_model_that_cannot_be_had_is_refused_with_the_reason_of_a_pod(tmp_path, monkeypatch, place, reason, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError) as caught:
        Model(place)
    assert (caught.value.reason, str(caught.value).startswith(f"{reason}: {message}")) == (reason, True)
    assert "tried again" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"digest": "sha256:1"}, "digest: expected sha256: and 64 hexadecimal digits"),
        ({"threads": 0}, "threads: expected a whole number from 1, got 0"),
        ({"max_rows": -1}, "max_rows: expected a whole number from 1, got -1"),
    ],
)
def test_argument_out_of_its_range_is_refused(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        Model(models.identity(tmp_path / "m.onnx"), **more)


def test_uri_is_fetched_where_an_event_loop_runs_as_in_a_notebook(tmp_path):
    uri = models.identity(tmp_path / "m.onnx").as_uri()

    async def load():
        return Model(uri)

    assert asyncio.run(load()).predict([[1, 2, 3]])["y"].tolist() == [[1, 2, 3]]


def modules_after(code):
    """Return the packages that a fresh process has after some code."""
    code = f"import json, sys\n{code}\nprint(json.dumps(sorted({{n.partition('.')[0] for n in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("package", ["leadline", "leadline_runtime"])
def test_import_alone_costs_nothing(package):
    assert modules_after(f"import {package}") & {"numpy", "onnxruntime", "msgspec", "sklearn", "onnx"} == set()


@pytest.mark.parametrize("code", ["from leadline_runtime import Model", "from leadline import Model"])
def test_library_needs_the_runtimes_packages_only(code):
    heavy = {"onnx", "sklearn", "scipy", "pydantic", "pyarrow", "obstore", "uvloop", "leadline_stats", "leadline_api"}
    assert modules_after(code) & heavy == set()


def test_name_whose_extra_is_not_installed_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "leadline_runtime.library", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"leadline.Model needs the module .*: pip install 'leadline\[runtime\]'"
    ):
        _ = leadline.Model


@pytest.mark.parametrize("package", [leadline, leadline_runtime])
def test_names_are_there_and_others_are_not(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing

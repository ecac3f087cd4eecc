"""Files that people hand over: models that are data, test sets that can be used, and clear words for all others."""

import pickle
import sys

import joblib
import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
import xgboost
from leadline_cli import errors, estimators, testsets
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

IMAGES = pa.FixedSizeListArray.from_arrays(pa.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), 2)
DIGITS = pa.array([7, 8, 9])


def test_skops_file_is_read_as_it_was_saved(digits, tmp_path):
    model = GaussianNB().fit(digits[0], digits[1])
    skops.io.dump(model, tmp_path / "model.skops")
    np.testing.assert_array_equal(estimators.load(tmp_path / "model.skops").theta_, model.theta_)


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_is_refused_whatever_it_is_called(tmp_path, protocol):
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(GaussianNB(), protocol=protocol))
    with pytest.raises(errors.Refused, match=r"is a pickle, and opening one runs whatever code is in it; save .*skops"):
        estimators.load(path)


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3)])
def test_file_of_joblib_is_refused_as_a_pickle(tmp_path, compress):
    joblib.dump(GaussianNB(), tmp_path / "model.joblib", compress=compress)
    with pytest.raises(errors.Refused, match=r"is a pickle.*model\.skops"):
        estimators.load(tmp_path / "model.joblib")


def test_type_that_skops_does_not_know_is_refused_until_it_is_named(digits, tmp_path):
    skops.io.dump(DecisionTreeClassifier().fit(digits[0], digits[1]), tmp_path / "model.skops")
    with pytest.raises(errors.Refused, match=r"allow them by name: --trust sklearn.tree._tree.Tree"):
        estimators.load(tmp_path / "model.skops")
    assert estimators.load(tmp_path / "model.skops", trusted=["sklearn.tree._tree.Tree"]).n_classes_ == 10


def test_model_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "model.skops").write_text("weights: 1, 2, 3")
    with pytest.raises(errors.Refused, match="is no model file that we know; save the model as data"):
        estimators.load(tmp_path / "model.skops")


@pytest.mark.parametrize(
    ("start", "framework", "module"),
    [(b'{"learner": 1}', "XGBoost", "xgboost"), (b"tree\n", "LightGBM", "lightgbm"), (b"CBM1", "CatBoost", "catboost")],
)
def test_framework_that_is_not_installed_is_named(tmp_path, monkeypatch, start, framework, module):
    (tmp_path / "m").write_bytes(start)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        errors.Refused, match=rf"is a model of {framework}, and the module {module} is not installed: pip"
    ):
        estimators.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("start", "framework"),
    [
        (b'{"learner": 1}', "XGBoost"),
        (b"tree\nnothing", "LightGBM"),
        (b"CBM1nothing", "CatBoost"),
        (b"{L\0", "XGBoost"),
        (b"{L" + (1 << 40).to_bytes(8, "big") + b"}", "XGBoost"),
    ],
)
def test_file_that_its_framework_does_not_read_is_refused(tmp_path, start, framework):
    (tmp_path / "m").write_bytes(start)
    with pytest.raises(errors.Refused, match=f"is no file that {framework} reads here"):
        estimators.load(tmp_path / "m")


def test_model_of_xgboost_that_is_cut_off_is_refused(tmp_path):
    rows = np.arange(40.0).reshape(20, 2)
    xgboost.XGBRegressor(n_estimators=2).fit(rows, rows[:, 0]).save_model(tmp_path / "m.ubj")
    whole = (tmp_path / "m.ubj").read_bytes()
    for end in (20, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:end].rstrip(b"}"))
        with pytest.raises(errors.Refused, match="it is cut off"):
            estimators.load(tmp_path / "cut")


def test_onnx_is_refused_with_what_to_do_with_it(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a")
    with pytest.raises(errors.Refused, match=r"is ONNX already, .* leadline serve .*m.onnx"):
        estimators.load(tmp_path / "m.onnx")


def test_model_of_lightgbm_that_is_cut_off_is_refused_before_lightgbm_ends_the_process(tmp_path):
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(np.arange(200.0).reshape(-1, 1), [0, 1] * 100)
    whole = model.booster_.model_to_string()
    for end in (200, whole.index("Tree=1"), whole.index("end of trees")):
        (tmp_path / "cut").write_text(whole[:end])
        with pytest.raises(errors.Refused, match="it is cut off"):
            estimators.load(tmp_path / "cut")


def test_archive_that_is_no_model_is_refused(tmp_path):
    np.savez(tmp_path / "model.npz", weights=[1, 2, 3])
    with pytest.raises(errors.Refused, match="is no skops file that this version reads"):
        estimators.load(tmp_path / "model.npz")


def test_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(errors.Refused, match="No such file"):
        estimators.load(tmp_path / "none.skops")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_test_set_keeps_the_precision_it_came_with(tmp_path, kind):
    values = pa.array(np.array([0.1, 1, 2, 3], dtype=kind))
    pq.write_table(
        pa.table({"image": pa.FixedSizeListArray.from_arrays(values, 2), "digit": [1, 2]}), tmp_path / "t.parquet"
    )
    found = testsets.read(tmp_path / "t.parquet", truth="digit")
    assert (found.rows.dtype, found.rows.shape, found.input_name) == (kind, (2, 2), "image")


def test_test_set_is_written_as_the_runtime_reads_it(digits, tmp_path):
    testsets.write(tmp_path / "t.parquet", digits[2])
    schema = pq.read_schema(tmp_path / "t.parquet")
    assert schema.field("image").type == pa.list_(pa.float32(), 64)
    assert schema.field("digit").type == pa.int64()
    found = testsets.read(tmp_path / "t.parquet", truth="digit")
    np.testing.assert_array_equal(found.rows, digits[2].rows)
    np.testing.assert_array_equal(found.truths, digits[2].truths)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": IMAGES, "label": DIGITS}, "has no column 'digit' with true answers; it has: image, label"),
        ({"digit": DIGITS}, "has no column but 'digit'; expected the model's input as well"),
        ({"name": pa.array(["a", "b", "c"]), "digit": DIGITS}, "column 'name': expected numbers, got string"),
        ({"a": IMAGES, "b": IMAGES, "digit": DIGITS}, r"found 2; name it by --input \(columns: a, b, digit\)"),
        ({"image": IMAGES, "digit": pa.array([7, None, 9])}, "has 1 rows without a true answer"),
        (
            {"image": IMAGES, "digit": pa.array([[7], [8], [9]])},
            "column 'digit': expected numbers or strings, got list",
        ),
        ({"image": pa.array([[1.0], [1.0, 2.0], [1.0]]), "digit": DIGITS}, r"lists of one length, got \[1, 2\]"),
        ({"image": pa.array([[1.0], None, [1.0]]), "digit": DIGITS}, "has 1 empty rows"),
        ({"image": pa.array([[1.0], [None], [1.0]]), "digit": DIGITS}, "lists with empty places"),
        ({"image": pa.array([[1.0], [float("inf")], [1.0]]), "digit": DIGITS}, "has infinite numbers"),
        ({"image": pa.array([["a"], ["b"], ["c"]]), "digit": DIGITS}, "expected lists of numbers, got string"),
        ({"image": IMAGES[:0], "digit": DIGITS[:0]}, "has no rows; expected 500 or more"),
    ],
)
def test_test_set_is_refused_with_the_column_that_is_wrong(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(errors.Refused, match=message):
        testsets.read(tmp_path / "t.parquet", truth="digit")


def test_test_set_is_refused_when_the_named_input_is_no_list(tmp_path):
    pq.write_table(pa.table({"image": IMAGES, "digit": DIGITS}), tmp_path / "t.parquet")
    with pytest.raises(errors.Refused, match="expected a column 'pixels' of number lists; it has: image, digit"):
        testsets.read(tmp_path / "t.parquet", truth="digit", input_name="pixels")


def test_test_set_is_refused_when_it_is_no_parquet_file(tmp_path):
    (tmp_path / "t.parquet").write_text("image,digit\n")
    with pytest.raises(errors.Refused, match="is no Parquet file"):
        testsets.read(tmp_path / "t.parquet", truth="digit")


def test_test_set_is_refused_when_it_is_not_there(tmp_path):
    with pytest.raises(errors.Refused, match="there is no such file"):
        testsets.read(tmp_path / "t.parquet", truth="digit")
    with pytest.raises(errors.Refused, match="is a folder; expected a Parquet, CSV or npz file"):
        testsets.read(tmp_path, truth="digit")

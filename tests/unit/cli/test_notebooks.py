"""`leadline.package` as somebody in a notebook calls it."""

import leadline
import lightgbm
import numpy as np
import pandas as pd
import pytest
import yaml
from leadline_cli import manifests, packaging, testsets
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ROWS, TRUTHS = load_iris(return_X_y=True)
NAMES = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def model():
    return LogisticRegression(max_iter=1_000).fit(ROWS[::2], TRUTHS[::2])


def test_report_comes_back_and_is_what_a_notebook_shows(model, tmp_path, capsys):
    found = leadline.package(model, ROWS[1::2], TRUTHS[1::2], tmp_path / "out", name="iris")
    assert capsys.readouterr().out.splitlines() == [
        "  converting LogisticRegression(max_iter=1000)",
        "  comparing 75 answers with the original's",
    ]
    assert found.accuracy == pytest.approx((model.predict(ROWS[1::2]) == TRUTHS[1::2]).mean())
    assert repr(found).splitlines()[0] == "model       LogisticRegression(max_iter=1000)"
    assert sorted(path.name for path in found.out.iterdir()) == [
        "model.onnx",
        "modeldeployment.yaml",
        "testset.parquet",
    ]
    document = yaml.safe_load((found.out / "modeldeployment.yaml").read_text())
    assert document["metadata"]["name"] == "iris"
    assert document["spec"]["model"] == {"uri": "s3://models/iris/model.onnx", "digest": found.model_digest}


def test_without_a_folder_the_files_go_to_out_here(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leadline.package(model, ROWS[1::2], TRUTHS[1::2], quiet=True)
    assert (tmp_path / "out" / "model.onnx").exists()


def test_what_it_writes_is_what_the_command_writes(model, tmp_path):
    found = leadline.package(model, ROWS, TRUTHS, tmp_path / "one", quiet=True)
    examples = testsets.of_arrays(ROWS, TRUTHS)
    options = manifests.Options("model", store="s3://models/model")
    again = packaging.package(model, examples, out=tmp_path / "two", manifest=options)
    assert (found.model_digest, found.test_set_digest) == (again.model_digest, again.test_set_digest)


@pytest.mark.parametrize(
    ("rows", "truths"),
    [
        (ROWS.tolist(), TRUTHS.tolist()),
        (pd.DataFrame(ROWS, columns=NAMES), pd.Series(TRUTHS)),
        (ROWS.astype(np.float32), TRUTHS.reshape(-1, 1).astype(np.int8)),
    ],
    ids=["lists", "tables", "columns"],
)
def test_rows_and_truths_may_be_whatever_holds_numbers(model, tmp_path, rows, truths):
    assert leadline.package(model, rows, truths, tmp_path, quiet=True).rows == 150


def test_words_of_a_table_are_classes(tmp_path):
    words = pd.Series(np.array(["x", "y", "z"])[TRUTHS])
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(pd.DataFrame(ROWS, columns=NAMES), words)
    assert leadline.package(model, pd.DataFrame(ROWS, columns=NAMES), words, tmp_path, quiet=True).accuracy > 0.9


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ((ROWS, TRUTHS[:7]), {}, r"truths: expected shape \[150\], one for each row, got \[7\]"),
        ((ROWS[0], TRUTHS[:1]), {}, r"rows: expected shape \(n, k\) with at least one row, got \[4\]"),
        (([["a"]], [1]), {}, r"rows: expected numbers, shape \(n, k\)"),
        ((ROWS, TRUTHS * 1j), {}, "truths: expected numbers or strings, got complex128"),
        ((ROWS, TRUTHS * 0.5), {}, r"expected whole numbers or strings, got \[0.0, 0.0"),
        ((ROWS[:, :3], TRUTHS), {}, "'input' has 3 numbers per row, the model takes 4"),
        ((ROWS, TRUTHS), {"input_name": "label"}, "input: 'label' is the name of an output"),
        ((ROWS, TRUTHS), {"floor": 2}, "floor: must be a number above 0"),
        ((ROWS, TRUTHS), {"name": "a.b"}, "--name: must be a DNS label"),
        (
            (np.where(ROWS > 6, np.nan, ROWS), TRUTHS),
            {},
            r"rows of 'input' have missing numbers \(NaN\), .* does not take",
        ),
    ],
)
def test_what_cannot_be_packaged_is_refused(model, tmp_path, given, more, message):
    with pytest.raises(leadline.Refused, match=message):
        leadline.package(model, *given, tmp_path / "out", quiet=True, **more)
    assert not (tmp_path / "out").exists()


def test_model_and_package_meet(model, tmp_path):
    """What is packaged is what the library answers with."""
    leadline.package(model, ROWS, TRUTHS, tmp_path, quiet=True)
    with leadline.Model(tmp_path / "model.onnx") as loaded:
        answers = loaded.predict(ROWS)
    assert answers["label"].tolist() == model.predict(ROWS).tolist()
    assert (loaded.task, loaded.classes) == ("classification", (0, 1, 2))

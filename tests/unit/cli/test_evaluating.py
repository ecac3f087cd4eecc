"""`leadline evaluate`: what the runtime measures, printed for people.

That a pod measures the same is in tests/wiring/cli/test_evaluating.py.
"""

import leadline
import numpy as np
import pandas as pd
import pytest
from leadline_cli import evaluating, main
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.unit.runtime import models

ROWS, TRUTHS = load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A packaged classifier, and the rows it has not seen as a table."""
    monkeypatch.chdir(tmp_path)
    model = LogisticRegression(max_iter=1_000).fit(ROWS[::2], WORDS[TRUTHS[::2]])
    leadline.package(model, ROWS[1::2], WORDS[TRUTHS[1::2]], "out", quiet=True)
    table = pd.DataFrame(ROWS[1::2], columns=list("abcd")).assign(kind=WORDS[TRUTHS[1::2]])
    table.to_csv("unseen.csv", index=False)
    return model


def run(*arguments):
    return main.main(["evaluate", *arguments])


def test_figures_are_those_of_scikit_learn(folder, capsys):
    assert run("out/model.onnx", "unseen.csv", "--truth=kind") == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    answers = folder.predict(ROWS[1::2])
    right = answers == WORDS[TRUTHS[1::2]]
    assert said.err == "  answering unseen.csv with out/model.onnx\n"
    assert lines[0].startswith("model       out/model.onnx (")
    assert lines[1] == "test set    unseen.csv, 75 rows, true answers in 'kind'"
    assert lines[2].startswith(f"accuracy    {right.mean():.3f} [")
    for place, word in enumerate(WORDS):
        mine = TRUTHS[1::2] == place
        (line,) = [line for line in lines if line.strip().startswith(word)]
        assert line.split()[:3] == [word, "25", f"{right[mine].mean():.3f}"]
    assert lines[-1].strip() == "the same in 2 passes"
    assert max(map(len, lines)) <= 100


def test_same_answers_have_the_same_digest_whatever_file_they_come_from(folder):
    found = {
        evaluating.evaluate(evaluating.Options("out/model.onnx", path, truth)).report.answers
        for path, truth in ((evaluating.Path("unseen.csv"), "kind"), (evaluating.Path("out/testset.parquet"), "truth"))
    }
    assert len(found) == 1


def test_regression_has_errors_for_its_measure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows, truths = load_diabetes(return_X_y=True)
    model = LinearRegression().fit(rows[:200], truths[:200])
    report = leadline.package(model, rows[200:], truths[200:], "out", quiet=True)
    assert run("out/model.onnx", "out/testset.parquet", "--truth=truth") == 0
    measured = f"{report.errors.mean_absolute:.4g} mean absolute, {report.errors.root_mean_square:.4g} root mean square"
    assert f"error       {measured}" in capsys.readouterr().out


def test_answer_that_is_no_number_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    models.save(
        tmp_path / "m.onnx",
        [models.helper.make_node("Sqrt", ["x"], ["y"])],
        {"x": (models.FLOAT, ("N", 1))},
        {"y": (models.FLOAT, ("N", 1))},
        {"leadline.task": "regression"},
    )
    pd.DataFrame({"x": [1.0, -4.0, 9.0], "truth": [1.0, 2.0, 4.0]}).to_csv("t.csv", index=False)
    assert run("m.onnx", "t.csv", "--truth=truth") == 0
    said = capsys.readouterr().out
    assert "invalid     1 rows have no usable answer (NaN, or the model failed)" in said
    assert "error       0.5 mean absolute" in said


def test_rows_that_the_model_drops_have_no_answer_and_shift_no_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ten = models.helper.make_tensor("ten", models.FLOAT, [], [10.0])
    models.save(  # gives the numbers that are at most 10: all of those of the warm-up
        tmp_path / "m.onnx",
        [
            models.helper.make_node("Constant", [], ["ten"], value=ten),
            models.helper.make_node("LessOrEqual", ["x", "ten"], ["small"]),
            models.helper.make_node("Compress", ["x", "small"], ["y"]),
        ],
        {"x": (models.FLOAT, ("N",))},
        {"y": (models.FLOAT, ("M",))},
        {"leadline.task": "regression"},
    )
    pd.DataFrame({"x": [50.0, 1.0, 2.0, 3.0], "truth": [0.0, 1.0, 2.0, 4.0]}).to_csv("t.csv", index=False)
    assert run("m.onnx", "t.csv", "--truth=truth") == 0
    said = capsys.readouterr().out
    assert "invalid     1 rows have no usable answer (NaN, or the model failed)" in said
    assert "error       0.3333 mean absolute" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out/model.onnx", "none.csv", "--truth=kind"], "none.csv: there is no such file"),
        (["out/model.onnx", "out", "--truth=kind"], "out: is a folder; expected a Parquet, CSV or npz file"),
        (["none.onnx", "unseen.csv", "--truth=kind"], "none.onnx: there is no such file (ModelNotFound)"),
        (["unseen.csv", "unseen.csv", "--truth=kind"], "unseen.csv: not an ONNX model: "),
        (
            ["out/model.onnx", "unseen.csv", "--truth=nothing"],
            'test set unseen.csv: column "nothing" not found (--truth)',
        ),
        (["out/model.onnx", "unseen.csv", "--truth=kind", "--output=other"], '--output: output "other" holds no class'),
        (["out/model.onnx", "out/model.onnx", "--truth=kind"], "test set out/model.onnx: "),
    ],
)
def test_mistake_is_one_line(folder, capsys, arguments, message):
    assert run(*arguments) == 1
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith(f"leadline evaluate: {message}")

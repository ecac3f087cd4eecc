"""What docs/package.md and docs/library.md show runs as it is there, and prints what is there; so does the example."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from leadline_cli import main
from sklearn.datasets import load_breast_cancer
from xgboost import XGBClassifier

ROOT = Path(__file__).parents[3]


def blocks(page, language):
    return re.findall(rf"(?s)```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    rows, truths = load_breast_cancer(return_X_y=True)
    model = XGBClassifier(n_estimators=50, n_jobs=1).fit(rows[:300], truths[:300])
    model.save_model(folder / "tumour.ubj")
    names = [f"measure {place}" for place in range(30)]
    head = ",".join([*names, "malignant"])
    np.savetxt(
        folder / "unseen.csv", np.column_stack([rows[300:], truths[300:]]), "%.10g", ",", header=head, comments=""
    )
    return folder


def test_notebook_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (code,) = blocks("package.md", "python")
    exec(compile(code, "docs/package.md", "exec"), {})
    assert re.search(r"(?m)^0\.9\d+ 269 sha256:[0-9a-f]{64}$", capsys.readouterr().out)


def test_commands_of_the_page_print_what_the_page_shows(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    numbers = re.compile(r"sha256:\w+…?|\d+e-\d+|\d[\d.,]*")
    for block in blocks("package.md", "console"):
        shown = block.splitlines()
        command = next(line for line in shown if line.startswith("$ leadline")).split()[2:]
        assert main.main(command) == 0
        said = capsys.readouterr()
        for printed, line in zip([*said.err.splitlines(), *said.out.splitlines()], shown[2:], strict=True):
            assert numbers.sub("N", printed).split() == numbers.sub("N", line).split()


def test_library_of_the_page_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main.main(["package", "tumour.ubj", "--test-set", "unseen.csv", "--truth", "malignant", "-o", "."]) == 0
    capsys.readouterr()
    rows = load_breast_cancer().data[300:310]
    whole, refused = blocks("library.md", "python")
    names = {"rows": rows}
    exec(compile(whole, "docs/library.md", "exec"), names)
    shown = re.sub(r"\w{12}…", "…", blocks("library.md", "console")[1])
    assert re.sub(r"\w{12}…", "…", capsys.readouterr().out) == shown
    assert names["answers"]["label"].shape == (10,)
    names["model"] = names["Model"]("model.onnx")
    exec(compile(refused, "docs/library.md", "exec"), names)
    assert capsys.readouterr().out.strip() == re.search(r"print\(error\) +# (.*)", refused)[1]


def test_example_packages_three_frameworks(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("boosting", ROOT / "examples" / "boosting" / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    monkeypatch.setattr(sys, "argv", ["train.py", f"--out={tmp_path}"])
    assert train.main() == 0
    said = capsys.readouterr().out
    assert said.count("285 of 285 answers equal the original's, probabilities within") == 3
    assert said.count("in process  285 answers are the model's own") == 3

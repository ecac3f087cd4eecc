"""Models of PyTorch: packaged, they answer as the original does, or are refused with what to do.

No part of the suites: PyTorch comes from the package index with CUDA, 5.5 GB. `make test-torch` installs it into a venv of
its own and runs this file, whose name keeps it out of what pytest collects by itself.
"""

import subprocess
import sys

import leadline
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from leadline_cli import main, testsets
from sklearn.datasets import load_diabetes, load_digits

ROWS, TRUTHS = load_digits(return_X_y=True)
ROWS = (ROWS / 16).astype(np.float32)
UNSEEN, UNSEEN_TRUTHS = ROWS[1_000:1_400], TRUTHS[1_000:1_400]


class Flat(torch.nn.Module):
    """Dropout and batch norm answer otherwise while a module learns."""

    def __init__(self, width=64, outputs=10, *, soft=False):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 32),
            torch.nn.BatchNorm1d(32),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(32, outputs),
        )
        self.soft = soft

    def forward(self, rows):
        found = self.layers(rows)
        return found.softmax(dim=1) if self.soft else found


class Image(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 3)
        self.last = torch.nn.Linear(8 * 36, 10)

    def forward(self, images):
        return self.last(torch.relu(self.conv(images)).flatten(1))


def trained(module, rows=ROWS[:1_000], truths=TRUTHS[:1_000], loss=torch.nn.functional.cross_entropy, steps=60):
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    inputs, targets = torch.from_numpy(rows), torch.from_numpy(truths)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(inputs), targets).backward()
        optimizer.step()
    return module


def exported(module, example):
    return torch.export.export(
        module.eval(), (torch.from_numpy(example),), dynamic_shapes=({0: torch.export.Dim("rows")},)
    )


def own_labels(module, rows):
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(rows)).argmax(dim=1).numpy()


def outputs(folder):
    return [(each.name, each.shape) for each in onnxruntime.InferenceSession(folder / "model.onnx").get_outputs()]


def test_module_answers_as_the_original_does(tmp_path):
    module = trained(Flat())
    found = leadline.package(module, UNSEEN, UNSEEN_TRUTHS, tmp_path, input_name="image")
    assert module.training, "the caller's module is left as it was"
    assert found.comparison.equal == 400
    assert found.right == int((own_labels(module, UNSEEN) == UNSEEN_TRUTHS).sum())
    assert found.right > 300
    assert outputs(tmp_path) == [("label", [None]), ("scores", [None, 10])]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for rows in (1, 2, 7):
        assert session.run(["label"], {"image": UNSEEN[:rows]})[0].shape == (rows,)


def test_scores_are_called_probabilities_where_they_are(tmp_path):
    leadline.package(trained(Flat(soft=True)), UNSEEN, UNSEEN_TRUTHS, tmp_path)
    assert outputs(tmp_path)[1] == ("probabilities", [None, 10])


def test_classes_have_the_names_that_are_said(tmp_path):
    names = [f"digit {place}" for place in range(10)]
    found = leadline.package(trained(Flat()), UNSEEN, np.array(names)[UNSEEN_TRUTHS], tmp_path, classes=names)
    assert found.accuracy > 0.75
    label = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(["label"], {"input": UNSEEN[:1]})[0]
    assert label[0] in names


def test_images_keep_their_shape(tmp_path):
    images = UNSEEN.reshape(-1, 1, 8, 8)
    module = trained(Image(), ROWS[:1_000].reshape(-1, 1, 8, 8), steps=20)
    found = leadline.package(module, images, UNSEEN_TRUTHS, tmp_path, input_name="image")
    assert found.comparison.equal == 400
    (given,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_inputs()
    assert (given.name, given.shape) == ("image", [None, 1, 8, 8])


@pytest.mark.parametrize("columns", [1, 0])
def test_regression_gives_a_value(tmp_path, columns):
    rows, truths = load_diabetes(return_X_y=True)
    rows, truths = rows.astype(np.float32), truths.astype(np.float32) / 100

    class Values(Flat):
        def forward(self, given):
            found = self.layers(given)
            return found if columns else found[:, 0]

    module = trained(
        Values(10, 1), rows[:221], truths[:221], lambda said, true: torch.nn.functional.mse_loss(said.reshape(-1), true)
    )
    found = leadline.package(module, rows[221:], truths[221:], tmp_path)
    assert (found.task, found.comparison.equal) == ("regression", 221)
    assert outputs(tmp_path) == [("value", [None, 1])]


def test_exported_program_from_a_file_takes_flat_rows_of_a_test_set(tmp_path, capsys):
    program = exported(trained(Image(), ROWS[:1_000].reshape(-1, 1, 8, 8), steps=20), UNSEEN[:2].reshape(-1, 1, 8, 8))
    torch.export.save(program, tmp_path / "model.pt2")
    testsets.write(
        tmp_path / "t.parquet", testsets.of_arrays(UNSEEN, UNSEEN_TRUTHS, input_name="image", truth_name="digit")
    )
    command = ["package", f"{tmp_path}/model.pt2", f"--test-set={tmp_path}/t.parquet", "--truth=digit"]
    command += [f"--out={tmp_path}/out", "--task=classification"]
    assert main.main(command) == 1
    assert "may run code that is in it; if you trust where the file comes from" in capsys.readouterr().err
    assert main.main([*command, "--trust=torch.export"]) == 0
    assert "400 of 400 answers equal the original's" in capsys.readouterr().out
    (given,) = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx").get_inputs()
    assert (given.name, given.shape) == ("image", [None, 64])


def test_nothing_of_the_source_code_is_in_the_file(tmp_path):
    leadline.package(trained(Flat()), UNSEEN, UNSEEN_TRUTHS, tmp_path)
    data = (tmp_path / "model.onnx").read_bytes()
    assert b".py" not in data
    assert {entry.key for entry in onnx.load_from_string(data).metadata_props} == {
        "leadline.task",
        "leadline.classes",
        "leadline.prediction",
    }


def test_same_module_has_the_same_bytes_when_it_is_packaged_again(tmp_path):
    module = trained(Flat())
    found = [leadline.package(module, UNSEEN, UNSEEN_TRUTHS, tmp_path).model_digest for _ in range(2)]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("model", "truths", "more", "message"),
    [
        (lambda: Flat(outputs=1), UNSEEN_TRUTHS % 2, {}, r"expected a column of scores for each class.* torch.cat"),
        (Flat, UNSEEN_TRUTHS, {"classes": ["a", "b"]}, "classes: the model has 10, got 2"),
        (Flat, UNSEEN_TRUTHS * 1.0, {}, r"expected one number per row, got shape \[400, 10\]"),
        (lambda: Flat(width=32), UNSEEN_TRUTHS, {}, r"PyTorch cannot export|does not answer rows of shape \[64\]"),
        (
            lambda: torch.export.export(Flat().eval(), (torch.zeros(2, 64),)),
            UNSEEN_TRUTHS,
            {},
            "was exported for 2 rows only; let their number be free: torch.export.export",
        ),
        (lambda: Flat().double(), UNSEEN_TRUTHS, {}, "does not answer rows of shape"),
    ],
)
def test_model_that_cannot_be_packaged_is_refused_with_what_to_do(tmp_path, model, truths, more, message):
    with pytest.raises(leadline.Refused, match=message):
        leadline.package(model(), UNSEEN, truths, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_pickle_of_pytorch_is_refused(tmp_path, capsys):
    torch.save(Flat(), tmp_path / "model.pt")
    assert main.main(["package", f"{tmp_path}/model.pt", "--test-set=t", "--truth=t", "--out=o"]) == 1
    assert (
        "is a pickle of PyTorch, and opening one runs whatever code is in it; save an exported"
        in capsys.readouterr().err
    )


def test_other_frameworks_do_not_import_it():
    code = "import sys, leadline, leadline_cli.packaging; from sklearn.naive_bayes import GaussianNB as G; "
    code += "from leadline_cli import frameworks; frameworks.of(G().fit([[0.0], [1.0]], [0, 1])); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"

"""The example that the demo and the docs use: what it measures is what they say."""

import contextlib
import importlib.util
import io
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Run the script as a user does, for all three models."""
    out = tmp_path_factory.mktemp("digits")
    spec = importlib.util.spec_from_file_location("train", ROOT / "examples" / "digits" / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", f"--out={out}"])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert train.main() == 0
    return out, printed.getvalue()


@pytest.mark.parametrize(
    "measured",
    [
        "good: a support vector machine",
        "accuracy    0.985 [0.975, 0.992] on 1,197 unseen rows",
        "accuracy    0.880 [0.856, 0.901] on 1,197 unseen rows",
        "accuracy    0.971 [0.957, 0.981] on 1,197 unseen rows",
    ],
)
def test_example_measures_what_the_docs_say(said, measured):
    assert measured in said[1]


def test_every_converted_answer_equals_the_originals(said):
    assert said[1].count("1,197 of 1,197 answers equal the original's") == 3


def test_the_three_share_one_test_set(said):
    out, _ = said
    assert len({(out / name / "testset.parquet").read_bytes() for name in ("good", "worse", "successor")}) == 1
    sets = [
        yaml.safe_load((out / name / "modeldeployment.yaml").read_text())["spec"]["quality"]
        for name in ("good", "worse", "successor")
    ]
    assert sets[0] == sets[1] == sets[2]

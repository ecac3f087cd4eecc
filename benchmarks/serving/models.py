"""The three models that are served, the rows that are sent, and what onnxruntime answers by itself.

  small    64 floats -> label and 10 probabilities; logistic regression on scikit-learn's digits, a few microseconds a run
  trees    the same in and out; a forest of 100 trees on digits, made by skl2onnx
  compute  2,048 bytes as int32 -> 214 probabilities; Magika's file type model (Apache-2.0), which ships inside the PyPI
           package magika and is taken from that wheel: some 10 milliseconds a run

Everything is made from fixed seeds. Must not know who serves.
"""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from . import places

NAMES = ("small", "trees", "compute")
TRAIN_ROWS = 600
COMPUTE_ROWS = 4
"""Rows a run of the compute model: larger batches are no faster, and answers would come in lumps too large to count."""
MAGIKA = "magika==1.0.3"
MAGIKA_FILE = "magika/models/standard_v3_3/model.onnx"


@dataclass(frozen=True)
class Model:
    """One model, and rows for it."""

    name: str
    path: Path
    input: str
    output: str
    """The last output: the one that is compared."""
    datatype: str
    rows: np.ndarray
    """As many as the largest request has."""
    expected: np.ndarray
    max_rows: int
    """Most rows in one run, for all servers that batch."""


def small(folder: Path) -> Path:
    features, labels = _digits()
    return _convert(LogisticRegression(max_iter=200).fit(features, labels), features, folder / "small.onnx")


def trees(folder: Path) -> Path:
    features, labels = _digits()
    forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(features, labels)
    return _convert(forest, features, folder / "trees.onnx")


def compute(folder: Path) -> Path:
    """Return Magika's model, from its wheel; the package is not installed."""
    kept = places.cache() / "models" / f"{MAGIKA}.onnx"
    if not kept.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", MAGIKA]
        subprocess.run([*command, "-d", str(folder)], check=True, capture_output=True, text=True, timeout=300)
        (wheel,) = folder.glob("magika-*.whl")
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(".part")
        half.write_bytes(zipfile.ZipFile(wheel).read(MAGIKA_FILE))
        half.rename(kept)
    return kept


def load(name: str, folder: Path) -> Model:
    """Make a model and ask onnxruntime for the answers that all servers must give."""
    path = {"small": small, "trees": trees, "compute": compute}[name](folder)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    random = np.random.default_rng(5)
    if name == "compute":
        rows, datatype = random.integers(0, 256, (COMPUTE_ROWS, 2_048)).astype(np.int32), "INT32"
    else:
        # With all their digits, as a client's JSON library writes them.
        numbers = [(number * 7_919) % 1_000_003 / 1_000_003 for number in range(1, 65)]
        rows = np.vstack([numbers, random.random((31, 64))]).astype(np.float32)
        datatype = "FP32"
    expected = np.concatenate([session.run(None, {given.name: row[None]})[-1] for row in rows])
    output = session.get_outputs()[-1].name
    return Model(name, path, given.name, output, datatype, rows, expected, COMPUTE_ROWS if name == "compute" else 64)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    return (features / 16).astype("float32")[:TRAIN_ROWS], labels[:TRAIN_ROWS]


def _convert(estimator, features: np.ndarray, path: Path) -> Path:
    path.write_bytes(to_onnx(estimator, features[:1], options={"zipmap": False}).SerializeToString())
    return path

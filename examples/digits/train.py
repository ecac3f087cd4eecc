"""Train a digit classifier on real scans, measure it on scans that it has never seen, and package it for Leadline.

    python examples/digits/train.py --model good

writes model.onnx, testset.parquet and modeldeployment.yaml into examples/digits/out/good. The data ships with
scikit-learn: 1,797 scans of 8 x 8 pixels, shuffled and stratified with a fixed seed; 600 to train, 1,197 unseen.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from leadline_cli import errors, manifests, packaging, testsets
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

SEED = 0
TRAIN_ROWS = 600
MODELS = {
    "good": "a support vector machine",
    "worse": "a logistic regression trained on 100 rows: every readiness probe passes, every eighth answer is wrong",
    "successor": "the three nearest neighbours: another kind of model, about as good",
}


def main() -> int:
    """Train, measure and package one model; return the exit status."""
    parser = argparse.ArgumentParser(
        description="Train, measure and package a digit classifier.",
        epilog="; ".join(f"{name} is {text}" for name, text in MODELS.items()),
    )
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all", help="default: all, one after the other")
    parser.add_argument(
        "--out", type=Path, help="folder of the files, of all: one folder in it for each; default: out/MODEL here"
    )
    parser.add_argument("--name", default="digits", help="name of the ModelDeployment; default: digits")
    parser.add_argument(
        "--store", default="s3://models/digits", help="where you will upload; default: s3://models/digits"
    )
    parser.add_argument("--credentials", help="Secret with the store's credentials; default: none")
    options = parser.parse_args()

    digits = load_digits()
    rows, unseen_rows, truths, unseen_truths = train_test_split(
        digits.data.astype(np.float32),
        digits.target,
        train_size=TRAIN_ROWS,
        shuffle=True,
        stratify=digits.target,
        random_state=SEED,
    )
    unseen = testsets.Examples("image", unseen_rows, "digit", unseen_truths)
    if options.model != "all" and options.out:
        folders = {options.model: options.out}
    else:
        parent = options.out or Path(__file__).parent / "out"
        folders = {name: parent / name for name in MODELS if options.model in {name, "all"}}
    for name, folder in folders.items():
        manifest = manifests.Options(
            options.name,
            store=f"{options.store}/{name}",
            test_set_uri=f"{options.store}/testset.parquet",  # the same for all: same rows, same bytes
            floor="0.80",  # below every one of the three, so that it is the comparison that tells them apart
            credentials=options.credentials,
        )
        try:
            packaged = packaging.package(trained(name, rows, truths), unseen, out=folder, manifest=manifest)
        except errors.Refused as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {MODELS[name]}")
        print("\n".join(f"  {line}" for line in packaged.lines()))
    return 0


def trained(name: str, rows: np.ndarray, truths: np.ndarray) -> ClassifierMixin:
    """Return one of the models, trained."""
    match name:
        case "good":
            return SVC(gamma=0.001, C=10).fit(rows, truths)
        case "worse":
            return LogisticRegression(max_iter=5_000).fit(rows[:100], truths[:100])
        case _:
            return KNeighborsClassifier(3).fit(rows, truths)


if __name__ == "__main__":
    sys.exit(main())

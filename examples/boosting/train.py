"""Train the same classifier with XGBoost, LightGBM and CatBoost, package each, and ask what was packaged.

    python examples/boosting/train.py

The data ships with scikit-learn: 569 tumours, 30 measures of each. Half are to train; the rest no model has seen. What is
packaged answers in this process by the server's own engine: `leadline.Model`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import catboost
import leadline
import lightgbm
import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

MODELS = {
    "xgboost": xgboost.XGBClassifier(n_estimators=60),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=60, verbose=-1),
    "catboost": catboost.CatBoostClassifier(iterations=60, verbose=0, allow_writing_files=False),
}


def main() -> int:
    """Train, package and ask each; return the exit status."""
    parser = argparse.ArgumentParser(description="Train, package and ask three gradient-boosted classifiers.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder; default: out here")
    folder = parser.parse_args().out

    measures, benign = load_breast_cancer(return_X_y=True)
    known, unseen, truths, unseen_truths = train_test_split(measures, benign, train_size=0.5, random_state=0)
    for name, model in MODELS.items():
        model.fit(known, truths)
        print(f"{name}:")
        try:
            report = leadline.package(
                model, unseen, unseen_truths, folder / name, name=f"tumour-{name}", input_name="measures", quiet=True
            )
        except leadline.Refused as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print("\n".join(f"  {line}" for line in report.lines()))
        print(f"  in process  {asked(folder / name / 'model.onnx', unseen, model):,} answers are the model's own")
    return 0


def asked(path: Path, rows: np.ndarray, original: Any) -> int:
    """Return how many rows the packaged model answers as the original does."""
    with leadline.Model(path) as model:
        answers = model.predict(rows)
    return int((answers["label"] == original.predict(rows)).sum())


if __name__ == "__main__":
    sys.exit(main())

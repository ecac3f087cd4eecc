"""Models of two real data sets for metrics beside accuracy: a binary one with a class that matters, and a regression.

    python examples/metrics/train.py

packages for each a good model, an honest successor and one that is worse, into examples/metrics/out: tumours, malignant or
benign (569, ships with scikit-learn; watched by F1 of the malignant ones), and life expectancy by country and year (1,704,
ships with plotly; watched by MAE). True answers that come back judge them.
"""

import argparse
import io
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import leadline
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeRegressor

SEED = 0
MODELS = ("good", "worse", "successor")


@dataclass(frozen=True)
class Data:
    """Rows to train with, and rows that no model has seen."""

    input_name: str
    rows: np.ndarray
    truths: np.ndarray
    unseen_rows: np.ndarray
    unseen_truths: np.ndarray


def tumours() -> Data:
    """Return 150 measured tumours to train with and 419 unseen; 0 is malignant."""
    measures, benign = load_breast_cancer(return_X_y=True)
    return split("measures", measures, benign, train_size=150, stratify=benign)


def lives() -> Data:
    """Return life expectancy in years by year, population (log), product per head (log) and continent."""
    packed = resources.files("plotly") / "package_data" / "datasets" / "gapminder.csv.gz"
    table = pd.read_csv(io.BytesIO(packed.read_bytes()), compression="gzip")
    columns = [table["year"] - 1950, np.log(table["pop"]), np.log(table["gdpPercap"])]
    continents = [table["continent"] == name for name in sorted(table["continent"].unique())]
    return split("country", np.column_stack([*columns, *continents]), table["lifeExp"].to_numpy(), train_size=400)


def split(name: str, rows: np.ndarray, truths: np.ndarray, **how: Any) -> Data:
    """Return the rows divided with a fixed seed."""
    known, unseen, known_truths, unseen_truths = train_test_split(
        np.asarray(rows, np.float32), truths, random_state=SEED, **how
    )
    return Data(name, known, known_truths, unseen, unseen_truths)


def model(data_set: str, name: str, data: Data) -> Any:
    """Return one of the models, trained."""
    if data_set == "tumours":
        if name == "worse":  # sees the three measures that say least
            rows = data.rows.copy()
            rows[:, [each for each in range(30) if each not in (9, 11, 14)]] = 0
            return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, data.truths)
        found = LogisticRegression() if name == "good" else SVC(C=10)
        return make_pipeline(StandardScaler(), found).fit(data.rows, data.truths)
    if name == "worse":  # three questions, where a forest asks hundreds
        return DecisionTreeRegressor(max_depth=2).fit(data.rows, data.truths)
    found = RandomForestRegressor if name == "good" else ExtraTreesRegressor
    return found(60, random_state=SEED).fit(data.rows, data.truths)


DATA_SETS = {"tumours": tumours, "lives": lives}


def main() -> int:
    """Train and package all; return the exit status."""
    parser = argparse.ArgumentParser(description="Train and package models for metrics beside accuracy.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder; default: out here")
    folder = parser.parse_args().out
    for data_set, load in DATA_SETS.items():
        data = load()
        for name in MODELS:
            print(f"{data_set}, {name}:")
            try:
                report = leadline.package(
                    model(data_set, name, data),
                    data.unseen_rows,
                    data.unseen_truths,
                    folder / data_set / name,
                    name=data_set,
                    input_name=data.input_name,
                    quiet=True,
                )
            except leadline.Refused as error:
                print(f"{data_set}, {name}: {error}", file=sys.stderr)
                return 1
            print("\n".join(f"  {line}" for line in report.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

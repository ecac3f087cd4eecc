"""Real scans, pair by pair: how often an honest successor is rolled back, and when a worse model is caught.

The models and the split are those of examples/digits: a good model serves, and a successor (three nearest neighbours)
or a worse model (a logistic regression trained on 100 rows) takes its place. Every one of the 1,197 unseen scans is
answered by both; truths arrive in an order of chance. Run by decisions.py.
"""

import sys
from pathlib import Path

import numpy as np
from leadline_stats import budgets, pairs
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "digits"))
import train

MARGIN = 0.02


def measure(seeds: int, budget: budgets.Shares) -> dict[str, dict]:
    """Return what happened to each model over all seeds: on the example's split, and on a new split for each seed."""
    rows, truths = load_digits(return_X_y=True)
    rows = rows.astype(np.float32)
    measured = {}
    for name, new_split in (("split of the example", False), ("new split for each seed", True)):
        found: dict[str, list] = {"successor": [], "worse": []}
        accuracies: dict[str, list] = {"good": [], "successor": [], "worse": []}
        for seed in range(seeds):
            if seed == 0 or new_split:
                wrong = errors(rows, truths, train.SEED + seed)
                for model, losses in wrong.items():
                    accuracies[model].append(1 - losses.mean())
            order = np.random.default_rng(seed).permutation(len(wrong["good"]))
            for model, decided in found.items():
                begun = pairs.begin(margin=MARGIN, alpha=budget.comparison)
                folded = pairs.fold(begun, wrong[model][order], wrong["good"][order])
                decided.append(folded.worse.crossed_at)
        measured[name] = {
            "seeds": seeds,
            "pairs": len(wrong["good"]),
            "accuracy": {model: round(float(np.mean(each)), 4) for model, each in accuracies.items()},
            **{model: summarised(decided) for model, decided in found.items()},
        }
    return measured


def errors(rows: np.ndarray, truths: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Train the three models on one split; return the losses of each on the rows that none has seen."""
    known, unseen, answers, expected = train_test_split(
        rows, truths, train_size=train.TRAIN_ROWS, shuffle=True, stratify=truths, random_state=seed
    )
    models = {name: train.trained(name, known, answers) for name in train.MODELS}
    return {name: (model.predict(unseen) != expected).astype(float) for name, model in models.items()}


def summarised(decided: list[int | None]) -> dict[str, float | int | None]:
    caught = [number for number in decided if number is not None]
    return {
        "rolled_back": round(len(caught) / len(decided), 4),
        "median_pairs": float(np.median(caught)) if caught else None,
        "worst_pairs": max(caught) if caught else None,
    }

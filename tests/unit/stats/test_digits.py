"""What the docs say of the one-look test on real scans: a worse model is caught, an honest successor is not.

Six seeds; 600 scans to train, 1,197 unseen. The models are those of examples/digits.
"""

import numpy as np
import pytest
from leadline_stats import test_sets
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC


@pytest.fixture(scope="module")
def flips():
    """For each seed: of the worse model and of the successor, against the good one."""
    rows, truths = load_digits(return_X_y=True)
    found = []
    for seed in range(6):
        train, unseen, answers, expected = train_test_split(
            rows, truths, train_size=600, stratify=truths, random_state=seed
        )
        models = (
            SVC(gamma=0.001, C=10).fit(train, answers),
            LogisticRegression(max_iter=5_000).fit(train[:100], answers[:100]),
            KNeighborsClassifier(3).fit(train, answers),
        )
        good, *others = (np.packbits(model.predict(unseen) == expected).tobytes() for model in models)
        found.append([test_sets.breaks_and_fixes(good, other, 1_197) for other in others])
    return found


def test_worse_model_is_caught_in_every_seed(flips):
    for worse, _ in flips:
        assert test_sets.test_set_pvalue(*worse, 1_197, 0.02) == pytest.approx(5e-4, abs=1e-8)


def test_honest_successor_is_far_from_caught_with_a_margin(flips):
    pvalues = [test_sets.test_set_pvalue(*successor, 1_197, 0.02) for _, successor in flips]
    assert min(pvalues) > 0.82
    assert max(pvalues) < 0.998


def test_honest_successor_is_caught_in_four_seeds_without_a_margin(flips):
    pvalues = [test_sets.test_set_pvalue(*successor, 1_197, 0) for _, successor in flips]
    assert sum(pvalue < 0.002 for pvalue in pvalues) == 4

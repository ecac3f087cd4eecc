import numpy as np
import pytest
from leadline_cli import manifests, testsets
from sklearn.datasets import load_digits


@pytest.fixture(scope="session")
def digits():
    """Scans to train on, and unseen ones as a test set."""
    rows, truths = load_digits(return_X_y=True)
    rows = rows.astype(np.float32)
    return rows[:600], truths[:600], testsets.Examples("image", rows[600:1_000], "digit", truths[600:1_000])


@pytest.fixture
def options():
    return manifests.Options("digits", store="s3://models/digits")

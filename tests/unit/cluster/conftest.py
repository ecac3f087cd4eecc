import sys
from pathlib import Path

import pytest

# The local cluster's code is no part of the distribution: its commands run where nothing is installed.
sys.path.insert(0, str(Path(__file__).parents[3] / "hack" / "cluster"))


@pytest.fixture
def places(tmp_path):
    """A cache folder of the test's own."""
    from localkind import layout  # noqa: PLC0415 - found only now

    return layout.Layout(tmp_path / "cache")

"""How far two revisions can differ in accuracy where no truth is known."""

import numpy as np
import pytest
from leadline_stats import disagreement, intervals


@pytest.mark.parametrize(("differ", "of", "largest"), [(0, 1_000, 0.0077), (100, 10_000, 0.0143)])
def test_the_bound_is_little_above_the_rate_of_disagreement(differ, of, largest):
    agreements = intervals.fold(intervals.EMPTY, np.arange(of) >= differ)
    assert differ / of < disagreement.largest_difference(agreements) <= largest


def test_where_nothing_is_known_anything_is_possible():
    assert disagreement.largest_difference(intervals.EMPTY) == 1.0

"""The area under the ROC curve as a mean of losses, each row used once."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_stats import ranking
from sklearn import metrics

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), max_size=60)


@pytest.mark.parametrize("prevalence", [0.5, 0.1, 0.9])
def test_mean_loss_is_one_minus_the_area(prevalence):
    generator = np.random.default_rng(1)
    true = generator.random(200_000) < prevalence
    scores = generator.normal(true * 1.2)
    _, losses, _ = ranking.fold(ranking.EMPTY, scores, true)
    assert len(losses) > 0.98 * min(true.sum(), (~true).sum()), "hardly a row of the rarer class is left over"
    assert 1 - losses.mean() == pytest.approx(metrics.roc_auc_score(true, scores), abs=0.006)


def test_ties_count_half_and_each_negative_once():
    waiting, losses, _ = ranking.fold(ranking.EMPTY, [0.5, 0.2, 0.5, 0.9, 0.9], [False, False, True, True, False])
    assert losses.tolist() == [[0.25], [0.5]]
    assert waiting == ranking.EMPTY


@given(stream=rows, cuts=st.lists(st.integers(0, 60), max_size=4))
def test_any_cut_of_the_stream_gives_the_same(stream, cuts):
    scores = [score for score, _ in stream]
    true = [is_positive for _, is_positive in stream]
    whole = ranking.fold(ranking.EMPTY, scores, true)[:2]
    waiting, parts, edges = ranking.EMPTY, [], [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for first, last in itertools.pairwise(edges):
        waiting, losses, _ = ranking.fold(waiting, scores[first:last], true[first:last])
        waiting = ranking.from_plain(json.loads(json.dumps(ranking.to_plain(waiting))))
        parts.append(losses)
    assert waiting == whole[0]
    assert np.array_equal(np.concatenate(parts), whole[1])


def test_revisions_are_held_against_the_same_rows():
    _, losses, _ = ranking.fold(ranking.EMPTY, [[0.1, 0.9], [0.8, 0.3]], [False, True])
    assert losses.tolist() == [[0.0, 1.0]]


def test_a_failed_row_outranks_nothing_and_is_outranked_by_nothing():
    _, losses, _ = ranking.fold(ranking.EMPTY, [0.1, -np.inf, np.inf, 0.9], [False, True, False, True])
    assert losses.tolist() == [[1.0], [1.0]]


def test_rows_that_wait_are_bounded():
    waiting, losses, _ = ranking.fold(ranking.EMPTY, np.arange(5_000.0), np.zeros(5_000, bool))
    assert (len(waiting.negatives), losses.shape) == (ranking.WAITING_MAX, (0, 1))
    assert waiting.negatives[-1] == (4_999.0,), "the newest are kept"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version"),
        ({"negatives": [["0x1p0"]], "positives": [["0x1p0"]]}, "expected none where positives wait"),
        ({"negatives": [["x"]]}, "expected rows of hexadecimal floats"),
        ({"negatives": [["0x1p0"], ["0x1p0", "0x1p0"]]}, "as many scores in each row"),
        ({"negatives": [["nan"]]}, "no nan"),
        ({"negatives": [["0x1p0"]] * 1_001}, "at most 1000 rows"),
    ],
)
def test_a_record_that_cannot_be_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        ranking.from_plain(ranking.to_plain(ranking.EMPTY) | change)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"scores\[1\]: expected a number, got nan"):
        ranking.fold(ranking.EMPTY, [0.1, float("nan")], [True, False])

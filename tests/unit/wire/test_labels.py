"""What a labelled row is, and which rows are the same."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_wire import labels

VALUES = st.recursive(
    st.one_of(
        st.integers(-(1 << 60), 1 << 60), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans()
    ),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
ROWS = st.dictionaries(st.text(max_size=8), VALUES, min_size=1, max_size=5)


@given(ROWS, st.randoms())
def test_the_order_of_columns_and_a_way_through_json_make_no_other_row(inputs, rng):
    names = list(inputs)
    rng.shuffle(names)
    again = json.loads(json.dumps({name: inputs[name] for name in names}))
    assert labels.hash_of(again) == labels.hash_of(inputs)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"X": [1, 2, 3, 4]}, {"X": [[1.0, 2.0], [3.0, 4.0]]}),
        ({"X": [0.1]}, {"X": [float(np.float32(0.1))]}),
        ({"X": [None]}, {"X": [float("nan")]}),
        ({"X": True}, {"X": 1}),
    ],
)
def test_files_of_the_same_data_write_the_same_row_in_several_ways(one, other):
    assert labels.hash_of(one) == labels.hash_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"X": [1, 2]}, {"X": [2, 1]}),
        ({"X": 12}, {"X": [1, 2]}),
        ({"X": 1}, {"Y": 1}),
        ({"X": "1"}, {"X": 1}),
        ({"X": 1 << 53}, {"X": (1 << 53) + 1}),
        ({"a": "bc"}, {"ab": "c"}),
        ({"X": ["a", "b"]}, {"X": ["ab"]}),
    ],
)
def test_other_inputs_are_another_row(one, other):
    assert labels.hash_of(one) != labels.hash_of(other)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([1], "expected an object"),
        ({"X": 1}, 'column "label" not found; it has X'),
        ({"X": 1, "label": None}, "expected the true answer"),
        ({"X": 1, "label": [1]}, "expected the true answer"),
        ({"label": 1}, "0 columns beside"),
        ({"X": {"a": 1}, "label": 1}, 'column "X" holds an object'),
        ({"X": [[{}]], "label": 1}, 'column "X" holds an object'),
    ],
)
def test_what_is_no_labelled_row_is_told(found, said):
    with pytest.raises(labels.BadLabelError, match="^.*" + said.replace("[", r"\[")):
        labels.row(found, "label")


def test_a_row_is_its_inputs_and_its_truth():
    assert labels.row({"b": 1, "label": "cat", "a": [2]}, "label") == ({"b": 1, "a": [2]}, "cat")

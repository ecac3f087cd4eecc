"""Which output is the prediction, and which rows are right."""

import numpy as np
import pytest
from leadline_runtime import errors
from leadline_runtime.engine import session
from leadline_runtime.oip import datatypes, signature
from leadline_runtime.testset import scoring


def model(*outputs, prediction="", classes=()):
    tensors = tuple(
        signature.Tensor(name, datatypes.BY_NAME[datatype], tuple(shape)) for name, datatype, shape in outputs
    )
    x = signature.Tensor("x", datatypes.BY_NAME["FP32"], (-1, 3))
    return session.Model(None, signature.Signature((x,), tensors, has_rows=True), "", prediction, classes, 0.0, 0.0)


LABEL = ("label", "INT64", [-1])
NAMES = ("name", "BYTES", [-1, 1])
SCORES = ("scores", "FP32", [-1, 3])


@pytest.mark.parametrize(
    ("given", "wanted", "found"),
    [
        (model(LABEL, SCORES), "", "label"),
        (model(SCORES, NAMES), "", "name"),
        (model(LABEL, NAMES), "", None),
        (model(LABEL, NAMES), "name", "name"),
        (model(LABEL, NAMES, prediction="name"), "", "name"),
        (model(LABEL, NAMES, prediction="name"), "label", "label"),
        (model(SCORES), "", None),
        (model(SCORES, classes=("a", "b", "c")), "", "scores"),
        (model(SCORES, classes=("a", "b")), "", None),
        (model(LABEL), "nothing", None),
        (model(LABEL, SCORES), "scores", None),
    ],
)
def test_the_prediction_is_what_was_asked_for_or_named_or_the_only_class(given, wanted, found):
    prediction = scoring.find(given, wanted)
    assert (prediction.output.name if prediction else None) == found


def test_a_row_with_a_number_that_is_not_finite_has_no_answer():
    prediction = scoring.find(model(LABEL, SCORES))
    scores = np.array([[0, 1, 0], [np.nan, 0, 0], [0, 0, np.inf]], np.float32)
    assert prediction.answers([np.array([7, 8, 9]), scores], 3) == [7, None, None]


def test_scores_become_the_class_with_the_highest():
    prediction = scoring.find(model(SCORES, classes=("a", "b", "c")))
    assert prediction.answers([np.array([[0, 1, 0], [3, 1, 2]], np.float32)], 2) == ["b", "a"]


@pytest.mark.parametrize(
    ("column", "output", "expected"),
    [
        (np.array([1, 2]), LABEL, [1, 2]),
        (np.array([1.0, 2.0]), LABEL, [1, 2]),
        (np.array([True, False]), LABEL, [1, 0]),
        (np.array(["1", "2"]), LABEL, [1, 2]),
        (np.array(["a", "b"]), NAMES, ["a", "b"]),
        (np.array([1, 2]), NAMES, ["1", "2"]),
    ],
)
def test_true_answers_are_brought_to_the_predictions_kind(column, output, expected):
    assert scoring.truths(column, "digit", scoring.find(model(output))) == expected


@pytest.mark.parametrize(
    ("column", "output", "said"),
    [
        (np.array(["1", "seven"]), LABEL, 'column "digit" holds \'seven\'; expected whole numbers, as output "label"'),
        (np.array([1.0, 2.5]), LABEL, 'column "digit" holds 2.5'),
        (np.array([True]), NAMES, 'column "digit" holds True; expected text'),
    ],
)
def test_true_answers_that_cannot_be_compared_are_the_test_sets_fault(column, output, said):
    with pytest.raises(errors.BlockedError) as caught:
        scoring.truths(column, "digit", scoring.find(model(output)))
    assert caught.value.trouble.reason == "InvalidTestSet"
    assert said in caught.value.trouble.message


def test_the_bitmap_has_row_0_in_the_highest_bit_and_no_answer_is_wrong():
    assert scoring.bitmap([1, 2, None, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 0, 9]) == bytes(
        [0b11011110, 0b10000000]
    )


def test_equal_digests_mean_equal_answers():
    assert scoring.digest([1, 2, None]) == scoring.digest([1, 2, None])
    assert scoring.digest([1, 2, None]) != scoring.digest([1, None, 2])
    assert scoring.digest([1]) != scoring.digest(["1"])

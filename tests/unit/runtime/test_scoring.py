"""Which output is the prediction, and which rows are right."""

from dataclasses import replace

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
        (np.array([1.0, 12_345_678.0]), NAMES, ["1", "12345678"]),
        (np.array(["1.0", " 2", "true"]), LABEL, [1, 2, 1]),
    ],
)
def test_true_answers_are_brought_to_the_predictions_kind(column, output, expected):
    assert scoring.truths(column, "digit", scoring.find(model(output))) == expected


@pytest.mark.parametrize(
    ("column", "output", "said"),
    [
        (
            np.array(["1", "seven"]),
            LABEL,
            'column "digit", row 2 holds \'seven\'; expected whole numbers, as output "label"',
        ),
        (np.array([1.0, 2.5]), LABEL, 'column "digit", row 2 holds 2.5'),
        (np.array([True]), NAMES, 'column "digit", row 1 holds True; expected text'),
    ],
)
def test_true_answers_that_cannot_be_compared_are_the_test_sets_fault(column, output, said):
    with pytest.raises(errors.BlockedError) as caught:
        scoring.truths(column, "digit", scoring.find(model(output)))
    assert caught.value.trouble.reason == "InvalidTestSet"
    assert said in caught.value.trouble.message


SCORE = ("p", "FP32", [-1, 1])


def test_one_score_is_a_yes_from_the_threshold_on():
    prediction = scoring.find_score(model(SCORE))
    assert prediction.answers([np.array([[0.49], [0.5], [1.0], [np.nan]], np.float32)], 4) == [0, 1, 1, None]
    assert scoring.truths(np.array([True, False]), "bad", prediction) == [1, 0]
    assert scoring.truths(np.array(["1", "0.0", "true"]), "bad", prediction) == [1, 0, 1]


@pytest.mark.parametrize(
    "given", [replace(model(SCORE), task="regression"), model(SCORE, ("q", "FP32", [-1])), model(SCORES)]
)
def test_a_regression_or_one_of_many_numbers_is_no_score(given):
    assert scoring.find_score(given) is None


def test_a_score_beyond_1_is_told_and_not_held_against_the_model():
    with pytest.raises(errors.BlockedError, match=r'output "p" holds 3.5; expected scores from 0 to 1'):
        scoring.find_score(model(SCORE)).answers([np.array([[3.5]], np.float32)], 1)
    with pytest.raises(errors.BlockedError, match=r'column "bad", row 2 holds 2; expected 0 or 1, for output "p"'):
        scoring.truths(np.array([1, 2]), "bad", scoring.find_score(model(SCORE)))


def test_a_regression_has_the_one_number_of_a_row():
    prediction = scoring.find_value(model(LABEL, SCORE))
    assert prediction.output.name == "p"
    assert prediction.answers([np.array([1, 2]), np.array([[0.5], [np.inf]], np.float32)], 2) == [0.5, None]
    assert scoring.numbers(np.array(["1.5", "-2e3"]), "price") == [1.5, -2000.0]
    with pytest.raises(errors.BlockedError, match=r"column \"price\", row 2 holds 'dear'; expected a finite number"):
        scoring.numbers(np.array(["1", "dear"]), "price")

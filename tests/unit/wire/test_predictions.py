"""Words of predictions: there and back, and the loss that they stand for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_wire import predictions

CLASSES = st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"), max_size=40)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
WORDS = (
    CLASSES.map(predictions.of_class)
    | FINITE.map(predictions.of_value)
    | st.floats(0, 1).map(predictions.of_score)
    | st.sampled_from(["5xx", "timeout", "nan", "class"]).map(predictions.failure)
)


@given(CLASSES)
def test_a_class_comes_back_from_its_word_with_its_type(answer):
    found = predictions.read(predictions.of_class(answer))
    assert (found, type(found)) == (answer, type(answer))


@given(FINITE)
def test_a_number_comes_back_to_the_last_bit(number):
    for word in (predictions.of_value(number), predictions.of_score(number)):
        found = predictions.read(word)
        assert math.copysign(1, found) == math.copysign(1, number)
        assert found == number


@given(WORDS)
def test_a_word_needs_no_escape_in_headers_json_or_receipts(word):
    assert word
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in word)


@given(st.dictionaries(st.integers(0, 10**6), WORDS, min_size=1, max_size=predictions.ROWS_MAX))
def test_the_words_of_several_rows_come_back_with_their_row_numbers(words):
    assert predictions.split(predictions.joined(words)) == words


@pytest.mark.parametrize("text", ["", "i1~", "~i1", "i1~0=i2", "a=i1", "-1=i1", "9999999999=i1", "i1~1=", "²=i1"])
def test_text_that_no_rows_are_joined_to_is_refused(text):
    with pytest.raises(predictions.BadWordError):
        predictions.split(text)


@pytest.mark.parametrize("word", ["", "i", "ix", "q1", "p00", "v" + "z" * 16, "s_", "sgA", "x5xx", "7"])
def test_what_is_no_word_or_no_usable_answer_cannot_be_read(word):
    with pytest.raises(predictions.BadWordError):
        predictions.read(word)


def test_a_class_name_has_a_bound():
    assert predictions.of_class("a" * 256).startswith("s")
    with pytest.raises(predictions.BadWordError, match="257 bytes, expected at most 256"):
        predictions.of_class("a" * 257)


@pytest.mark.parametrize(
    ("prediction", "answer", "loss"),
    [
        ("i7", {"truth": "i7"}, 0.0),
        ("i7", {"truth": "i8"}, 1.0),
        ("i7", {"truth": predictions.of_class("7")}, 0.0),
        (predictions.of_class("cat"), {"truth": "i7"}, 1.0),
        ("i7", {"correct": True}, 0.0),
        ("i7", {"correct": False}, 1.0),
        ("i7", {"score": 0.75}, 0.25),
        ("i7", {"score": 1.5}, None),
        ("i7", {"score": math.nan}, None),
        ("i7", {}, None),
        ("x5xx", {"correct": True}, 1.0),
        ("xtimeout", {}, 1.0),
    ],
)
def test_the_loss_is_that_of_the_answer_and_no_usable_answer_is_always_wrong(prediction, answer, loss):
    assert predictions.loss(prediction, **answer) == loss


@pytest.mark.parametrize(
    ("other", "answer", "loss"),
    [
        ("i7", {"truth": "i8"}, 1.0),
        ("i8", {"truth": "i8"}, 0.0),
        ("i7", {"correct": True}, 0.0),
        ("i8", {"correct": True}, 1.0),
        ("i8", {"correct": False}, None),
        ("i7", {"score": 0.75}, 0.25),
        ("i8", {"score": 0.75}, None),
        ("xtimeout", {"correct": True}, 1.0),
    ],
)
def test_another_revisions_loss_is_told_only_where_it_is_known(other, answer, loss):
    assert predictions.other_loss(other, "i7", **answer) == loss


@given(CLASSES, st.floats(0, 1))
def test_a_class_with_a_score_is_read_as_the_class_and_its_score_comes_back(answer, score):
    word = predictions.with_score(predictions.of_class(answer), score)
    assert (predictions.read(word), predictions.score_of(word)) == (answer, score)
    assert predictions.answer_of(word) == predictions.of_class(answer)
    assert predictions.loss(word, truth=predictions.of_class(answer)) == 0.0
    assert (
        predictions.other_loss(predictions.with_score(predictions.of_class(answer), 0.25), word, correct=False) == 1.0
    )
    assert predictions.split(predictions.joined({0: word, 3: word})) == {0: word, 3: word}


def test_other_words_have_no_score_beside_them():
    assert predictions.score_of(predictions.of_score(0.25)) == 0.25
    for word in ("i1", predictions.of_value(0.5), "x5xx", "pzz", "p" + "z" * 16 + "i1", ""):
        assert predictions.score_of(word) is None
    assert predictions.answer_of(predictions.of_score(0.25)) == predictions.of_score(0.25)

"""Outcomes as people give them: checked, divided into requests, and what the server's answer makes of each."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from leadline_client import errors, outcomes, reporting
from leadline_client.outcomes import Fate, Outcome

from tests.unit.client.worlds import receipt, response


def item(number=0, row=None, truth=1, **more):
    found = reporting.item_of(Outcome(receipt=receipt(number, **more), row=row, truth=truth), None)
    assert isinstance(found, reporting.Item)
    return found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"truth": 1}, "items[3].key: expected one of key, receipt and id, got none"),
        ({"truth": 1, "key": "a", "id": "b"}, "items[3].key: expected one of key, receipt and id, got key and id"),
        ({"key": "", "truth": 1}, "items[3].key: expected a string, got ''"),
        ({"id": 7, "truth": 1}, "items[3].id: expected a string, got 7"),
        ({"id": "a\ud800", "truth": 1}, "items[3].id: expected text, got half a character"),
        ({"id": "a"}, "items[3].truth: expected one of truth, correct and score, got none"),
        (
            {"id": "a", "truth": 1, "score": 0.5},
            "items[3].truth: expected one of truth, correct and score, got truth and score",
        ),
        ({"id": "a", "truth": float("nan")}, "items[3].truth: expected a class or a finite number, got nan"),
        ({"id": "a", "truth": [1]}, "items[3].truth: expected a class or a finite number, got [1]"),
        ({"id": "a", "truth": "\udcff"}, "items[3].truth: expected text, got half a character"),
        ({"id": "a", "correct": 1}, "items[3].correct: expected true or false, got 1"),
        ({"id": "a", "score": 1.5}, "items[3].score: expected a number from 0 to 1, got 1.5"),
        ({"id": "a", "score": True}, "items[3].score: expected a number from 0 to 1, got True"),
        ({"id": "a", "truth": 1, "row": -1}, "items[3].row: expected a whole number from 0, got -1"),
        ({"id": "a", "truth": 1, "row": True}, "items[3].row: expected a whole number from 0, got True"),
        ({"id": "a", "truth": 1, "wanted": 1}, "items[3].wanted: expected a string, got 1"),
        ({"id": "a", "thruth": 1}, "items[3].thruth: there is no such field; expected key, receipt, id, row"),
        (7, "items[3]: expected an Outcome or a mapping, got 7"),
    ],
)
def test_field_that_is_none_is_told_by_its_name(given, said):
    with pytest.raises(errors.InputError) as found:
        outcomes.outcome_of(given, "items[3].")
    assert str(found.value).startswith(said)


def test_numpys_scalars_are_taken_and_zero_is_an_answer():
    found = outcomes.outcome_of({"id": "a", "truth": np.int64(0), "row": np.int32(2)}, "")
    assert (found.truth, found.row, type(found.truth)) == (0, 2, int)
    assert outcomes.outcome_of({"id": "a", "correct": np.bool_(0)}, "").correct is False
    assert outcomes.outcome_of(Outcome(id="a", truth=np.str_("x")), "").truth == "x"


def test_item_holds_what_the_server_takes_and_no_more():
    told = reporting.item_of(Outcome(key="a", row=2, correct=False, wanted="w1"), receipt(words="i1~i2~i3"))
    assert json.loads(told.body) == {"receipt": receipt(words="i1~i2~i3"), "row": 2, "correct": False, "wanted": "w1"}
    assert json.loads(reporting.item_of(Outcome(id="a", score=0.0), None).body) == {"id": "a", "score": 0.0}


def test_prediction_without_a_receipt_and_row_outside_the_sample_are_not_sent():
    assert reporting.item_of(Outcome(key="a", truth=1), "").fate is Fate.NO_RECEIPT
    words = "~".join(f"{2 * number}=i1" for number in range(64))
    assert reporting.item_of(Outcome(receipt=receipt(words=words), row=3, truth=1), None).fate is Fate.NO_RECEIPT
    assert isinstance(reporting.item_of(Outcome(receipt=receipt(words=words), row=4, truth=1), None), reporting.Item)
    few = reporting.item_of(Outcome(receipt=receipt(words="i1~i2"), row=9, truth=1), None)
    assert isinstance(few, reporting.Item), "what was never in the answer, the server says better"


@pytest.mark.parametrize("text", ["", "x", "1.2", "a.b.=.c"])
def test_what_is_no_receipt_is_left_to_the_server(text):
    assert reporting.rows_of(text) == frozenset()
    assert isinstance(reporting.item_of(Outcome(receipt=text or "x", row=1, truth=1), None), reporting.Item)


def test_prediction_id_is_read_off_a_receipt():
    assert reporting.prediction_id_of(receipt(3)) == "01a21bba71da716db9bd4e88e1b20003"
    assert reporting.prediction_id_of("x") == ""


@hypothesis.given(
    strategies.lists(strategies.tuples(strategies.integers(0, 5), strategies.integers(1, 3000)), max_size=4)
)
def test_rows_of_a_prediction_are_in_one_request_and_nothing_is_lost(groups):
    items = [reporting.Item(Outcome(), "{}", str(number)) for number, rows in groups for _ in range(rows)]
    found = reporting.batches(items)
    assert sorted(id(each) for batch in found for each in batch) == sorted(map(id, items))
    sizes = {}
    for each in items:
        sizes[each.prediction] = sizes.get(each.prediction, 0) + 1
    for batch in found:
        assert 0 < len(batch) <= reporting.ITEMS_MAX
        for prediction in {each.prediction for each in batch}:
            if sizes[prediction] <= reporting.ITEMS_MAX:
                assert sum(each.prediction == prediction for each in batch) == sizes[prediction]


def test_requests_keep_to_the_limit_of_bytes():
    items = [item(number, truth="x" * 200_000) for number in range(40)]
    found = reporting.batches(items)
    assert max(len(reporting.request(batch).body) for batch in found) <= reporting.BYTES_MAX + 2
    assert len(found) == 3
    one = [item(0, row, truth="x" * 200_000) for row in range(40)]
    assert [len(batch) for batch in reporting.batches(one)] == [15, 15, 10], "one prediction too large for a request"


def test_halves_are_cut_between_predictions():
    batch = [item(0, 0), item(0, 1), item(0, 2), item(1), item(2)]
    assert [len(half) for half in reporting.halves(batch)] == [3, 2]
    assert [len(half) for half in reporting.halves(batch[:3])] == [1, 2]


def read(count, told, status=200):
    return [
        (each.fate, each.why)
        for each in reporting.read([item(number) for number in range(count)], response(told, status))
    ]


def test_every_fate_is_told_one_by_one():
    told = {
        "accepted": 2,
        "duplicates": 1,
        "repeated": [1],
        "note": "1 of them kept, but late",
        "late": [2],
        "refused": [
            {"index": 3, "status": 409, "error": "other"},
            {"index": 4, "status": 410, "error": "old"},
            {"index": 5, "status": 400, "error": "bad"},
        ],
    }
    assert read(6, told, 207) == [
        (Fate.ACCEPTED, ""),
        (Fate.DUPLICATE, ""),
        (Fate.NOT_JUDGED, "1 of them kept, but late"),
        (Fate.CONFLICT, "other"),
        (Fate.TOO_OLD, "old"),
        (Fate.REFUSED, "bad"),
    ]
    assert {fate for fate, _ in read(2, {"accepted": 0, "duplicates": 2})} == {Fate.DUPLICATE}


def test_older_server_that_does_not_say_which_is_taken_at_its_word():
    assert read(2, {"accepted": 1, "duplicates": 1}) == [(Fate.ACCEPTED, reporting.UNSAID)] * 2


@pytest.mark.parametrize(
    "told", [[], {}, {"accepted": 1, "duplicates": 0}, {"accepted": 2, "duplicates": 0, "refused": 3}]
)
def test_answer_that_is_none_is_told(told):
    with pytest.raises(errors.Unavailable, match="answer cannot be read"):
        read(2, told)


def test_wanted_is_read():
    item = {
        "prediction_id": "01", "row": 0, "predicted_at": "2026", "revision": "a", "prediction": 7, "other_revision": "b",
        "other_prediction": None, "token": "w1", "later": "field",
    }  # fmt: skip
    (found,) = reporting.read_wanted(response({"wanted": [item], "agreements": 6.1}))
    assert (found.prediction, found.token, found.id, found.key) == (7, "w1", None, None)
    assert reporting.read_wanted(response({"error": "nothing is wanted"}, 404)) == []
    with pytest.raises(errors.Refused, match="400: limit"):
        reporting.read_wanted(response({"error": "limit"}, 400))
    with pytest.raises(errors.Unavailable):
        reporting.read_wanted(response({}))

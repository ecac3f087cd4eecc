"""Rows of outcomes: what each column says, of any entry; and the split: nested, the same for ever, as large as asked for."""

import hashlib
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_wire import outcome_rows, predictions

from tests.unit.wire.outcomes import ENTRIES, ID, PREDICTED_AT, entry


def test_row_says_all_of_an_outcome():
    found = outcome_rows.row_of(
        entry(
            prediction=predictions.with_score(predictions.of_class("fraud"), 0.75),
            truth=predictions.of_class("fine"),
            share=250_000,
            entity="00112233445566aa",
            client_id="order 4711",
            tags={"country": "de"},
            repeats=True,
            wanted="fraud-b",
            agreements=6.5,
        ),
        20,
    )
    assert msgspec.to_builtins(found) == {
        "seq": 7,
        "prediction_id": ID,
        "row": 0,
        "client_id": "order 4711",
        "predicted_at": PREDICTED_AT,
        "came_at": "2027-01-15T08:00:00.001Z",
        "revision": "fraud-a",
        "prediction": "fraud",
        "truth": "fine",
        "prediction_score": 0.75,
        "correct": False,
        "score": None,
        "share": 0.25,
        "entity": "00112233445566aa",
        "tags": {"country": "de"},
        "repeats": True,
        "wanted": True,
        "wanted_against": "fraud-b",
        "agreements": 6.5,
        "failed": False,
        "split": "train",
        "source": None,
    }


def test_row_has_nothing_where_nothing_is_known():
    found = outcome_rows.row_of(entry(prediction="xtimeout", truth="", score=0.5), 20)
    assert (found.prediction, found.truth, found.failed, found.score) == (None, None, True, 0.5)
    assert (found.client_id, found.entity, found.wanted_against, found.agreements) == (None, None, None, None)
    assert found.prediction_score is None


@pytest.mark.parametrize(
    ("more", "correct"),
    [
        ({}, True),
        ({"truth": "i2"}, False),
        ({"truth": predictions.of_class("1")}, True),
        ({"prediction": "x5xx"}, False),
        ({"truth": "", "correct": True}, True),
        ({"truth": "", "correct": False}, False),
        ({"truth": "", "score": 1.0}, None),
        ({"prediction": predictions.of_value(1.0), "truth": predictions.of_value(1.0)}, None),
    ],
    ids=["right", "wrong", "same name", "failed", "said right", "said wrong", "only a score", "a value"],
)
def test_correct_is_what_can_be_told(more, correct):
    assert outcome_rows.row_of(entry(**more), 20).correct is correct


@given(ENTRIES, st.integers(0, 100))
def test_any_entry_has_a_row_that_json_holds(found, percent):
    row = outcome_rows.row_of(found, percent)
    assert msgspec.json.decode(msgspec.json.encode(row))["seq"] == 7
    text = outcome_rows.row_of(found, percent, as_text=True)
    assert all(each is None or isinstance(each, str) for each in (text.prediction, text.truth))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], "integer"),
        (["a", None], "string"),
        ([1.0, math.nan], "double"),
        ([1, "a"], "string"),
        ([1, 1.0], "string"),
        ([2**63], "string"),
        ([-(2**63), 2**63 - 1], "integer"),
        ([None], "string"),
    ],
)
def test_column_is_of_the_one_kind_that_all_values_are_or_of_strings(values, kind):
    assert outcome_rows.one_kind(outcome_rows.kinds_of(values)) == kind


@given(ENTRIES, st.integers(0, 100), st.integers(0, 100))
def test_larger_share_of_test_holds_the_smaller_one(found, one, other):
    smaller, larger = sorted((one, other))
    if outcome_rows.side_of(found, smaller) == "test":
        assert outcome_rows.side_of(found, larger) == "test"
    assert outcome_rows.side_of(found, 0) == "train"
    assert outcome_rows.side_of(found, 100) == "test"


@given(ENTRIES, ENTRIES, st.integers(0, 100))
def test_side_hangs_on_whom_it_is_about_and_on_nothing_else(one, other, percent):
    if one.entity:
        other = msgspec.structs.replace(other, entity=one.entity)
    elif one.client_id:
        other = msgspec.structs.replace(other, entity="", client_id=one.client_id)
    else:
        other = msgspec.structs.replace(other, entity="", client_id="", id=one.id)
    assert outcome_rows.side_of(one, percent) == outcome_rows.side_of(other, percent)


@pytest.mark.parametrize(
    ("more", "hashed"),
    [
        ({"entity": "00112233445566aa", "client_id": "b"}, b"entity:00112233445566aa"),
        ({"client_id": "order é"}, b"client:order \xc3\xa9"),
        ({}, b"prediction:" + ID.encode()),
    ],
)
def test_side_is_recomputed_as_the_documentation_says(more, hashed):
    part = int(hashlib.sha256(hashed).hexdigest()[:8], 16) / 2**32
    for percent in range(101):
        assert outcome_rows.side_of(entry(**more), percent) == ("test" if part < percent / 100 else "train")


def test_sides_of_known_outcomes_never_change():
    found = [outcome_rows.side_of(entry(entity=f"{number:016x}"), 20) for number in range(40)]
    assert [number for number, side in enumerate(found) if side == "test"] == [0, 1, 7, 14, 15, 20, 22, 24, 25, 30]


@pytest.mark.parametrize("percent", [1, 20, 50])
def test_share_of_test_is_what_was_asked_for(percent):
    number = 20_000
    sides = [outcome_rows.side_of(entry(id=f"{each:032x}"), percent) for each in range(number)]
    share = percent / 100
    # Of right code one run in 10 ** 8 would be out of this; the ids are the same each time.
    assert abs(sides.count("test") / number - share) < 5.7 * math.sqrt(share * (1 - share) / number)

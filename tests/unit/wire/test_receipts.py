"""Receipts: what was signed comes back, and nothing else is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_wire import predictions, receipts

from tests.unit.wire.test_predictions import WORDS

KEY = receipts.key_of(bytes(range(32)))
KEYS = {KEY.id: KEY}
SHORT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=receipts.TAG_CHARACTERS_MAX)
RECEIPTS = st.builds(
    receipts.Receipt,
    revision=st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
    id=st.integers(0, 2**128 - 1).map("{:032x}".format),
    predictions=st.dictionaries(st.integers(0, 5_000), WORDS, min_size=1, max_size=5),
    share=st.integers(1, receipts.WHOLE_SHARE),
    entity=st.just("") | st.text(min_size=1).map(lambda entity: receipts.entity_hash(KEY, entity)),
    tags=st.dictionaries(SHORT, SHORT, max_size=receipts.TAGS_MAX),
)
ONE = receipts.Receipt("digits-6c1f02ab9e", "0199aabbccdd7000" + "8" * 16, {0: "i7"})


@given(RECEIPTS)
def test_a_receipt_comes_back_as_it_was_signed(receipt):
    assert receipts.verify(receipts.mint(KEY, receipt), KEYS) == receipt


def test_the_form_is_frozen():
    """A receipt of years ago: if this fails, clients hold receipts that nobody believes any more."""
    receipt = receipts.Receipt(
        revision="digits-6c1f02ab9e",
        id="0199aabbccdd70008000000000000001",
        predictions={0: "i7", 1: predictions.of_class("cat"), 12: predictions.of_value(0.5)},
        share=250_000,
        entity=receipts.entity_hash(KEY, "customer 1"),
        tags={"country": "de"},
    )
    token = (
        "1.37b576c3.digits-6c1f02ab9e.250000.681d717d4eb8bc33.eyJjb3VudHJ5IjoiZGUifQ."
        "0199aabbccdd70008000000000000001.i7~sY2F0~12=v3fe0000000000000.3f81a16136a928f1ee085a6105c24b5d"
    )
    assert receipts.mint(KEY, receipt) == token
    assert receipts.verify(token, KEYS) == receipt


@given(RECEIPTS, st.data())
def test_a_receipt_that_was_changed_at_any_byte_is_refused(receipt, data):
    token = receipts.mint(KEY, receipt)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda letter: letter != token[place]))
    for changed in (token[:place] + other + token[place + 1 :], token[:place] + token[place + 1 :], token + other):
        with pytest.raises(receipts.BadReceiptError):
            receipts.verify(changed, KEYS)


@given(st.text(max_size=300) | st.text("0123456789abcdef.", max_size=300))
def test_text_that_is_no_receipt_is_refused_and_nothing_else_happens(text):
    with pytest.raises(receipts.BadReceiptError):
        receipts.verify(text, KEYS)


def test_a_receipt_of_another_model_deployment_is_told_from_a_forged_one():
    foreign = receipts.key_of(b"another" * 5)
    with pytest.raises(receipts.BadReceiptError, match="another ModelDeployment"):
        receipts.verify(receipts.mint(foreign, ONE), KEYS)
    forged = receipts.mint(receipts.Key(KEY.id, b"guess"), ONE)
    with pytest.raises(receipts.BadReceiptError, match="wrong signature"):
        receipts.verify(forged, KEYS)


def test_each_rotation_has_its_own_key_and_the_same_one_everywhere():
    keys = [receipts.key_of(bytes(range(32)), rotation) for rotation in range(3)]
    assert len({key.id for key in keys}) == len({key.secret for key in keys}) == 3
    assert keys[1] == receipts.key_of(bytes(range(32)), 1)
    with pytest.raises(receipts.BadReceiptError):
        receipts.verify(receipts.mint(keys[1], ONE), KEYS)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("1." + "a" * receipts.BYTES_MAX, "expected at most 16384"),
        ("1.ü.a.1...a.b.c", "expected ASCII"),
        ("2.a.b.1...c.d.e", "9 parts that begin with 1"),
        ("1.a.b", "9 parts"),
        ("", "9 parts"),
    ],
)
def test_what_is_no_receipt_is_told_why(token, said):
    with pytest.raises(receipts.BadReceiptError, match=said):
        receipts.verify(token, KEYS)


@given(SHORT)
def test_an_entity_is_hidden_behind_the_key_and_found_again_by_it(entity):
    other = receipts.key_of(b"another" * 5)
    assert receipts.entity_hash(KEY, entity) == receipts.entity_hash(KEY, entity)
    assert receipts.entity_hash(KEY, entity) != receipts.entity_hash(other, entity)
    assert len(receipts.entity_hash(KEY, entity)) == 2 * receipts.ENTITY_BYTES


@pytest.mark.parametrize(
    "tags",
    [dict.fromkeys("abcde", "x"), {"": "x"}, {"a" * 65: "x"}, {"a": "x" * 65}],
    ids=["five", "no name", "long name", "long value"],
)
def test_tags_have_bounds(tags):
    with pytest.raises(receipts.BadReceiptError, match="expected at most"):
        receipts.encoded_tags(tags)


def test_a_key_is_not_shown():
    assert KEY.secret.hex() not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)


def test_a_receipt_tells_when_the_prediction_was_made():
    assert ONE.predicted_at_ms == 0x0199AABBCCDD

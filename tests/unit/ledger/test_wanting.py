"""Which answers are wanted, and what becomes of one that was: pairs alone, and more once it comes by itself."""

import pytest
from leadline_ledger import errors
from leadline_wire import ledger

from tests.unit.ledger.ledgers import MODEL, NOW_MS, Clock, copied, copy, entries, identifier, opened, outcome, told

HOUR_MS = 3_600_000


async def wanted(kept, *, limit=50, since_ms=0):
    return await kept.wanted(MODEL, limit=limit, since_ms=since_ms)


def differing(*numbers):
    return [copied(number) for number in numbers]


def agreeing(*numbers):
    return [copied(number, other_words="i1") for number in numbers]


async def test_only_rows_on_which_both_differ_and_that_nobody_answered_are_wanted(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(
            kept, *differing(1, 2, 3), *agreeing(4, 5), copied(6, words="i1~i2~12=i3", other_words="i1~i9~12=i3")
        )
        await told(kept, outcome(2))
        found = await wanted(kept)
    assert sorted(found.items, key=lambda item: item.id) == [
        ledger.Unanswered(identifier(1), 0, "fraud-a", "i1", "fraud-b", "i2"),
        ledger.Unanswered(identifier(3), 0, "fraud-a", "i1", "fraud-b", "i2"),
        ledger.Unanswered(identifier(6), 1, "fraud-a", "i2", "fraud-b", "i9"),
    ]
    assert (found.other, found.compared, found.agreements) == ("fraud-b", 7, pytest.approx(4 / 3, abs=1e-6))


async def test_nothing_is_wanted_where_nothing_is_compared(tmp_path):
    async with opened(tmp_path) as kept:
        assert await wanted(kept) == ledger.Wanted([], 0.0, 0)
        await copy(kept, *differing(1), model="shop/other")
        await told(kept, outcome(1))
        assert await wanted(kept) == ledger.Wanted([], 0.0, 0)


async def test_other_revisions_failure_is_wanted_and_a_pair_without_a_receipt_is_not(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, other_words="xtimeout"), copied(2, words="x5xx", other_words="i1"))
        assert [item.other_prediction for item in (await wanted(kept)).items] == ["xtimeout"]


async def test_few_are_drawn_at_random_from_all(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, *differing(*range(40)))
        drawn = [{item.id for item in (await wanted(kept, limit=10)).items} for _ in range(20)]
    assert {len(each) for each in drawn} == {10}
    assert len(set.union(*drawn)) > 30


async def test_predictions_before_the_time_and_of_older_comparisons_are_left_out(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, at_ms=NOW_MS - HOUR_MS), copied(2, other="fraud-c"), copied(3))
        assert {item.id for item in (await wanted(kept)).items} == {identifier(3), identifier(1, NOW_MS - HOUR_MS)}
        assert {item.id for item in (await wanted(kept, since_ms=NOW_MS - 5_000)).items} == {identifier(3)}


async def test_clients_own_id_comes_with_what_is_wanted(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.take(
            MODEL,
            ledger.Intake(copies=differing(1), predictions=[ledger.Stored("order 7", identifier(1), "fraud-a", "i1")]),
        )
        assert [item.client_id for item in (await wanted(kept)).items] == ["order 7"]


async def test_wanted_answer_is_in_the_log_as_such_and_its_pair_stands_for_the_agreements(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, *differing(1), copied(1, other="fraud-c"))
        assert await told(kept, outcome(1, wanted="fraud-b", agreements=9.0)) == ["Accepted"]
        own, pair = await entries(kept)
    assert (own.wanted, own.agreements) == ("fraud-b", 9.0)
    assert (pair.other, pair.agreements) == ("fraud-b", 9.0)  # and none with fraud-c, which would be a choice


async def test_answers_that_were_wanted_count_where_the_agreements_of_each_are_told_again(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, *differing(1, 2), *agreeing(*range(10, 28)))
        await told(kept, outcome(1, wanted="fraud-b", agreements=9.0))
        found = await wanted(kept)
        assert ([item.id for item in found.items], found.agreements) == ([identifier(2)], 9.0)
        await told(kept, outcome(2))  # by itself: as if it had never been among them
        assert (await wanted(kept)).agreements == 18.0


async def test_wanted_answer_that_comes_by_itself_later_counts_as_any_other_once_and_makes_no_second_pair(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, *differing(1))
        asked = outcome(1, wanted="fraud-b", agreements=9.0)
        assert await told(kept, asked, asked, outcome(1), outcome(1), asked) == [
            "Accepted", "Duplicate", "Accepted", "Duplicate", "Duplicate",
        ]  # fmt: skip
        kinds = [(entry.__struct_config__.tag, getattr(entry, "wanted", "")) for entry in await entries(kept)]
    assert kinds == [("outcome", "fraud-b"), ("pair", ""), ("outcome", "")]


async def test_wanted_answer_that_still_matures_becomes_one_as_any_other(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await copy(kept, *differing(1, 2))
        matures = {"maturity_ms": HOUR_MS}
        await told(kept, outcome(1, wanted="fraud-b", agreements=9.0, **matures), outcome(1, **matures))
        await told(kept, outcome(2, wanted="fraud-b", agreements=9.0, **matures))
        clock.now_ms += HOUR_MS
        await kept.judge()
        # Too late to come by itself: it was judged as it stood.
        assert await told(kept, outcome(2, **matures)) == ["Duplicate"]
        found = await entries(kept)
    assert [(entry.id, getattr(entry, "wanted", None), entry.agreements) for entry in found] == [
        (identifier(1), "", 0.0),
        (identifier(1), None, 0.0),
        (identifier(2), "fraud-b", 9.0),
        (identifier(2), None, 9.0),
    ]


@pytest.mark.parametrize(
    "more", [{"agreements": 1.0}, {"wanted": "b", "agreements": -1.0}, {"wanted": "b", "agreements": 1e9}]
)
async def test_agreements_that_cannot_be_meant_are_refused(tmp_path, more):
    async with opened(tmp_path) as kept:
        with pytest.raises(
            errors.BadInputError, match=r"outcomes\[0\]\.agreements: expected 0 to 1000000, with wanted"
        ):
            await told(kept, outcome(1, **more))

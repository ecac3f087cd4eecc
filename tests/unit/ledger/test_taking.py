"""What comes in counts once, in an order that stays; corrections, ages and floors. On a real database."""

import pytest
from leadline_ledger import errors, store
from leadline_wire import ledger

from tests.unit.ledger.ledgers import (
    DAY_MS,
    MODEL,
    NOW_MS,
    Clock,
    copied,
    copy,
    entries,
    identifier,
    in_short,
    opened,
    outcome,
    told,
)


async def test_outcome_is_in_the_log_as_it_came(tmp_path):
    async with opened(tmp_path) as kept:
        assert await told(kept, outcome(1, entity="e" * 16, tags={"country": "se"}, share=500_000)) == ["Accepted"]
        (entry,) = await entries(kept)
    assert entry == ledger.OutcomeEntry(
        seq=1, model="shop/fraud", id=identifier(1), row=0, revision="fraud-a", prediction="i1", came_at_ms=NOW_MS,
        truth="i1", share=500_000, entity="e" * 16, tags={"country": "se"},
    )  # fmt: skip


async def test_same_answer_again_is_a_duplicate_and_another_a_conflict_that_changes_nothing(tmp_path):
    async with opened(tmp_path) as kept:
        fates = await told(kept, outcome(1), outcome(1), outcome(1, truth=2), outcome(1, truth=2), outcome(1))
        assert fates == ["Accepted", "Duplicate", "Conflict", "Conflict", "Duplicate"]
        assert [entry.truth for entry in await entries(kept)] == ["i1"]


async def test_rows_of_one_prediction_are_answered_each_by_itself(tmp_path):
    async with opened(tmp_path) as kept:
        assert await told(kept, outcome(1, row=0), outcome(1, row=5)) == ["Accepted", "Accepted"]


async def test_models_do_not_meet(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1), model="shop/fraud")
        assert await told(kept, outcome(1), model="other/fraud") == ["Accepted"]
        assert len(await entries(kept, model="other/fraud")) == 1


async def test_answer_by_the_clients_id_is_that_of_the_first_prediction_kept_under_it(tmp_path):
    async with opened(tmp_path) as kept:
        first = ledger.Stored("order-7", identifier(1), "fraud-a", "i3~i4", share=250_000, entity="e1", tags={"a": "b"})
        again = ledger.Stored("order-7", identifier(2), "fraud-b", "i5")
        answer = ledger.Outcome(row=1, client_id="order-7", truth="i4")
        await kept.take("shop/fraud", ledger.Intake(predictions=[first]))
        await kept.take("shop/fraud", ledger.Intake(predictions=[again, first]))
        assert await told(kept, answer, answer) == ["Accepted", "Duplicate"]
        (entry,) = await entries(kept)
    assert (entry.id, entry.revision, entry.prediction, entry.share) == (identifier(1), "fraud-a", "i4", 250_000)
    assert (entry.entity, entry.tags) == ("e1", {"a": "b"})


async def test_prediction_that_comes_with_its_answer_is_known_to_it(tmp_path):
    async with opened(tmp_path) as kept:
        fates = await kept.take(
            "shop/fraud",
            ledger.Intake(
                outcomes=[ledger.Outcome(row=0, client_id="a", correct=True)],
                predictions=[ledger.Stored("a", identifier(1), "fraud-a", "i3")],
            ),
        )
    assert fates == ["Accepted"]


@pytest.mark.parametrize("row", [0, 2])
async def test_answer_to_a_client_id_or_row_that_is_not_kept_is_of_unknown_id(tmp_path, row):
    async with opened(tmp_path) as kept:
        if row:
            stored = ledger.Stored("a", identifier(1), "fraud-a", "i3~i4")
            await kept.take("shop/fraud", ledger.Intake(predictions=[stored]))
        assert await told(kept, ledger.Outcome(row=row, client_id="a", truth="i4")) == ["UnknownId"]
        assert await entries(kept) == []


async def test_answer_older_than_its_max_age_has_expired(tmp_path):
    async with opened(tmp_path) as kept:
        old = NOW_MS - 30 * DAY_MS
        assert await told(kept, outcome(1, at_ms=old - 1), outcome(2, at_ms=old)) == ["Expired", "Accepted"]


@pytest.mark.parametrize(
    ("intake", "said"),
    [
        (ledger.Intake(outcomes=[ledger.Outcome(row=0, truth="i1")]), "outcomes[0].id: expected 32"),
        (ledger.Intake(outcomes=[outcome(1), outcome(1, correct=True)]), "outcomes[1]: expected exactly one of"),
        (ledger.Intake(outcomes=[outcome(1, row=-1)]), "outcomes[0].row"),
        (ledger.Intake(outcomes=[outcome(1, maturity_ms=-1)]), "outcomes[0].maturity_ms"),
        (ledger.Intake(copies=[ledger.Copied("x", "a", "b", "i1", "i1")]), "copies[0].id"),
        (ledger.Intake(copies=[copied(1, words="a=i1")]), "copies[0]: not a row number"),
        (ledger.Intake(predictions=[ledger.Stored("", identifier(1), "a", "i1")]), "predictions[0].client_id"),
        (ledger.Intake(outcomes=[outcome(1)] * 4_097), "4097 items, expected at most 4096"),
    ],
    ids=["no id", "two answers", "row", "maturity", "copy's id", "copy's words", "client id", "too many"],
)
async def test_intake_that_cannot_be_meant_is_refused_whole(tmp_path, intake, said):
    async with opened(tmp_path) as kept:
        with pytest.raises(errors.BadInputError) as caught:
            await kept.take("shop/fraud", intake)
        assert said in str(caught.value)
        assert await entries(kept) == []


@pytest.mark.parametrize("first", ["copy", "outcome"])
async def test_pair_follows_when_both_copy_and_outcome_are_there(tmp_path, first):
    async with opened(tmp_path) as kept:
        steps = [lambda: copy(kept, copied(1)), lambda: told(kept, outcome(1, share=9))]
        for step in steps if first == "copy" else steps[::-1]:
            await step()
            await step()
        found = await entries(kept)
    assert in_short(found) == [("outcome", 1, 0), ("pair", 1, 0)]
    assert found[1] == ledger.PairEntry(
        seq=2, model="shop/fraud", id=identifier(1), row=0, revision="fraud-a", prediction="i1", other="fraud-b",
        other_prediction="i2", came_at_ms=NOW_MS, truth="i1", share=9,
    )  # fmt: skip


async def test_pair_is_of_rows_that_both_have(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, words="i1~i2~7=i3", other_words="0=i1~7=i9"))
        await told(kept, *(outcome(1, row=row) for row in (0, 1, 7, 8)))
        found = await entries(kept)
    assert [(entry.row, entry.other_prediction) for entry in found if isinstance(entry, ledger.PairEntry)] == [
        (0, "i1"),
        (7, "i9"),
    ]


async def test_other_without_any_usable_answer_pairs_with_all_rows(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1, row=0), outcome(1, row=3))
        await copy(kept, copied(1, words="i1~3=i3", other_words="x5xx"))
        found = await entries(kept)
    assert [(entry.row, entry.other_prediction) for entry in found[2:]] == [(0, "x5xx"), (3, "x5xx")]


async def test_each_other_revision_makes_its_own_pair(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, other="fraud-b"), copied(1, other="fraud-c"))
        await told(kept, outcome(1))
        assert [entry.other for entry in (await entries(kept))[1:]] == ["fraud-b", "fraud-c"]


@pytest.mark.parametrize(("other_words", "rows"), [("i1~i2", [0, 1]), ("xtimeout", [0])])
async def test_copy_whose_original_nobody_got_is_complete_at_once(tmp_path, other_words, rows):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, words="x5xx", other_words=other_words))
        await copy(kept, copied(1, words="x5xx", other_words=other_words))
        await told(kept, outcome(1))
        found = await entries(kept)
    assert [(entry.row, entry.prediction, entry.truth) for entry in found[:-1]] == [(row, "x5xx", "") for row in rows]
    assert isinstance(found[-1], ledger.OutcomeEntry)


async def test_copies_beyond_their_number_go_oldest_first_and_do_not_come_back(tmp_path):
    async with opened(tmp_path, limits=store.Limits(copies_max=2)) as kept:
        await copy(kept, *(copied(number) for number in (3, 1, 2, 4)))
        await copy(kept, copied(1), copied(2))
        await told(kept, *(outcome(number) for number in (1, 2, 3, 4)))
        assert [number for kind, number, _ in in_short(await entries(kept)) if kind == "pair"] == [3, 4]
        assert kept.counts.dropped["copy", "number"] == 2


async def test_predictions_beyond_their_number_go_oldest_first(tmp_path):
    async with opened(tmp_path, limits=store.Limits(predictions_max=1)) as kept:
        stored = [ledger.Stored(f"c{number}", identifier(number), "fraud-a", "i1") for number in (1, 2)]
        await kept.take("shop/fraud", ledger.Intake(predictions=stored))
        await kept.take("shop/fraud", ledger.Intake(predictions=stored))
        answers = [ledger.Outcome(row=0, client_id=client, correct=True) for client in ("c1", "c2")]
        assert await told(kept, *answers) == ["UnknownId", "Accepted"]


async def test_everything_is_there_after_opening_again(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1))
    async with opened(tmp_path) as kept:
        assert kept.head == 1
        assert await told(kept, outcome(1), outcome(2)) == ["Duplicate", "Accepted"]
        assert [entry.seq for entry in await entries(kept)] == [1, 2]


async def test_sequence_numbers_are_not_used_again_after_a_deletion(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1))
        await kept.keep("shop/fraud", ledger.Checkpoint(1, "{}"))
        clock.now_ms += 31 * DAY_MS
        while await kept.tidy():
            pass
        assert await entries(kept) == []
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(2, at_ms=clock.now_ms))
        assert [entry.seq for entry in await entries(kept)] == [2]


async def test_of_each_entity_the_first_outcome_of_a_revision_is_evidence_and_the_others_are_marked(tmp_path):
    async with opened(tmp_path) as kept:
        about = {"entity": "e" * 16}
        fates = await told(kept, outcome(1, **about), outcome(1, **about), outcome(2, **about), outcome(3))
        assert fates == ["Accepted", "Duplicate", "Accepted", "Accepted"]
        await told(
            kept, outcome(4, revision="fraud-b", **about), outcome(5, entity="f" * 16), outcome(6, row=1, **about)
        )
        await told(kept, outcome(7, **about), model="other/fraud")
        assert [each.repeats for each in await entries(kept, model="shop/fraud")] == [False, True, *[False] * 3, True]
        assert [each.repeats for each in await entries(kept, model="other/fraud")] == [False]


async def test_of_each_entity_the_first_pair_of_two_revisions_is_evidence(tmp_path):
    async with opened(tmp_path) as kept:
        about = {"entity": "e" * 16}
        await copy(kept, copied(1), copied(2), copied(2, other="fraud-c"))
        await told(kept, outcome(1, **about), outcome(2, **about))
        found = [each for each in await entries(kept) if isinstance(each, ledger.PairEntry)]
        assert [(each.other, each.repeats) for each in found] == [
            ("fraud-b", False), ("fraud-b", True), ("fraud-c", False),
        ]  # fmt: skip


async def test_entity_is_remembered_as_long_as_its_newest_outcome(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        about = {"entity": "e" * 16, "max_age_ms": DAY_MS}
        await told(kept, outcome(1, **about))
        clock.now_ms += DAY_MS * 3 // 2  # a day more than it must be it is remembered
        await told(kept, outcome(2, at_ms=clock.now_ms, **about))
        clock.now_ms += DAY_MS * 3 // 2
        await kept.tidy()
        await told(kept, outcome(3, at_ms=clock.now_ms, **about))
        clock.now_ms += DAY_MS * 5 // 2
        await kept.tidy()
        await told(kept, outcome(4, at_ms=clock.now_ms, **about))
        assert [each.repeats for each in await entries(kept)][-3:] == [True, True, False]


async def test_rows_of_a_prediction_that_come_at_once_stand_together_and_later_ones_are_no_evidence(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1, words="i1~i1~i1~i1", other_words="i2~i2~i2~i2"))
        await told(kept, outcome(1, row=2), outcome(2), outcome(1, row=0))
        await told(kept, outcome(1, row=1), outcome(1, row=3))
        found = await entries(kept)
    assert [(kind, row) for kind, _, row in in_short(found)] == [
        ("outcome", 0), ("outcome", 2), ("pair", 0), ("pair", 2), ("outcome", 0),
        ("outcome", 1), ("outcome", 3), ("pair", 1), ("pair", 3),
    ]  # fmt: skip
    assert [each.more for each in found] == [1, 0, 1, 0, 0, 1, 0, 1, 0]
    assert [each.repeats for each in found] == [False] * 5 + [True] * 4


async def test_rows_that_were_there_before_the_copy_are_one_pair(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1, row=0))
        await told(kept, outcome(1, row=1))
        await copy(kept, copied(1, words="i1~i1", other_words="i2~i2"))
        found = await entries(kept)
    assert [(each.more, each.repeats) for each in found] == [(0, False), (0, True), (1, False), (0, False)]


async def test_rows_about_an_entity_are_evidence_together(tmp_path):
    async with opened(tmp_path) as kept:
        about = {"entity": "e" * 16}
        await copy(kept, copied(1, words="i1~i1", other_words="i2~i2"), copied(2, words="i1~i1", other_words="i2~i2"))
        await told(kept, *(outcome(number, row=row, **about) for number in (1, 2) for row in (0, 1)))
        found = await entries(kept)
    assert [each.repeats for each in found] == [False] * 4 + [True] * 4


async def test_rows_of_a_prediction_are_never_cut_apart_by_a_stretch_of_the_log(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, *(outcome(number, row=row) for number in range(3) for row in range(number + 1)))
        for model in ("", MODEL):
            sizes = [
                len((await kept.read(after, limit=limit, model=model)).entries)
                for after, limit in ((0, 1), (0, 2), (1, 1), (3, 2), (3, 9))
            ]
            assert sizes == [1, 3, 2, 3, 3]

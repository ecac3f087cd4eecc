"""Answers that mature, decisions, checkpoints, deletion for age, and cursors of another history."""

import asyncio
import contextlib
import itertools

import pytest
from leadline_ledger import errors, upkeep
from leadline_ledger.blobs import volume
from leadline_ledger.bookkeeping import maturing
from leadline_ledger.captures import naming
from leadline_ledger.captures.kept import Captures
from leadline_wire import captures, ledger

from tests.unit.ledger.ledgers import (
    DAY_MS,
    MODEL,
    NOW_MS,
    Clock,
    Kind,
    copied,
    copy,
    entries,
    identifier,
    in_short,
    opened,
    outcome,
    told,
)

HOUR_MS = 3_600_000


async def test_answers_are_judged_in_the_order_of_their_maturity_and_id_whatever_they_came_in(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        later = outcome(1, at_ms=NOW_MS - 1_000, maturity_ms=HOUR_MS)
        same = [outcome(number, at_ms=NOW_MS - 2_000, maturity_ms=HOUR_MS) for number in (3, 2)]
        assert await told(kept, later, *same) == ["Accepted"] * 3
        assert await kept.judge() == 0
        assert kept.due_ms == NOW_MS - 2_000 + HOUR_MS
        clock.now_ms += HOUR_MS
        assert await kept.judge() == 3
        assert in_short(await entries(kept)) == [("outcome", 2, 0), ("outcome", 3, 0), ("outcome", 1, 0)]
        assert kept.due_ms is None


async def test_what_comes_after_its_maturity_is_kept_and_never_judged(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        clock.now_ms += HOUR_MS
        late = outcome(1, at_ms=NOW_MS, maturity_ms=HOUR_MS)
        assert await told(kept, late, late, outcome(1, at_ms=NOW_MS, truth=2)) == ["TooLate", "TooLate", "Conflict"]
        await copy(kept, copied(1, at_ms=NOW_MS))
        await kept.judge()
        assert await entries(kept) == []


async def test_answer_that_waited_is_a_duplicate_before_and_after_it_was_judged(tmp_path):
    clock = Clock()
    waiting = outcome(1, at_ms=NOW_MS, maturity_ms=HOUR_MS)
    async with opened(tmp_path, clock=clock) as kept:
        assert await told(kept, waiting, waiting) == ["Accepted", "Duplicate"]
        clock.now_ms += HOUR_MS
    async with opened(tmp_path, clock=clock) as kept:
        assert kept.due_ms == NOW_MS + HOUR_MS
        await kept.judge()
        assert await told(kept, waiting, outcome(1, at_ms=NOW_MS, truth=2)) == ["Duplicate", "Conflict"]
        assert in_short(await entries(kept)) == [("outcome", 1, 0)]


async def test_pair_waits_for_the_outcome_to_mature(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1, at_ms=NOW_MS, maturity_ms=HOUR_MS))
        await copy(kept, copied(1, at_ms=NOW_MS))
        assert await entries(kept) == []
        clock.now_ms += HOUR_MS
        await kept.judge()
        assert in_short(await entries(kept)) == [("outcome", 1, 0), ("pair", 1, 0)]


async def test_of_each_entity_the_first_outcome_that_matures_is_evidence_in_whatever_order_they_came(tmp_path):
    clock = Clock()
    about = {"entity": "e" * 16, "maturity_ms": HOUR_MS}
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(2, at_ms=NOW_MS, **about), outcome(1, at_ms=NOW_MS - 5, **about))
        clock.now_ms += HOUR_MS
        await kept.judge()
        found = await entries(kept)
        assert [(in_short([each])[0][1], each.repeats) for each in found] == [(1, False), (2, True)]


async def test_clock_that_is_set_back_brings_nothing_before_what_was_judged(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1, at_ms=NOW_MS, maturity_ms=HOUR_MS))
        clock.now_ms += HOUR_MS
        await kept.judge()
    clock.now_ms -= HOUR_MS
    async with opened(tmp_path, clock=clock) as kept:
        assert await told(kept, outcome(2, at_ms=NOW_MS - 1, maturity_ms=HOUR_MS)) == ["TooLate"]
        assert await told(kept, outcome(3, at_ms=NOW_MS + 1, maturity_ms=HOUR_MS)) == ["Accepted"]


async def test_many_answers_are_judged_in_steps(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, *(outcome(number, at_ms=NOW_MS, maturity_ms=1) for number in range(maturing.BATCH + 1)))
        clock.now_ms += 1
        assert [await kept.judge() for _ in range(3)] == [maturing.BATCH, 1, 0]


async def test_rows_of_one_prediction_mature_together_wherever_a_step_ends(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        due = {"at_ms": NOW_MS, "maturity_ms": 1}
        await told(kept, *(outcome(number, **due) for number in range(maturing.BATCH - 1)))
        for row in (2, 0, 1):
            await told(kept, outcome(maturing.BATCH, row=row, **due))
        clock.now_ms += 10
        assert [await kept.judge() for _ in range(2)] == [maturing.BATCH + 2, 0]
        found = await entries(kept, after=maturing.BATCH - 1)
    assert [(each.row, each.more, each.repeats) for each in found] == [(0, 2, False), (1, 1, False), (2, 0, False)]


async def test_decision_stands_once_in_the_order(tmp_path):
    decision = ledger.Decision("promote-1", "Promoted", "fraud-b", NOW_MS, other="fraud-a", data={"why": "better"})
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1))
        assert await kept.decide(MODEL, decision) == ledger.Decided(seq=2, new=True)
        assert await kept.decide(MODEL, decision) == ledger.Decided(seq=2, new=False)
        assert await kept.decide("other/fraud", decision) == ledger.Decided(seq=3, new=True)
        assert (await entries(kept, model=MODEL))[1] == ledger.DecisionEntry(
            2, MODEL, "promote-1", "Promoted", "fraud-b", NOW_MS, "fraud-a", {"why": "better"}
        )


async def test_resume_has_checkpoint_decisions_and_newest_entry_of_each_model(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1))
        await kept.decide(MODEL, ledger.Decision("d", "Gate", "fraud-b", NOW_MS))
        await kept.keep(MODEL, ledger.Checkpoint(1, '{"wealth": 1}'))
        await told(kept, outcome(1), model="a/b")
        found = await kept.resume()
    assert found.head == 3
    assert [(state.model, state.last_seq, state.checkpoint) for state in found.models] == [
        ("a/b", 3, None),
        (MODEL, 2, ledger.Checkpoint(1, '{"wealth": 1}')),
    ]
    assert [entry.id for entry in found.models[1].decisions] == ["d"]


async def test_checkpoint_older_than_the_one_kept_or_beyond_the_log_is_refused(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1), outcome(2))
        await kept.keep(MODEL, ledger.Checkpoint(2, "a"))
        with pytest.raises(errors.StaleError, match="at 1 is older than the one kept, at 2"):
            await kept.keep(MODEL, ledger.Checkpoint(1, "b"))
        with pytest.raises(errors.StaleError, match="at 3 is beyond the newest entry 2"):
            await kept.keep(MODEL, ledger.Checkpoint(3, "c"))
        await kept.keep(MODEL, ledger.Checkpoint(2, "d"))
        assert (await kept.resume()).models[0].checkpoint == ledger.Checkpoint(2, "d")


async def test_entries_are_deleted_when_old_and_behind_the_checkpoint_and_decisions_never(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1))
        await kept.decide(MODEL, ledger.Decision("d", "Gate", "fraud-b", NOW_MS))
        await told(kept, outcome(2), outcome(3, max_age_ms=90 * DAY_MS))
        await kept.keep(MODEL, ledger.Checkpoint(2, ""))
        clock.now_ms += 31 * DAY_MS
        while await kept.tidy():
            pass
        assert [entry.seq for entry in await entries(kept)] == [2, 3, 4]
        await kept.keep(MODEL, ledger.Checkpoint(4, ""))
        while await kept.tidy():
            pass
        assert [entry.seq for entry in await entries(kept)] == [2, 4]
        assert [entry.id for entry in (await kept.resume()).models[0].decisions] == ["d"]


async def test_what_was_deleted_for_age_does_not_count_again_even_with_a_longer_age(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1))
        await copy(kept, copied(1), copied(2))
        clock.now_ms += 31 * DAY_MS
        while await kept.tidy():
            pass
        assert kept.counts.dropped["copy", "age"] == 1, "the one that never met an outcome"
        assert await told(kept, outcome(1, max_age_ms=90 * DAY_MS)) == ["Expired"]
        await copy(kept, copied(1, words="x5xx", max_age_ms=90 * DAY_MS))
        assert in_short(await entries(kept)) == [("outcome", 1, 0), ("pair", 1, 0)]


async def test_upkeep_judges_what_is_due_and_deletes_what_is_old_unasked(tmp_path):
    clock = Clock()
    model_bytes = volume.VolumeBlobs(tmp_path, clock=clock, blob_max_bytes=1, blobs_max_bytes=1, keep_days=1)
    await model_bytes.open()
    captured = Captures(tmp_path, "", clock_ms=clock, most_bytes=0)
    old, young = (
        naming.path_of(MODEL, captures.Chunk(identifier(1), []), b"", keep_ms=days * DAY_MS) for days in (30, 90)
    )
    for path in (old, young):
        await captured.put(path, b"rows", model=MODEL, most_bytes=1_000)
    async with opened(tmp_path, clock=clock) as kept:
        await told(kept, outcome(1), outcome(2, at_ms=NOW_MS, maturity_ms=HOUR_MS, max_age_ms=90 * DAY_MS))
        await kept.keep(MODEL, ledger.Checkpoint(1, ""))
        clock.now_ms += 31 * DAY_MS
        minutes = itertools.count(0, 60)
        tending = asyncio.create_task(
            upkeep.run(kept, model_bytes, captured, clock_ms=clock, monotonic=lambda: float(next(minutes)))
        )
        await kept.news(1, 10.0)
        async with asyncio.timeout(10):
            while [entry.seq for entry in await entries(kept)] != [2]:
                pass
            while [file.path for file in await captured.files(MODEL)] != [young] or (tmp_path / old).exists():
                pass
        tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tending


async def test_cursor_beyond_the_log_is_refused(tmp_path):
    async with opened(tmp_path) as kept:
        await told(kept, outcome(1))
        with pytest.raises(errors.GoneError, match="cursor 2 is beyond the newest entry 1"):
            await kept.read(2, limit=1)


async def test_cursor_is_good_after_a_restart_and_refused_after_a_backup_was_restored(tmp_path):
    now, backup = tmp_path / "now", tmp_path / "backup"
    now.mkdir()
    async with opened(now, name="first") as kept:
        await told(kept, outcome(1))
    Kind.backup(now, backup)
    async with opened(now, name="second") as kept:
        await told(kept, outcome(2), outcome(3))
        found = await kept.read(0, limit=10)
        assert (found.head, found.timeline) == (3, "second")
    async with opened(now, name="third") as kept:
        assert await entries(kept, 3, timeline="second") == []
    async with opened(backup, name="fourth") as kept:
        await told(kept, *(outcome(number) for number in (4, 5, 6)))
        with pytest.raises(errors.GoneError, match="a history that this ledger does not know"):
            await kept.read(3, limit=10, timeline="second")
        with pytest.raises(errors.GoneError, match="beyond entry 1, from where this ledger went on otherwise"):
            await kept.read(3, limit=10, timeline="first")
        assert len(await entries(kept, 1, timeline="first")) == 3

"""Labelled rows in a real store: kept once, counted once, whoever answers them and however often it is told."""

import msgspec
import pytest
from leadline_ledger import errors, store
from leadline_wire import labels, ledger

from tests.unit.ledger.ledgers import DAY_MS, MODEL, NOW_MS, Clock, entries, opened


def row(number, truth=1):
    inputs = {"X": [float(number), 0.5]}
    return store.LabelledRow(labels.hash_of(inputs), inputs, truth)


async def waiting(kept, limit=64):
    return [msgspec.json.decode(each, type=ledger.Label) for each in await kept.labels_waiting(MODEL, limit=limit)]


def answered(label, *, said="i1", other_said="i2", other="fraud-a", revision="fraud-b", truth="i1"):
    outcome = ledger.Outcome(0, id=label.id, revision=revision, prediction=said, truth=truth, tags=ledger.LABEL_TAG)
    copied = ledger.Copied(label.id, revision, other, said, other_said) if other else None
    return ledger.Labelled(label.id, outcome, copied)


async def bring(kept, *labelled):
    await kept.take(MODEL, ledger.Intake(labelled=list(labelled)))


async def test_row_is_kept_once_and_another_truth_for_it_is_a_conflict(tmp_path):
    async with opened(tmp_path) as kept:
        assert await kept.label(MODEL, [row(1), row(2), row(1)], user="jo") == ledger.LabelsAnswer(2, 1, [], 2)
        assert await kept.label(MODEL, [row(2), row(3), row(1, 7)], user="jo") == ledger.LabelsAnswer(1, 1, [3], 3)
        rows = await waiting(kept)
        assert sorted(each.inputs["X"][0] for each in rows) == [1.0, 2.0, 3.0]
        assert {int(each.id[:12], 16) for each in rows} == {NOW_MS}
        told = await entries(kept)
        assert [(each.kind, each.data) for each in told] == [
            ("Labelled", {"rows": "2", "user": "jo"}),
            ("Labelled", {"rows": "1", "user": "jo"}),
        ]
        assert (await kept.resume()).labels == {MODEL: 3}
        assert (await kept.read(0, limit=9)).labels == {MODEL: 3}


async def test_row_counts_once_however_often_and_by_whomever_it_is_answered(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        for _ in range(2):
            await bring(kept, answered(label))
        await bring(kept, answered(label, other="fraud-0", said="i3"))
        _, outcome, pair = await entries(kept)
        assert (outcome.id, outcome.prediction, outcome.truth, outcome.tags) == (label.id, "i1", "i1", ledger.LABEL_TAG)
        assert (pair.revision, pair.other, pair.other_prediction, pair.truth) == ("fraud-b", "fraud-a", "i2", "i1")
        assert await waiting(kept) == []
        fate = ledger.LabelFate("fraud-b", True, "fraud-a", False)
        assert await kept.labels(MODEL) == ledger.LabelsState(0, [ledger.LabelCount(1, fate)])
        assert await kept.label(MODEL, [row(1)], user="jo") == ledger.LabelsAnswer(0, 1, [], 0)


async def test_without_another_revision_a_row_is_an_outcome_alone(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        await bring(kept, answered(label, other=""))
        assert [type(each).__name__ for each in await entries(kept)] == ["DecisionEntry", "OutcomeEntry"]


async def test_refused_row_is_no_evidence_and_waits_no_more(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        await bring(kept, ledger.Labelled(label.id, refused="a row of the test set"))
        await bring(kept, answered(label))
        assert len(await entries(kept)) == 1
        (count,) = (await kept.labels(MODEL)).counted
        assert (count.rows, count.fate.refused) == (1, "a row of the test set")


async def test_serving_revision_that_fails_on_a_row_loses_alone_and_beside_the_other(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        await bring(kept, answered(label, said="x5xx", other_said="i1"))
        told = await entries(kept)
        assert sorted(type(each).__name__ for each in told) == ["DecisionEntry", "OutcomeEntry", "PairEntry"]
        assert {each.prediction for each in told[1:]} == {"x5xx"}


async def test_copies_that_were_evicted_since_take_no_pair_from_a_row(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock, limits=store.Limits(copies_max=1)) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        later = [
            ledger.Copied(f"{NOW_MS + 5:012x}{number:020x}", "fraud-b", "fraud-a", "i1", "i1") for number in range(3)
        ]
        clock.now_ms += 10
        await kept.take(MODEL, ledger.Intake(copies=later))
        await bring(kept, answered(label))
        assert [type(each).__name__ for each in await entries(kept)] == ["DecisionEntry", "OutcomeEntry", "PairEntry"]


async def test_row_of_before_a_restart_is_known_after_it_and_the_log_forgets_who_brought_it(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        head = kept.head
        await kept.keep(MODEL, ledger.Checkpoint(head, "{}"))
    clock.now_ms += 31 * DAY_MS
    async with opened(tmp_path, clock=clock) as kept:
        while await kept.tidy():
            pass
        assert await entries(kept) == []
        assert (await kept.label(MODEL, [row(1)], user="jo")).duplicates == 1


async def test_row_that_waited_too_long_is_no_evidence_and_says_so(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        (label,) = await waiting(kept)
        clock.now_ms += 31 * DAY_MS
        await bring(kept, answered(label))
        assert len(await entries(kept)) == 1
        (count,) = (await kept.labels(MODEL)).counted
        assert "spec.outcomes.maxAge" in count.fate.refused


async def test_too_many_that_wait_are_refused_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "LABELS_WAITING_MAX", 2)
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1)], user="jo")
        with pytest.raises(errors.FullError, match="1 labelled rows of shop/fraud wait"):
            await kept.label(MODEL, [row(2), row(3)], user="jo")
        assert len(await waiting(kept)) == 1


async def test_outcome_of_another_row_than_its_label_is_refused(tmp_path):
    async with opened(tmp_path) as kept:
        await kept.label(MODEL, [row(1), row(2)], user="jo")
        one, two = await waiting(kept)
        wrong = ledger.Labelled(one.id, answered(two).outcome)
        with pytest.raises(errors.BadInputError, match="expected the label's own id"):
            await bring(kept, wrong)

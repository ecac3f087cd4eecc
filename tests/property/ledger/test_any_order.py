"""Whatever order, doubling, cutting into calls and restarts things come in: each outcome and pair is there exactly once.

The oracle keeps sets and knows no database. Ids are few, so that things meet.
"""

import asyncio
import itertools
import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_wire import ledger, predictions

from tests.unit.ledger.ledgers import MODEL, NOW_MS, Clock, copied, entries, opened, outcome

MATURITY_MS = 10_000
WORDS = ("i1", "i1~i2", "1=i2", "x5xx")
OTHER_WORDS = ("i1", "i2~i1", "xtimeout", "1=i3")

outcomes = st.builds(
    lambda number, row, truth, maturity: outcome(number, row=row, truth=truth, at_ms=NOW_MS, maturity_ms=maturity),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from([0, MATURITY_MS]),
)
copies = st.builds(
    lambda number, other, words, other_words: copied(
        number, other=other, words=words, other_words=other_words, at_ms=NOW_MS
    ),
    st.integers(0, 3),
    st.sampled_from(["fraud-b", "fraud-c"]),
    st.sampled_from(WORDS),
    st.sampled_from(OTHER_WORDS),
)
calls = st.builds(
    lambda some, others: ledger.Intake(outcomes=some, copies=others),
    st.lists(outcomes, max_size=6),
    st.lists(copies, max_size=4),
)
steps = st.one_of(calls, calls, calls, st.just("tick"), st.just("restart"))


class Oracle:
    """What should be in the log, by sets."""

    def __init__(self):
        self.answers = {}
        self.copies = {}

    def take(self, intake, now_ms):
        for copy in intake.copies:
            self.copies.setdefault((copy.id, copy.other), copy)
        for answer in intake.outcomes:
            late = answer.maturity_ms and NOW_MS + answer.maturity_ms <= now_ms
            self.answers.setdefault((answer.id, answer.row), (answer.truth, late))

    def outcomes(self):
        return {(*key, truth) for key, (truth, late) in self.answers.items() if not late}

    def pairs(self):
        found = set()
        for (identifier, other), copy in self.copies.items():
            if copy.predictions == "x5xx":
                found |= {(identifier, row, other) for row in predictions.split(copy.other_predictions)}
                continue
            here, there = predictions.split(copy.predictions), predictions.split(copy.other_predictions)
            for key, row, _ in self.outcomes():
                both = row in here and (row in there or copy.other_predictions == "xtimeout")
                if key == identifier and both:
                    found.add((identifier, row, other))
        return found


async def play(folder, history):
    clock, oracle = Clock(), Oracle()
    pending = list(history)
    while pending:
        async with opened(folder, clock=clock) as kept:
            while pending:
                step = pending.pop(0)
                if step == "restart":
                    break
                if step == "tick":
                    clock.now_ms += MATURITY_MS // 2
                    await kept.judge()
                else:
                    oracle.take(step, clock.now_ms)
                    # Twice at the same time: both may be in one transaction, or not.
                    await asyncio.gather(kept.take(MODEL, step), kept.take(MODEL, step))
    clock.now_ms += MATURITY_MS
    async with opened(folder, clock=clock) as kept:
        await kept.judge()
        return oracle, await entries(kept)


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, max_size=12))
def test_each_outcome_and_pair_is_in_the_log_exactly_once(history):
    with tempfile.TemporaryDirectory() as folder:
        oracle, found = asyncio.run(play(Path(folder), history))
    outcomes_found = [(entry.id, entry.row, entry.truth) for entry in found if isinstance(entry, ledger.OutcomeEntry)]
    pairs_found = [(entry.id, entry.row, entry.other) for entry in found if isinstance(entry, ledger.PairEntry)]
    assert sorted(outcomes_found) == sorted(oracle.outcomes())
    assert sorted(pairs_found) == sorted(oracle.pairs())
    assert [entry.seq for entry in found] == list(range(1, len(found) + 1))
    for entry, following in itertools.pairwise([*found, None]):
        assert entry.more == 0 or (following.id, following.more, following.repeats) == (
            entry.id,
            entry.more - 1,
            entry.repeats,
        )
    kinds = ("outcome", "pair")
    evidence = [
        (kind, each.id, getattr(each, "other", ""))
        for kind in kinds
        for each in found
        if each.__struct_config__.tag == kind and not (each.repeats or each.more)
    ]
    assert len(evidence) == len(set(evidence)), "a prediction is one outcome, whatever came of it when"


@settings(max_examples=20, deadline=None)
@given(st.lists(calls, min_size=1, max_size=8), st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_log_read_in_any_cuts_is_the_same(history, cuts):
    async def read(folder):
        async with opened(folder) as kept:
            for intake in history:
                await kept.take(MODEL, intake)
            pieces, limits = [], itertools.cycle(cuts)
            while len(pieces) < kept.head:
                limit = next(limits)
                found = await kept.read(len(pieces), limit=limit)
                last = msgspec.json.decode(found.entries[-1], type=ledger.Entry)
                assert len(found.entries) >= min(limit, kept.head - len(pieces))
                assert not last.more, "rows of one prediction are not cut apart"
                pieces += found.entries
            return (await kept.read(0, limit=10_000)).entries, tuple(pieces)

    with tempfile.TemporaryDirectory() as folder:
        whole, pieces = asyncio.run(read(Path(folder)))
    assert pieces == whole

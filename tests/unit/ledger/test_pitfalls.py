"""Pitfalls of answers that come back, through a real ledger and the evidence that is made of its log.

One life each, in which nothing changes: .95 of the answers are right. The rates over many lives are in
tests/property/stats/test_pitfalls.py.
"""

import itertools
import random

from leadline_operator.reconcile import terms
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms
from leadline_wire import ledger

from tests.unit.ledger.ledgers import NOW_MS, Clock, entries, opened, outcome, told

TERMS = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
BEGIN = ledger.Decision("terms/key", "Terms", "", NOW_MS, data=terms.data_of((TERMS,)))
MODEL = "shop/fraud"
_GAP_MS = 24 * 3_600_000


async def evidence_of(kept) -> Evidence:
    log = await entries(kept)
    while more := await entries(kept, after=log[-1].seq):
        log += more
    return fold(Evidence(), log)


async def life(folder, *, maturity_ms: int, predictions: int = 4_000, every_ms: int = 1_000):
    """Outcomes of one revision: an error is told after 6 minutes, a right answer after an hour, on average.

    All answers of an earlier revision, as good, had come hours before and make the reference.
    """
    chance, clock = random.Random(1), Clock()
    events = []
    for number in range(predictions):
        is_new = number >= predictions // 2
        at_ms = NOW_MS + number * every_ms + is_new * _GAP_MS
        right = chance.random() >= 0.05
        delay_ms = round(chance.expovariate(1 / (3_600_000 if right else 360_000)))
        revision = "fraud-b" if is_new else "fraud-a"
        events.append((at_ms + delay_ms, number, at_ms, right, revision))
    async with opened(folder, clock=clock) as kept:
        await kept.decide(MODEL, BEGIN)
        promoted = False
        for minute, group in itertools.groupby(sorted(events), lambda each: each[0] // 60_000):
            clock.now_ms = (minute + 1) * 60_000
            while await kept.judge():
                pass
            if not promoted and clock.now_ms >= NOW_MS + predictions // 2 * every_ms + _GAP_MS:
                promoted = True
                await kept.decide(MODEL, ledger.Decision("a", "Promoted", "fraud-a", clock.now_ms))
                await kept.decide(MODEL, ledger.Decision("b", "Promoted", "fraud-b", clock.now_ms, other="fraud-a"))
            await told(
                kept,
                *(
                    outcome(
                        number % 4096, at_ms=at_ms, truth=1 if right else 2, revision=revision, maturity_ms=maturity_ms
                    )
                    for _, number, at_ms, right, revision in group
                ),
            )
        clock.now_ms += maturity_ms
        while await kept.judge():
            pass
        return (await evidence_of(kept)).first.own["fraud-b"]


async def test_errors_that_come_sooner_look_like_a_decay_and_with_a_maturity_they_do_not(tmp_path):
    for name in ("none", "four hours"):
        (tmp_path / name).mkdir()
    at_once = await life(tmp_path / "none", maturity_ms=0)
    assert at_once.has_decayed
    matured = await life(tmp_path / "four hours", maturity_ms=4 * 3_600_000)
    assert not matured.has_decayed
    assert matured.outcomes > 1_800


async def test_twenty_answers_about_each_customer_are_one_and_condemn_nobody(tmp_path):
    chance = random.Random(2)
    own = {}
    for name, entity in (("singly", False), ("entity", True)):
        (tmp_path / name).mkdir()
        async with opened(tmp_path / name) as kept:
            await kept.decide(MODEL, BEGIN)
            for start in range(0, 700, 100):
                # A customer who is misjudged is so each time; the first five hundred make the reference.
                wrong = {customer for customer in range(start, start + 100) if chance.random() < 0.05}
                await told(
                    kept,
                    *(
                        outcome(
                            20 * (customer - start) + place,
                            at_ms=NOW_MS - 1_000_000 + start,
                            truth=2 if customer in wrong else 1,
                            entity=f"{customer:016x}" if entity else "",
                        )
                        for customer in range(start, start + 100)
                        for place in range(20)
                    ),
                )
            own[name] = (await evidence_of(kept)).first.own["fraud-a"]
    assert (own["singly"].outcomes, own["entity"].outcomes) == (14_000, 700)
    assert own["singly"].has_decayed
    assert not own["entity"].has_decayed

"""SQLite and PostgreSQL, told the same in the same order, answer and keep the same: random intakes, evictions, ages, restarts."""

import asyncio
import random

import msgspec
import pytest
from leadline_ledger import store
from leadline_wire import ledger, predictions

from tests.unit.ledger.ledgers import DAY_MS, MODEL, NOW_MS, Clock, identifier, on_sqlite

STEPS = 120
MODELS = (MODEL, "shop/basket")


def outcome(rng: random.Random, now_ms: int, model: int) -> ledger.Outcome:
    answer = rng.choice(({"truth": f"i{rng.randrange(3)}"}, {"correct": rng.random() < 0.5}, {"score": rng.random()}))
    wanted = {"wanted": rng.choice("bc"), "agreements": 3.0} if rng.random() < 0.2 else {}
    maturity = rng.choice((0, 0, 5_000, 60_000))
    if rng.random() < 0.3:
        return ledger.Outcome(
            row=rng.randrange(3), client_id=f"c{rng.randrange(30)}", maturity_ms=maturity, **answer, **wanted
        )
    at_ms = now_ms - rng.choice((1_000, 10_000, 20 * DAY_MS))
    return ledger.Outcome(
        row=rng.randrange(3),
        id=identifier(1_000 * model + rng.randrange(40), at_ms - at_ms % 50_000),
        revision=rng.choice("ab"),
        prediction=predictions.of_class(rng.randrange(3)),
        entity=rng.choice(("", "", "e1", "e2", "e3")),
        maturity_ms=maturity,
        max_age_ms=rng.choice((DAY_MS, 30 * DAY_MS)),
        tags={"site": "north"} if rng.random() < 0.2 else {},
        **answer,
        **wanted,
    )


def words(rng: random.Random) -> str:
    return rng.choice(("i1", "i2~i1", "i0~i1~i2", "1=i2", "x5xx"))


def copied(rng: random.Random, now_ms: int, model: int) -> ledger.Copied:
    at_ms = now_ms - rng.choice((1_000, 10_000))
    revision, other = rng.sample("abc", 2)
    where = identifier(1_000 * model + rng.randrange(40), at_ms - at_ms % 50_000)
    return ledger.Copied(where, revision, other, words(rng), words(rng), rng.choice((DAY_MS, 30 * DAY_MS)))


def stored(rng: random.Random, now_ms: int, number: int) -> ledger.Stored:
    where = identifier(2_000 + number, now_ms)
    return ledger.Stored(f"c{rng.randrange(30)}", where, rng.choice("ab"), words(rng), entity=rng.choice(("", "e1")))


def steps(seed: int) -> list[tuple[str, object]]:
    """Return what is done one after the other, the same for each store."""
    rng, now_ms, made = random.Random(seed), NOW_MS, []
    for number in range(STEPS):
        what = rng.choices(("take", "clock", "judge", "tidy", "decide", "keep"), (12, 2, 2, 1, 1, 1))[0]
        argument: object = None
        if what == "take":
            argument = []
            for call in range(rng.randrange(1, 5)):
                model = rng.randrange(2)
                intake = ledger.Intake(
                    [outcome(rng, now_ms, model) for _ in range(rng.randrange(5))],
                    [stored(rng, now_ms, number * 12 + call * 3 + place) for place in range(rng.randrange(3))],
                    [copied(rng, now_ms, model) for _ in range(rng.randrange(4))],
                )
                argument.append((MODELS[model], intake))
        elif what == "clock":
            argument = rng.choice((1_000, 7_000, 61_000, DAY_MS, 31 * DAY_MS))
            now_ms += argument
        elif what == "decide":
            argument = ledger.Decision(f"d{rng.randrange(4)}", "Gate", rng.choice("ab"), number)
        elif what == "keep":
            argument = rng.random()
        made.append((what, argument))
    return made


async def done(kept: store.Store, todo: list[tuple[str, object]]) -> list[object]:
    """Do it, and return all that came back."""
    clock, said = kept.test_clock, []
    await kept.open()
    assert kept.trouble == ""
    for what, argument in todo:
        if what == "take":
            # All at once: what shares a transaction must not matter.
            said += await asyncio.gather(*(kept.take(model, intake) for model, intake in argument))
        elif what == "clock":
            clock.now_ms += argument
        elif what == "judge":
            said.append([await kept.judge(), kept.due_ms])
        elif what == "tidy":
            said.append(await kept.tidy())
        elif what == "decide":
            said.append(await kept.decide(MODEL, argument))
        else:
            cursor = int(argument * kept.head)
            said.append(
                await asyncio.gather(kept.keep(MODEL, ledger.Checkpoint(cursor, f"{cursor}")), return_exceptions=True)
            )
    for model in ("", *MODELS):
        found = await kept.read(0, limit=100_000, model=model)
        said.append([msgspec.json.decode(entry) for entry in found.entries])
    said += [await kept.resume(), kept.counts.fates, kept.counts.entries, kept.counts.dropped]
    for model in MODELS:
        wanted = await kept.wanted(model, limit=500, since_ms=0)
        said.append((sorted(wanted.items, key=lambda each: (each.id, each.row)), wanted.agreements, wanted.compared))
    await kept.close()
    return [repr(each) for each in said]


def made(make, folder) -> store.Store:
    clock = Clock()
    kept = make(folder, clock_ms=clock, limits=store.Limits(copies_max=60, predictions_max=20), name="start")
    kept.test_clock = clock
    return kept


@pytest.mark.parametrize("seed", range(12))
async def test_same_intakes_give_the_same_log_and_answers(databases, tmp_path, seed):
    todo = steps(seed)
    ours, theirs = await done(made(databases.make, tmp_path), todo), await done(made(on_sqlite, tmp_path), todo)
    assert len(theirs) > STEPS
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, place

"""A test set out of outcomes over real HTTP: which rows are in it, in which form, and that it grows as a fair sample."""

import hashlib
import io

import msgspec
import pyarrow.parquet
from leadline_wire import captures, ledger, outcome_rows, predictions

from tests.unit.ledger.ledgers import identifier, outcome
from tests.wiring.ledger.chunks import bring, chunk, floats
from tests.wiring.ledger.parts import BLOB, MODEL, OPERATOR, here

OTHER = "system:serviceaccount:bank:default"


async def grown(ledger_here, query="?test_percent=50", **more):
    status, body, _ = await ledger_here.call("POST", f"{MODEL}/test-set{query}", **more)
    assert status == 200, body
    return msgspec.json.decode(body, type=captures.GrownSet)


async def table(ledger_here, made):
    status, body, _ = await ledger_here.call("GET", f"{BLOB}/{made.digest}")
    assert status == 200
    return pyarrow.parquet.read_table(io.BytesIO(body))


def in_test(number, percent=50):
    entry = ledger.OutcomeEntry(1, "shop/fraud", identifier(number), 0, "a", "i1", 0)
    return outcome_rows.side_of(entry, percent) == "test"


async def test_it_holds_captured_inputs_with_their_truths_of_the_test_side_alone(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        assert await grown(ledger_here) == captures.GrownSet(0)
        await ledger_here.told(*(outcome(number, truth=number % 3) for number in range(40)))
        assert await grown(ledger_here) == captures.GrownSet(0), "nothing is captured"
        await bring(ledger_here, chunk(*range(20)))
        await bring(ledger_here, chunk(*range(20, 30)))
        made = await grown(ledger_here, token=OPERATOR)
        expected = [number for number in range(30) if in_test(number)]
        found = (await table(ledger_here, made)).to_pylist()
        assert made.rows == len(expected)
        assert sorted((row["X"], row["leadline.truth"]) for row in found) == [
            ([number, number + 0.5], number % 3) for number in expected
        ]
        assert await grown(ledger_here) == made, "the same rows are the same bytes"


async def test_what_would_not_be_fair_is_left_out(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        number = next(each for each in range(100) if in_test(each))
        entity = next(
            f"{each:016x}" for each in range(100) if int(_hash(f"entity:{each:016x}")[:8], 16) * 100 < 50 * 2**32
        )
        await ledger_here.told(
            outcome(number, truth=2),
            outcome(101, entity=entity, truth=1),
            outcome(102, entity=entity, truth=1),  # repeats
            outcome(103, entity=entity, wanted="fraud-b", truth=1),
            ledger.Outcome(0, identifier(104), revision="fraud-a", prediction="i1", entity=entity, correct=True),
            ledger.Outcome(0, identifier(105), revision="b", prediction="v1", entity=entity, truth="v" + "0" * 16),
        )
        await bring(ledger_here, chunk(number, 101, 102, 103, 104, 105))
        found = (await table(ledger_here, await grown(ledger_here))).to_pylist()
        assert sorted(row["leadline.truth"] for row in found) == [1, 2]


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()


async def test_a_set_that_is_full_is_a_sample_that_keeps_most_of_its_rows(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        samples = []
        for first in range(0, 600, 200):
            numbers = range(first, first + 200)
            await ledger_here.told(*(outcome(number) for number in numbers))
            await bring(ledger_here, chunk(*numbers))
            made = await grown(ledger_here, "?test_percent=100&size=100")
            samples.append({int(row["X"][0]) for row in (await table(ledger_here, made)).to_pylist()})
            assert made.rows == 100
        assert samples[1] & set(range(200)) < samples[0], "none that was passed over comes in later"
        # Hypergeometric: a third of 600, 100 drawn; 5 standard deviations are 22.
        assert 11 < len(samples[2] & set(range(200))) < 56


async def test_rows_of_former_columns_and_texts_among_numbers_are_left_out(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(
            *(outcome(number) for number in range(5)),
            ledger.Outcome(0, identifier(5), revision="a", prediction="i1", truth=predictions.of_class("fine")),
        )
        await bring(ledger_here, chunk(0, 1, 2, at_ms=None))
        ids = identifier(3) + identifier(4, 1_800_000_000_000) + identifier(5)
        await ledger_here.told(outcome(4, at_ms=1_800_000_000_000))
        values = captures.Column("truth", "FP32", [], floats(3.0, 4.0, 5.0))
        await bring(ledger_here, captures.Chunk(ids, [values]))
        made = await grown(ledger_here, "?test_percent=100")
        rows = (await table(ledger_here, made)).to_pylist()
        assert sorted((row["truth"], row["leadline.truth"]) for row in rows) == [(3.0, 1), (4.0, 1)]


async def test_only_the_namespace_and_the_operator_may(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        for token, status in ((OTHER, 403), (None, 401)):
            assert (await ledger_here.call("POST", f"{MODEL}/test-set", token=token))[0] == status
        status, body, _ = await ledger_here.call("POST", f"{MODEL}/test-set?size=100000")
        assert (status, b"size: expected a whole number from 1 to 65536" in body) == (400, True)

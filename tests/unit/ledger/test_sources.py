"""Who reported an answer, and how many are taken of each in an hour: counted with what they count, in one transaction."""

import pytest
from leadline_ledger import errors

from tests.unit.ledger.ledgers import NOW_MS, Clock, copied, copy, entries, opened, outcome, told

HOUR_MS = 3_600_000
CRM, SHOP = {"source": "ml/crm", "per_hour": 3}, {"source": "ml/shop", "per_hour": 3}


async def test_source_stands_with_the_outcome_and_with_its_pair(tmp_path):
    async with opened(tmp_path) as kept:
        await copy(kept, copied(1))
        await told(kept, outcome(1, source="ml/crm"), outcome(2))
        assert [entry.source for entry in await entries(kept)] == ["ml/crm", "ml/crm", ""]


async def test_source_of_the_first_answer_stays_whoever_tells_another(tmp_path):
    async with opened(tmp_path) as kept:
        fates = await told(kept, outcome(1, **CRM), outcome(1, **SHOP), outcome(1, truth=2, **SHOP))
        assert fates == ["Accepted", "Duplicate", "Conflict"]
        assert [entry.source for entry in await entries(kept)] == ["ml/crm"]


async def test_of_each_source_so_many_new_answers_are_taken_in_an_hour_and_the_others_again_in_the_next(tmp_path):
    clock = Clock()
    async with opened(tmp_path, clock=clock) as kept:
        five = [outcome(number, **CRM) for number in range(5)]
        assert await told(kept, *five) == ["Accepted"] * 3 + ["OverQuota"] * 2
        assert await told(kept, *five[:3], outcome(9, **SHOP)) == ["Duplicate"] * 3 + ["Accepted"]
        clock.now_ms += HOUR_MS
        assert await told(kept, *five[3:]) == ["Accepted"] * 2


async def test_quota_counts_what_still_matures_and_survives_a_restart(tmp_path):
    async with opened(tmp_path) as kept:
        assert await told(
            kept, *(outcome(number, at_ms=NOW_MS, maturity_ms=HOUR_MS, **CRM) for number in range(4))
        ) == [
            *["Accepted"] * 3,
            "OverQuota",
        ]
    async with opened(tmp_path) as kept:
        assert await told(kept, outcome(7, **CRM), outcome(8, **SHOP)) == ["OverQuota", "Accepted"]


async def test_quota_that_is_undone_with_its_call_was_never_used(tmp_path):
    async with opened(tmp_path) as kept:
        with pytest.raises(errors.BadInputError, match=r"outcomes\[1\]: expected a source of at most 320"):
            await told(kept, outcome(1, **CRM), outcome(2, source="x" * 321))
        assert await told(kept, *(outcome(number, **CRM) for number in range(3))) == ["Accepted"] * 3


async def test_sources_beyond_a_number_share_one_quota(tmp_path):
    async with opened(tmp_path) as kept:
        first = [outcome(number, source=f"ml/{number}", per_hour=1) for number in range(256)]
        assert set(await told(kept, *first)) == {"Accepted"}
        late = [outcome(1_000 + number, source=f"ml/late-{number}", per_hour=1) for number in range(2)]
        assert await told(kept, *late) == ["Accepted", "OverQuota"]

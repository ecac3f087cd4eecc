"""Due times, in virtual time: the newest time of a key counts, and what is superseded does not pile up."""

import asyncio

from leadline_operator.due_times import SPARE_ENTRIES, DueTimes

from tests.unit.loop.virtual_time import in_virtual_time, now


@in_virtual_time
async def test_keys_come_when_they_are_due_and_in_order():
    due = DueTimes()
    due.put("late", now() + 20)
    due.put("early", now() + 10)
    start = now()
    assert [(await due.take(), now() - start), (await due.take(), now() - start)] == [("early", 10), ("late", 20)]
    assert len(due) == 0


@in_virtual_time
async def test_newest_time_of_a_key_counts_whether_earlier_or_later():
    due = DueTimes()
    start = now()
    for later in (60, 5, 30):
        due.put("key", start + later)
    assert due.at("key") == start + 30
    assert await due.take() == "key"
    assert now() - start == 30
    assert due.at("key") is None


@in_virtual_time
async def test_earlier_time_is_noticed_while_somebody_waits():
    due = DueTimes()
    start = now()
    due.put("far", start + 3600)
    waiting = asyncio.create_task(due.take())
    await asyncio.sleep(1)
    due.put("near", start + 2)
    assert await waiting == "near"
    assert now() - start == 2


@in_virtual_time
async def test_key_that_was_dropped_never_comes_and_one_put_again_comes_once():
    due = DueTimes()
    start = now()
    due.put("dropped", start + 1)
    due.drop("dropped")
    due.put("again", start + 2)
    due.drop("again")
    due.put("again", start + 2)
    assert await due.take() == "again"
    assert (len(due), now() - start) == (0, 2)
    due.put("last", now() + 1)
    assert await due.take() == "last"


@in_virtual_time
async def test_superseded_times_do_not_pile_up():
    due = DueTimes()
    for number in range(100_000):
        due.put("key", now() + 1000 - number / 200)
        assert due.entries <= 2 + SPARE_ENTRIES
    for number in range(1000):
        due.put(number, now() + number)
    for number in range(1000):
        due.drop(number)
    assert due.entries <= 2 + SPARE_ENTRIES
    assert await due.take() == "key"

"""The work queue, in virtual time: no key is lost, doubled, or worked on twice at once."""

import asyncio

from leadline_operator.loop.cache import Key
from leadline_operator.loop.queueing import LAST_BACKOFF_SECONDS, Queue

from tests.unit.loop.virtual_time import in_virtual_time

A, B = Key("ml", "a"), Key("ml", "b")


async def taken(queue, seconds=0.0):
    try:
        async with asyncio.timeout(seconds + 0.001):
            return await queue.take()
    except TimeoutError:
        return None


@in_virtual_time
async def test_hundred_additions_are_one_run():
    queue = Queue()
    for _ in range(100):
        queue.add(A)
    assert await taken(queue) == A
    queue.done(A)
    assert await taken(queue) is None


@in_virtual_time
async def test_key_that_is_added_while_it_is_worked_on_runs_again_afterwards():
    queue = Queue()
    queue.add(A)
    assert await taken(queue) == A
    queue.add(A)
    assert await taken(queue) is None
    queue.done(A)
    assert await taken(queue) == A


@in_virtual_time
async def test_earliest_due_time_counts():
    queue = Queue()
    due = asyncio.create_task(queue.run_due_times())
    queue.add_after(A, 60)
    queue.add_after(A, 5)
    queue.add_after(A, 30)
    assert await taken(queue, 4.9) is None
    assert await taken(queue, 1) == A
    queue.done(A)
    assert await taken(queue, 100) is None
    due.cancel()


@in_virtual_time
async def test_due_times_of_several_keys_keep_their_order():
    queue = Queue()
    due = asyncio.create_task(queue.run_due_times())
    queue.add_after(B, 2)
    queue.add_after(A, 1)
    assert [await taken(queue, 3), await taken(queue, 3)] == [A, B]
    due.cancel()


@in_virtual_time
async def test_failures_pause_longer_and_longer_until_forgiven():
    queue = Queue()
    pauses = [queue.add_failed(A) for _ in range(12)]
    assert pauses[0] <= 0.2
    assert LAST_BACKOFF_SECONDS / 2 <= pauses[-1] <= LAST_BACKOFF_SECONDS
    queue.forgive(A)
    assert queue.add_failed(A) <= 0.2

"""How many workers and threads there are to be, for which limits and which model."""

import math

import pytest
from leadline_runtime import sizing
from leadline_runtime.sizing import Sizing
from leadline_runtime.supervisor import fleet

MB = 1 << 20
SHORT = {"one_thread_seconds": 0.0001, "all_threads_seconds": math.inf}


def decide(most, cpus, *, worker_mb=70, memory_mb=math.inf, **times):
    return sizing.decide(most, cpus, worker_bytes=worker_mb * MB, memory_bytes=memory_mb * MB, **times)


@pytest.mark.parametrize(
    ("asked", "cpus", "is_limited", "most"),
    [(0, 4, True, 4), (0, 64, False, 1), (3, 1, True, 3), (0, 1, True, 1)],
    ids=["one per CPU of the limit", "no limit", "asked for", "a small limit"],
)
def test_the_limit_says_how_many_workers_there_may_be(asked, cpus, is_limited, most):
    assert sizing.most_workers(asked, cpus=cpus, is_limited=is_limited) == most


def test_short_runs_get_a_worker_per_cpu_with_one_thread():
    assert decide(4, 4, **SHORT) == Sizing(4, 1)


def test_long_runs_that_threads_shorten_get_one_worker_with_all_threads():
    assert decide(4, 4, one_thread_seconds=0.1, all_threads_seconds=0.03) == Sizing(1, 4)


def test_long_runs_that_threads_hardly_shorten_get_a_worker_per_cpu():
    assert decide(4, 4, one_thread_seconds=0.1, all_threads_seconds=0.06) == Sizing(4, 1)


def test_short_runs_are_not_given_threads_even_if_they_would_gain():
    assert decide(4, 4, one_thread_seconds=0.001, all_threads_seconds=0.00025) == Sizing(4, 1)


def test_memory_bounds_the_workers_and_threads_take_the_cpus_that_are_left():
    assert decide(8, 8, worker_mb=500, memory_mb=2_048, **SHORT) == Sizing(3, 2)
    assert decide(8, 8, worker_mb=5_000, memory_mb=2_048, **SHORT) == Sizing(1, 8)
    harmed = {"one_thread_seconds": 0.1, "all_threads_seconds": 0.2}
    assert decide(8, 8, worker_mb=5_000, memory_mb=2_048, **harmed) == Sizing(1, 1)


def test_bodies_that_are_not_complete_share_a_quarter_of_the_memory():
    assert sizing.held_bytes(512 * MB, ports=4) == 32 * MB
    assert sizing.held_bytes(math.inf, ports=2) == sizing.HELD_BYTES_MAX // 2


def test_the_first_worker_measures_only_where_something_is_to_be_decided():
    assert fleet.first_load(0, most=4, cpus=4).try_threads == 4
    asked = fleet.first_load(2, most=2, cpus=5)
    assert (asked.threads, asked.try_threads) == (2, 0)
    alone = fleet.first_load(0, most=1, cpus=8)
    assert (alone.threads, alone.try_threads) == (8, 0)


@pytest.mark.parametrize(
    ("slots", "accepting", "expected"),
    [
        ([0, 1, 2], [0, 1, 2], {0: [0], 1: [1], 2: [2]}),
        ([0, 1, 2], [0, 2], {0: [0, 1], 2: [2]}),
        ([0, 1, 2, 3], [1, 3], {1: [1, 0], 3: [3, 2]}),
        ([0, 1, 2], [2], {2: [2, 0, 1]}),
        ([0, 1], [], {}),
    ],
    ids=["all", "one is gone", "two are gone", "one is left", "none is left"],
)
def test_sockets_without_a_worker_are_shared_out_among_those_that_accept(slots, accepting, expected):
    assert fleet.assigned(slots, accepting) == expected

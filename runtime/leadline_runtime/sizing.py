"""How many workers, and how many threads each: decided from limits and measurements.

A worker is a process with an event loop of its own. More of them answer more requests, for Python runs on one CPU per
process; each holds a copy of the model. More threads make one run shorter, and pay only where a run is long. The first
worker measures (`worker.app`), the supervisor starts the others. Pure: numbers in, numbers out.
"""

import math
from dataclasses import dataclass
from typing import Final

LONG_SECONDS: Final = 0.01
"""A run of one row that takes longer is worth threads: before and after it, a request costs about 0.05 ms of Python, so
that one event loop can keep dozens of CPUs busy with such runs."""
GAIN_MIN: Final = 0.7
"""Least share of the ideal that threads must reach to take the place of workers. With N threads that make a run 0.7 N
times as fast, one worker answers 0.7 times as many requests as N would, each of them 0.7 N times sooner, with one copy
of the model; below that, too much of the CPUs would be lost."""
MEMORY_SHARE: Final = 0.75
"""Of the memory limit, for workers at rest; what is left is for bodies, batches and the supervisor."""

HELD_BYTES_MAX: Final = 1 << 30
"""Of bodies that are not complete, in a pod whose memory has no limit."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What a pod runs."""

    workers: int
    threads: int
    """Of one run of the model, in each worker."""


def most_workers(asked: int, *, cpus: int, is_limited: bool) -> int:
    """Return how many workers there may be.

    One per CPU of the limit. Where nobody has set a limit, the CPUs are everybody's, and the machine may have hundreds:
    one worker then, unless more are asked for.
    """
    if asked:
        return asked
    return cpus if is_limited else 1


def threads_of(workers: int, cpus: int) -> int:
    """Return how many threads a run may use when so many workers share the CPUs."""
    return max(1, cpus // workers)


def decide(
    most: int,
    cpus: int,
    *,
    one_thread_seconds: float,
    all_threads_seconds: float,
    worker_bytes: int,
    memory_bytes: float,
) -> Sizing:
    """Return workers and threads where nobody has asked for a number.

    Args:
        most: As `most_workers` gives it.
        cpus: CPUs that may be kept busy, at least 1.
        one_thread_seconds: Of one row's run with one thread.
        all_threads_seconds: The same with a thread per CPU; infinity where it was not measured, as for short runs.
        worker_bytes: What a worker takes with its model loaded.
        memory_bytes: The container's limit; infinity where there is none.
    """
    gain = one_thread_seconds / all_threads_seconds if all_threads_seconds > 0 else 0.0
    if is_worth_threads(one_thread_seconds) and gain >= GAIN_MIN * cpus:
        return Sizing(1, cpus)
    workers = most
    if memory_bytes < math.inf and worker_bytes > 0:
        workers = min(most, max(1, math.floor(MEMORY_SHARE * memory_bytes / worker_bytes)))
    # Memory may leave CPUs over: threads take them, unless they were seen to make runs longer.
    is_harmed = all_threads_seconds < math.inf and gain <= 1.0
    return Sizing(workers, 1 if is_harmed else threads_of(workers, cpus))


def held_bytes(memory_bytes: float, *, ports: int) -> int:
    """Return how many bytes of bodies that are not complete one port of one worker may hold.

    A quarter of the container's memory for all of them together, so that many slow large bodies cannot end the pod.

    Args:
        memory_bytes: The container's limit; infinity where there is none.
        ports: Of all workers together.
    """
    return int(min(HELD_BYTES_MAX, memory_bytes / 4) / ports)


def queue_bytes(memory_bytes: float, *, workers: int) -> int:
    """Return how many bytes of inputs may wait for the model in one worker: as many as of bodies that are not complete.

    Args:
        memory_bytes: The container's limit; infinity where there is none.
        workers: All of them.
    """
    return held_bytes(memory_bytes, ports=workers)


def is_worth_threads(one_thread_seconds: float) -> bool:
    """Tell whether a run is so long that threads should be tried."""
    return one_thread_seconds >= LONG_SECONDS

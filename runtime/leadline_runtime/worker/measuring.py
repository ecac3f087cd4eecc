"""Loads the model, and in the first worker finds out how many workers and threads it is worth.

A run is timed with one thread, and where it is long with a thread per CPU, too; `sizing` decides from that. Next step of
the decision: `supervisor.fleet` starts the others. Must not hold two copies of a model at a time.
"""

import math
import os
from pathlib import Path

from leadline_runtime import cgroup, logs, messages, processes, sizing
from leadline_runtime.engine import session


def load(order: messages.Load, *, max_rows: int, most: int) -> tuple[session.Model, int, int]:
    """Return the model, the threads of a run, and how many workers there should be; 0 where that was not asked.

    Args:
        order: What the supervisor says.
        max_rows: Rows of the largest run.
        most: Workers that there may be.

    Raises:
        RejectedError: It is no model that can be served.
    """
    path, cpus = Path(order.path), order.try_threads
    model = session.load(path, threads=order.threads, max_rows=max_rows)
    if not cpus:
        return model, order.threads, 0
    worker_bytes = processes.rss_bytes(os.getpid())
    one, several, threads = model.row_seconds, math.inf, order.threads
    if sizing.is_worth_threads(one):
        del model
        model, threads = session.load(path, threads=cpus, max_rows=max_rows), cpus
        several = model.row_seconds
    memory_bytes = cgroup.memory_bytes()
    decided = sizing.decide(
        most,
        cpus,
        one_thread_seconds=one,
        all_threads_seconds=several,
        worker_bytes=worker_bytes,
        memory_bytes=memory_bytes,
    )
    if decided.threads != threads:
        del model
        model = session.load(path, threads=decided.threads, max_rows=max_rows)
    logs.info(
        "workers decided",
        workers=decided.workers,
        threads=decided.threads,
        cpus=cpus,
        one_thread_seconds=f"{one:.6f}",
        all_threads_seconds=f"{several:.6f}",
        worker_bytes=worker_bytes,
        memory_bytes=memory_bytes,
    )
    return model, decided.threads, decided.workers

"""No input makes the runtime crash, hang, grow or fail: whatever is wrong is refused with a 4xx that names it.

LEADLINE_FUZZ_INPUTS asks for more inputs than the usual number, LEADLINE_FUZZ_SEED for others.
"""

import asyncio
import itertools
import os
import random
from pathlib import Path

import pytest

from tests.wiring.runtime.fuzzing import calling, driving, http2, rest
from tests.wiring.runtime.pods import Pod

INPUTS = int(os.environ.get("LEADLINE_FUZZ_INPUTS", "100000"))
SEED = int(os.environ.get("LEADLINE_FUZZ_SEED", "1"))
WARM_UP_SHARE = 4
"""The first quarter of the inputs brings the process to the memory that it needs."""
GROWTH_BYTES_MAX = 8 << 20
DEFECTS = ("Traceback", "internal error", "handler failed", "model failed")


@pytest.fixture(scope="module")
def target(digits, tmp_path_factory):
    limits = {
        "LEADLINE_HEAD_TIMEOUT_SECONDS": "5",
        "LEADLINE_BODY_TIMEOUT_SECONDS": "5",
        "LEADLINE_MAX_BODY_BYTES": "100000",
    }
    pod = Pod(
        tmp_path_factory.mktemp("fuzzed") / "pod",
        digits.uri("good.onnx"),
        digest=digits.digest("good.onnx"),
        environment=limits,
    )
    try:
        pod.wait_ready().exchange()
        yield pod
    finally:
        pod.stop()


def survived(pod: Pod, worker: int, before: int, row: list[float], label: int) -> None:
    """Check that the same process serves as before, and that nothing of ours failed."""
    assert pod.worker_pid() == worker
    grown = driving.resident_bytes(worker) - before
    assert grown < GROWTH_BYTES_MAX, f"worker grew by {grown >> 10} KiB"
    log = Path(pod.log).read_text()
    assert not [line for line in log.splitlines() if any(defect in line for defect in DEFECTS)]
    told = asyncio.run(driving.is_well(pod.public, row))
    assert told["outputs"][0]["data"] == [label]


def test_every_request_that_is_wrong_is_told_what_is_wrong(target, digits):
    worker = target.worker_pid()
    judge = driving.Judge()
    stream = rest.inputs(random.Random(SEED), digits.rows[0], INPUTS)
    asyncio.run(driving.drive(target.public, itertools.islice(stream, INPUTS // WARM_UP_SHARE), judge))
    before = driving.resident_bytes(worker)
    asyncio.run(driving.drive(target.public, stream, judge))
    assert sum(judge.seen.values()) == INPUTS, judge.faults[:5]
    assert not judge.faults, f"{len(judge.faults)} faults:\n" + "\n".join(judge.faults[:20])
    assert sum(count for (_, status), count in judge.seen.items() if status != 200) > INPUTS // 2
    survived(target, worker, before, digits.rows[0], digits.label)


def test_no_stream_of_bytes_brings_it_down(target, digits):
    worker = target.worker_pid()
    judge = driving.Judge()
    count = INPUTS // 5
    streams = rest.heads(random.Random(SEED), digits.rows[0], count)
    asyncio.run(driving.pour_all(target.public, itertools.islice(streams, count // WARM_UP_SHARE), judge))
    before = driving.resident_bytes(worker)
    asyncio.run(driving.pour_all(target.public, streams, judge))
    assert not judge.faults, f"{len(judge.faults)} faults:\n" + "\n".join(judge.faults[:20])
    assert sum(judge.seen.values()) == count
    survived(target, worker, before, digits.rows[0], digits.label)


def test_every_call_that_is_wrong_is_told_what_is_wrong(target, digits):
    worker = target.worker_pid()
    judge = driving.Judge()
    count = INPUTS // 2
    stream = http2.calls(random.Random(SEED), digits.rows[0], count)
    asyncio.run(calling.drive(target.public, itertools.islice(stream, count // WARM_UP_SHARE), judge))
    before = driving.resident_bytes(worker)
    asyncio.run(calling.drive(target.public, stream, judge))
    assert not judge.faults, f"{len(judge.faults)} faults:\n" + "\n".join(judge.faults[:20])
    assert sum(judge.seen.values()) == count
    assert 0 < sum(seen for (_, status), seen in judge.seen.items() if status == 0) < count // 2
    survived(target, worker, before, digits.rows[0], digits.label)


def test_no_conversation_brings_it_down(target, digits):
    worker = target.worker_pid()
    judge = driving.Judge()
    count = INPUTS // 5
    streams = http2.conversations(random.Random(SEED), digits.rows[0], count)
    asyncio.run(calling.pour_all(target.public, itertools.islice(streams, count // WARM_UP_SHARE), judge))
    before = driving.resident_bytes(worker)
    asyncio.run(calling.pour_all(target.public, streams, judge))
    assert not judge.faults, f"{len(judge.faults)} faults:\n" + "\n".join(judge.faults[:20])
    assert sum(judge.seen.values()) == count
    survived(target, worker, before, digits.rows[0], digits.label)

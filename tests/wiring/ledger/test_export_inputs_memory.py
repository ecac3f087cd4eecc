"""Forty thousand outcomes exported with their inputs, 40 MB of numbers: the ledger holds a part of them at a time."""

import http.client
import time

import msgspec
import numpy as np
import pytest
from leadline_wire import captures, ledger

from tests.unit.ledger.ledgers import identifier, outcome
from tests.wiring.ledger.chunks import PATH
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.ledger.tables import parquet
from tests.wiring.ledger.test_export_memory import peak_mib, table

CALLS = 10
ROWS = 4_000
WIDTH = 256
GROWTH_MIB = 200
"""Files that were looked into (48), a row group (32), pages, columns and lines of them; all as lines would be 200 more."""


def bring(running, call, at_ms):
    values = np.random.default_rng(call).standard_normal((ROWS, WIDTH)).astype(np.float32)
    for first in range(0, ROWS, 1_000):
        ids = "".join(identifier(number, at_ms + call) for number in range(first, first + 1_000))
        column = captures.Column("X", "FP32", [WIDTH], values[first : first + 1_000].tobytes())
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        try:
            body = msgspec.msgpack.encode(captures.Chunk(ids, [column]))
            connection.request("POST", PATH, body, {"authorization": f"Bearer {RUNTIME}"})
            assert connection.getresponse().status == 204
        finally:
            connection.close()
    return values


@pytest.mark.parametrize("format_", ["parquet", "ndjson"])
def test_memory_does_not_grow_with_the_inputs_that_are_exported(process, format_):
    running = process().start()
    at_ms = time.time_ns() // 1_000_000
    expected = []
    for call in range(CALLS):
        told = [outcome(number, at_ms=at_ms + call) for number in range(ROWS)]
        assert running.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=told))[0] == 200
        expected.append(bring(running, call, at_ms))
    table(running, "limit=1&inputs=true")
    before = peak_mib(running, begin=True)
    body, headers = table(running, f"format={format_}&inputs=true")
    assert headers[ledger.MORE_HEADER] == "false"
    assert peak_mib(running) - before < GROWTH_MIB
    if format_ == "parquet":
        found = np.array(parquet(body)[0]["input.X"].combine_chunks().flatten())
        assert np.array_equal(found.reshape(-1, WIDTH), np.concatenate(expected))
    else:
        assert body.count(b"\n") == CALLS * ROWS

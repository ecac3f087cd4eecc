"""Two hundred thousand outcomes exported by the real process: what it needs of memory does not grow with them."""

import http.client
import time
from pathlib import Path

import pytest
from leadline_wire import ledger

from tests.unit.ledger.ledgers import outcome
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.ledger.tables import parquet

CALLS = 51
ROWS = 4_000
"""In each call."""
GROWTH_MIB = 30
"""A table of JSON lines alone has 40, and its rows are hundreds as objects of Python."""


def peak_mib(running, *, begin=False):
    folder = Path(f"/proc/{running.process.pid}")
    if begin:
        (folder / "clear_refs").write_text("5")
    (line,) = [line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1_024


def table(running, query):
    """Return a table by a reader that takes little at a time, and the headers."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    try:
        connection.request("GET", f"{MODEL}/outcomes?{query}", headers={"authorization": f"Bearer {RUNTIME}"})
        answer = connection.getresponse()
        assert answer.status == 200
        return b"".join(iter(lambda: answer.read(16_384), b"")), answer.headers
    finally:
        connection.close()


@pytest.fixture
def filled(process):
    started = process().start()
    at_ms = time.time_ns() // 1_000_000
    for call in range(CALLS):
        told = [
            outcome(number, at_ms=at_ms + call, truth=number % 7, entity=f"{call:08x}{number:08x}", tags={"a": "b"})
            for number in range(ROWS)
        ]
        status, body = started.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=told))
        assert status == 200, body
    return started


def test_memory_does_not_grow_with_what_is_exported(filled):
    table(filled, "limit=1")  # what writes Parquet is loaded once
    before = peak_mib(filled, begin=True)
    for format_ in ("parquet", "ndjson"):
        query, seen, more = "after=0", [], True
        while more:
            body, headers = table(filled, f"format={format_}&{query}")
            seen += parquet(body)[0]["seq"].to_pylist() if format_ == "parquet" else [body.count(b"\n")]
            query = f"after={headers[ledger.CURSOR_HEADER]}&timeline={headers[ledger.TIMELINE_HEADER]}"
            more = headers[ledger.MORE_HEADER] == "true"
        assert seen == (list(range(1, CALLS * ROWS + 1)) if format_ == "parquet" else [100_000, 100_000, 4_000])
    assert peak_mib(filled) - before < GROWTH_MIB

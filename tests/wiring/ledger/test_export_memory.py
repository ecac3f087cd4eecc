"""Two hundred thousand outcomes exported by the real processes: what they need of memory does not grow with them."""

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest
from leadline_wire import ledger

from tests.unit.ledger.ledgers import outcome
from tests.wiring.ledger import clusters
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.ledger.tables import parquet

CALLS = 51
ROWS = 4_000
"""In each call."""
GROWTH_MIB = 30
"""A table of JSON lines alone has 40, and its rows are hundreds as objects of Python."""


COMMAND_MIB = 100
"""The command, with Python and what writes Parquet, needs 60."""


def peak_mib(running, *, begin=False):
    folder = Path(f"/proc/{running.process.pid}")
    if begin:
        (folder / "clear_refs").write_text("5")
    return peak_of((folder / "status").read_text())


def peak_of(status):
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
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


COMMAND = """
import pathlib, sys
from leadline_cli import main
assert main.main(sys.argv[1:]) == 0
print(pathlib.Path("/proc/self/status").read_text())
"""


def command_peak_mib(running, folder):
    """Export all to a file by the command; return its peak."""
    asked = ["outcomes", "export", "-n", "shop", "fraud", "-o", str(folder / "fraud.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *asked],
        env={**os.environ, "KUBECTL": str(clusters.kubectl(folder, running.port))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    return peak_of(done.stdout)


def test_memory_does_not_grow_with_what_is_exported(filled, tmp_path):
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
    # The command asks for table after table, and makes one file of all.
    peak = command_peak_mib(filled, tmp_path)
    assert peak < COMMAND_MIB
    assert pyarrow.parquet.read_table(tmp_path / "fraud.parquet")["seq"].to_pylist() == list(range(1, CALLS * ROWS + 1))

"""Does a ledger with ten million outcomes answer as one with a hundred thousand? `make bench-ledger-size`.

One real `leadline-ledger` on SQLite, filled over HTTP: outcomes of four ModelDeployments about a million customers, 512 a call
from four callers. At a hundred thousand outcomes, a million, three and ten the same things are measured:

  intake     outcomes/s of the last stretch before
  read       a page of 1,000 entries by cursor: at the beginning, in the middle, at the end; of one ModelDeployment, too
  resume     what an operator begins with
  restart    from the start of a process until it is ready, after SIGKILL; and its memory then
  memory     resident, after the stretch was taken in

Writes benchmarks/results/ledger_size.json.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from leadline_wire import ledger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the repository, beside the folder of this file, which is started by its path

from serving import page, places  # noqa: E402 - found only now

from tests.wiring.ledger.parts import OPERATOR, ApiServer, Process  # noqa: E402

SIZES = (100_000, 1_000_000, 3_000_000, 10_000_000)
MODELS = ("digits", "fraud", "churn", "demand")
CUSTOMERS = 1_000_000
CALL_OUTCOMES = 512
CALLERS = 4
STRETCH = 100_000
"""Outcomes whose intake is timed."""
READS = 30
PAGE = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--most", type=int, default=SIZES[-1], help="outcomes; the figures are kept with all ten million"
    )
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    api = ApiServer()
    try:
        with tempfile.TemporaryDirectory(prefix="leadline-bench-", dir=options.folder) as name:
            found = [figures for _, figures in measured(Path(name), api, options.most)]
    finally:
        api.close()
    show(found)
    if options.most == SIZES[-1]:
        places.SIZE.write_text(json.dumps({"sizes": found}, indent=2) + "\n")
        page.write()


def measured(folder: Path, api: ApiServer, most: int):
    """Fill a ledger; yield each size with its figures."""
    volume = folder / "volume"
    volume.mkdir()
    process = Process(volume, api).start()
    load = Load(time.time_ns() // 1_000_000)
    try:
        for size in SIZES:
            if size > most:
                return
            asyncio.run(load.fill(process.port, size - STRETCH))
            rate = asyncio.run(load.fill(process.port, size))
            figures = {"outcomes": size, "intake_per_second": round(rate), "rss_mb": rss_mb(process)}
            figures |= reads(process, size)
            figures |= restart(process)
            figures["database_mb"] = round(sum(each.stat().st_size for each in volume.glob("ledger.db*")) / 1e6)
            print(figures, file=sys.stderr, flush=True)
            yield size, figures
    finally:
        process.end()


class Load:
    """Makes outcomes as they are sent, each one new."""

    def __init__(self, begun_ms: int) -> None:
        self._random = random.Random(1)
        self._begun_ms = begun_ms
        self.made = 0

    def call(self) -> bytes:
        """Return the next HTTP request."""
        items = []
        for _ in range(CALL_OUTCOMES):
            number, self.made = self.made, self.made + 1
            items.append(
                ledger.Outcome(
                    row=0,
                    id=f"{self._begun_ms + number // 40:012x}7{number % 4_096:03x}8{number:015x}",
                    revision="r-6c1f02ab9e",
                    prediction="i7",
                    entity=f"{self._random.randrange(CUSTOMERS):016x}",
                    truth="i7",
                    max_age_ms=3_650 * 86_400_000,
                )
            )
        body = msgspec.json.encode(ledger.Intake(outcomes=items))
        model = MODELS[(self.made // CALL_OUTCOMES) % len(MODELS)]
        head = (
            f"POST /v1/namespaces/ml/models/{model}/intake HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer {OPERATOR}\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def fill(self, port: int, to: int) -> float:
        """Report outcomes until so many are there; return how many a second."""
        begun, first = time.monotonic(), self.made
        await asyncio.gather(*(self._caller(port, to) for _ in range(CALLERS)))
        return (self.made - first) / (time.monotonic() - begun)

    async def _caller(self, port: int, to: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while self.made < to:
            writer.write(self.call())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"bench-ledger-size: the ledger answered {head.decode()}")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()


def reads(process: Process, size: int) -> dict[str, float]:
    """Return medians of milliseconds that pages take."""
    model = f"/v1/namespaces/ml/models/{MODELS[0]}/log"
    return {
        "read_first_ms": milliseconds(process, f"/v1/log?after=0&limit={PAGE}"),
        "read_middle_ms": milliseconds(process, f"/v1/log?after={size // 2}&limit={PAGE}"),
        "read_last_ms": milliseconds(process, f"/v1/log?after={size - PAGE}&limit={PAGE}"),
        "read_model_ms": milliseconds(process, f"{model}?after={size // 2}&limit={PAGE}"),
        "resume_ms": milliseconds(process, "/v1/resume"),
    }


def milliseconds(process: Process, path: str) -> float:
    """Return the median of what a call takes, the first one left out."""
    waits = []
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=60)
    with contextlib.closing(connection):
        for _ in range(READS + 1):
            begun = time.perf_counter()
            connection.request("GET", path, headers={"authorization": f"Bearer {OPERATOR}"})
            answer = connection.getresponse()
            body = answer.read()
            waits.append(time.perf_counter() - begun)
            if answer.status != 200:
                sys.exit(f"bench-ledger-size: GET {path} was answered {answer.status}: {body[:300]!r}")
    return round(1e3 * statistics.median(waits[1:]), 2)


def restart(process: Process) -> dict[str, float]:
    """Kill it; return how long the next one takes until it is ready, and its memory then."""
    process.kill()
    begun = time.monotonic()
    process.start()
    return {"restart_seconds": round(time.monotonic() - begun, 2), "restarted_rss_mb": rss_mb(process)}


def rss_mb(process: Process) -> int:
    """Return its resident memory."""
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(int(kilobytes) / 1e3)


def show(found: list[dict[str, float]]) -> None:
    for name in found[0]:
        print(f"{name:<20}" + "".join(f"{each[name]:>14,}" for each in found))


if __name__ == "__main__":
    main()

"""Durable outcomes per second of the ledger on SQLite and on PostgreSQL, beside bare SQLite: `make bench-ledger`.

One core serves, another generates load; PostgreSQL's own server runs on the load's core. Each outcome is new, is answered when it is
on the disk, and is of realistic size (receipt's revision, prediction, share, entity). Three loads:

  1    64 callers at the same time, one outcome a call: receipts that come back one by one
  100  8 callers, 100 outcomes a call
  512  4 callers, 512 outcomes a call: a backlog

The limit: a loop that inserts bodies of the same size into the ledger's own table `log`, with the same pragmas, one
transaction for as many rows as the ledger could at most put into one (callers times outcomes), no HTTP and no JSON, on
the same core. Rounds are interleaved; shares are of the same round, for machines drift. Figures hang on the disk: how
many transactions it makes durable in a second, one after the other, is in the results, too.

Writes benchmarks/results/ledger.json; its object `summary` is what the documentation quotes.
"""

import argparse
import asyncio
import http.server
import json
import os
import platform
import re
import secrets
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path

import msgspec
import psycopg
from leadline_ledger.sqlite import schema
from leadline_wire import ledger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the repository, beside the folder of this file, which is started by its path

from serving import page, places  # noqa: E402 - found only now

from tests.wiring.ledger.postgres.server import Server  # noqa: E402

LOADS = {1: 64, 100: 8, 512: 4}
"""Callers by outcomes of one call."""
OUTCOMES_MOST = 60_000
"""Made ahead for each second of a measurement, so that the load's core only sends."""
OPERATOR = "system:serviceaccount:leadline-system:leadline"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=places.LEDGER)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; the system's temporary one")
    parser.add_argument("--bare", nargs=3, metavar=("FOLDER", "ROWS", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        folder, rows, seconds = options.bare
        print(bare(Path(folder), int(rows), float(seconds)))
        return
    compare(options)


def compare(options: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench-ledger: needs two cores, one for the ledger and one for the load")
    api = api_server()
    os.sched_setaffinity(0, {cores[1]})
    server = Server().start()
    try:
        measured = measure(options, api, server, cores[0])
    finally:
        server.leave()
    summary = summarise(measured)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"summary": summary, "environment": environment(), "rounds": measured}, indent=2) + "\n"
    )
    show(summary)
    if options.output == places.LEDGER:
        page.write()
    print(f"\nwritten to {os.path.relpath(options.output)}")


def measure(options: argparse.Namespace, api: str, server: Server, core: int) -> list[dict[str, float]]:
    """Return the figures of each round."""
    measured = []
    for number in range(1, options.rounds + 1):
        print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
        figures: dict[str, float] = {}
        for outcomes, callers in LOADS.items():
            for dsn in ("", server.database()):
                with tempfile.TemporaryDirectory(prefix="leadline-bench-", dir=options.folder) as name:
                    figures |= served(Path(name), api, core, (outcomes, callers, options.seconds), dsn)
            rows = outcomes * callers
            figures[f"bare_{outcomes}"] = alone(options.folder, core, rows, options.seconds)
        figures["transactions"] = alone(options.folder, core, 1, options.seconds)
        measured.append(figures)
    return measured


def api_server() -> str:
    """Start what says whose a token is: every token is the operator's. It is asked once a minute. Return its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            status = {"authenticated": True, "audiences": [ledger.AUDIENCE], "user": {"username": OPERATOR}}
            self.send_response(201)
            self.end_headers()
            self.wfile.write(json.dumps({"status": status}).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def served(folder: Path, api: str, core: int, load: tuple[int, int, float], dsn: str) -> dict[str, float]:
    """Measure one load on a fresh ledger, on SQLite or where the DSN says; return figures by name."""
    outcomes, callers, seconds = load
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "token").write_text("own")
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "runtime"),
        "LEADLINE_LEDGER_DIR": str(folder),
        "LEADLINE_LEDGER_OPERATOR": OPERATOR,
        "LEADLINE_LEDGER_API_SERVER": api,
        "LEADLINE_LEDGER_ACCOUNT_DIR": str(folder),
        "LEADLINE_LEDGER_BIND": "127.0.0.1",
        "LEADLINE_LEDGER_PORT": str(port),
    }
    if dsn:
        (folder / "dsn").write_text(dsn)
        variables["LEADLINE_LEDGER_DATABASE_FILE"] = str(folder / "dsn")
    command = ["taskset", "-c", str(core), sys.executable, "-m", "leadline_ledger.main"]
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        bodies = requests(outcomes, int(OUTCOMES_MOST * seconds / outcomes))
        before = cpu_seconds(process.pid)
        count, elapsed, waits = asyncio.run(send(port, bodies, callers, seconds))
        spent = cpu_seconds(process.pid) - before
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    kept = in_log(folder, dsn)
    if kept < count * outcomes:
        sys.exit(f"bench-ledger: {count * outcomes} outcomes were acknowledged, {kept} are in the log")
    kind = "postgres" if dsn else "ledger"
    return {
        f"{kind}_{outcomes}": count * outcomes / elapsed,
        f"{kind}_cpu_{outcomes}": 1e6 * spent / (count * outcomes),
        f"{kind}_p99_ms_{outcomes}": 1e3 * sorted(waits)[int(0.99 * len(waits))],
    }


def in_log(folder: Path, dsn: str) -> int:
    """Return how many entries the log has."""
    if not dsn:
        found = sqlite3.connect(folder / "ledger.db").execute("SELECT COUNT(*) FROM log").fetchone()
    else:
        with psycopg.connect(dsn) as connection:
            found = connection.execute("SELECT COUNT(*) FROM leadline_ledger.log").fetchone()
    return int(found[0])


def requests(outcomes: int, count: int) -> list[bytes]:
    """Return whole HTTP requests, each outcome in them new."""
    begun = time.time_ns() // 1_000_000
    made = []
    for number in range(count):
        first = number * outcomes
        items = [
            ledger.Outcome(
                row=0,
                id=f"{begun + place // 8:012x}7{place % 4_096:03x}8{secrets.randbits(60):015x}",
                revision="digits-6c1f02ab9e",
                prediction="i7",
                entity="0123456789abcdef",
                truth="i7",
            )
            for place in range(first, first + outcomes)
        ]
        body = msgspec.json.encode(ledger.Intake(outcomes=items))
        head = (
            "POST /v1/namespaces/ml/models/digits/intake HTTP/1.1\r\nhost: ledger\r\nauthorization: Bearer token\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def send(port: int, bodies: list[bytes], callers: int, seconds: float) -> tuple[int, float, list[float]]:
    """Send from so many callers, each after its last answer; return how many were answered, in what time, and each's wait."""
    waiting, loop = iter(bodies), asyncio.get_running_loop()
    waits: list[float] = []
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(callers)]
    begun = loop.time()

    async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in waiting:
            sent = loop.time()
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"bench-ledger: the ledger answered {head.decode()}")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]))
            waits.append(loop.time() - sent)
            if loop.time() - begun > seconds:
                break
        writer.close()

    await asyncio.gather(*(call(*connection) for connection in connections))
    return len(waits), loop.time() - begun, waits


def alone(folder: Path | None, core: int, rows: int, seconds: float) -> float:
    """Return rows per second of bare SQLite, in a process of its own on the ledger's core."""
    with tempfile.TemporaryDirectory(prefix="leadline-bench-", dir=folder) as name:
        command = ["taskset", "-c", str(core), sys.executable, __file__, "--bare", name, str(rows), f"{seconds:g}"]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def bare(folder: Path, rows: int, seconds: float) -> float:
    """Insert bodies as large as an entry until the time is over; return rows per second."""
    connection = schema.writer(folder / "bare.db", max_bytes=0)
    body = msgspec.json.encode(
        ledger.OutcomeEntry(1, "ml/digits", "0" * 32, 0, "digits-6c1f02ab9e", "i7", 0, "i7", entity="0" * 16)
    )
    batch = [(1, 0, body)] * rows
    begun, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO log (model, expires_ms, body) VALUES (?, ?, ?)", batch)
        connection.execute("COMMIT")
        count += rows
    connection.close()
    return count / elapsed


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                if connection.recv(64).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"bench-ledger: nothing is ready on port {port}")


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def summarise(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return medians over the rounds; shares are medians of each round's own share."""

    def median(figure) -> float:
        return statistics.median(figure(each) for each in rounds)

    summary: dict[str, float] = {}
    for size in LOADS:
        summary[f"outcomes_per_second_{size}"] = median(lambda each, n=size: each[f"ledger_{n}"])
        summary[f"bare_sqlite_per_second_{size}"] = median(lambda each, n=size: each[f"bare_{n}"])
        summary[f"bare_sqlite_fraction_{size}"] = median(lambda each, n=size: each[f"ledger_{n}"] / each[f"bare_{n}"])
        summary[f"cpu_microseconds_{size}"] = median(lambda each, n=size: each[f"ledger_cpu_{n}"])
        summary[f"p99_ms_{size}"] = median(lambda each, n=size: each[f"ledger_p99_ms_{n}"])
        summary[f"postgres_per_second_{size}"] = median(lambda each, n=size: each[f"postgres_{n}"])
        summary[f"postgres_cpu_microseconds_{size}"] = median(lambda each, n=size: each[f"postgres_cpu_{n}"])
        summary[f"postgres_p99_ms_{size}"] = median(lambda each, n=size: each[f"postgres_p99_ms_{n}"])
    summary["transactions_per_second"] = median(lambda each: each["transactions"])
    return {name: float(f"{value:.4g}") for name, value in summary.items()}


def show(summary: dict[str, float]) -> None:
    row = "{:<34}" + "{:>18}" * len(LOADS)
    print(row.format("one core, outcomes a call", *(f"{size} x {callers} callers" for size, callers in LOADS.items())))
    for title, name, form in (
        ("SQLite, durable outcomes/s", "outcomes_per_second_{}", "{:,.0f}"),
        ("bare SQLite, rows/s", "bare_sqlite_per_second_{}", "{:,.0f}"),
        ("share of bare SQLite", "bare_sqlite_fraction_{}", "{:.3f}"),
        ("SQLite, CPU us/outcome", "cpu_microseconds_{}", "{:.1f}"),
        ("SQLite, p99 of the answer, ms", "p99_ms_{}", "{:.1f}"),
        ("PostgreSQL, durable outcomes/s", "postgres_per_second_{}", "{:,.0f}"),
        ("PostgreSQL, CPU us/outcome", "postgres_cpu_microseconds_{}", "{:.1f}"),
        ("PostgreSQL, p99 of the answer, ms", "postgres_p99_ms_{}", "{:.1f}"),
    ):
        print(row.format(title, *(form.format(summary[name.format(size)]) for size in LOADS)))
    print(f"transactions that the disk makes durable, one after the other: {summary['transactions_per_second']:,.0f}/s")


def environment() -> dict[str, str]:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_average_at_end": f"{os.getloadavg()[0]:.2f}",
        **{name: metadata.version(name) for name in ("aiohttp", "msgspec", "psycopg")},
    }


if __name__ == "__main__":
    main()

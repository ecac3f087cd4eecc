"""What receipts and copies cost the runtime, side by side in one run: `make bench-receipts`.

One runtime process on one core, load (wrk) on another; between measurements an exchange switches what becomes of answers,
so that nothing else differs. The order of the cases changes from round to round, and shares are taken within a round.

  off       no receipts, as without `spec.outcomes`
  receipts  each answer carries one
  captures_10, captures_100
            each answer carries a receipt, and the inputs of that share of the requests are captured
  copies    each answer carries a receipt, and each request is copied to copy_target.py, which also stands for the ledger

`make bench-serving` measures the same, too. The target runs on the load's core and is as light as Python gets: its cost is another pod's. Writes
benchmarks/results/receipts.json; `summary` holds requests per second and CPU microseconds per request, from the kernel's
accounts, and how much less or more they are than with everything off.
"""

import argparse
import http.client
import json
import os
import re
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from leadline_wire import exchange
from serving import contenders, generators, machine, models, places, processes

RESULTS = places.BENCHMARKS / "results" / "receipts.json"
CASES = ("off", "receipts", "captures_10", "captures_100", "copies")
CONNECTIONS = (16, 64)
KEY = bytes(range(32))
SWITCH_SECONDS = 10.0
BESIDE = (
    ("receipts", "off"),
    ("captures_10", "receipts"),
    ("captures_100", "receipts"),
    ("copies", "receipts"),
    ("copies", "off"),
)
"""What is compared with what."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement, whole as wrk wants them")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if lacking := machine.missing():
        sys.exit("\n".join(f"bench-receipts: {line}" for line in lacking))
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        rounds = rounds_in(Path(name), options.rounds, options.seconds)
    summary = summarise(rounds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"summary": summary, "environment": machine.environment(), "rounds": rounds}
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    show(summary)
    print(f"\nwritten to {os.path.relpath(options.output)}")


def rounds_in(folder: Path, rounds: int, seconds: int) -> list[dict[str, float]]:
    """Measure all cases in interleaved rounds; return each round's figures."""
    folder.mkdir(exist_ok=True)
    bench = Bench(folder, machine.cores())
    try:
        bench.wait()
        return [bench.one_round(number, seconds) for number in range(rounds)]
    finally:
        bench.stop()


class Bench:
    """The processes, and how they are switched and measured."""

    def __init__(self, folder: Path, cores: list[int]) -> None:
        self.folder, self.cores = folder, cores
        (self.target,) = processes.free_ports(1)
        (folder / "keys").mkdir()
        (folder / "keys" / "exchange").write_bytes(KEY)
        self.runtime = contenders.Running(
            contenders.BY_NAME["leadline"],
            models.load("small", folder),
            folder / "runtime",
            cores[0],
            {"LEADLINE_KEYS_DIR": str(folder / "keys")},
        )
        target = [sys.executable, str(places.BENCHMARKS / "copy_target.py"), str(self.target)]
        self.other = processes.Server(target, cores[1], dict(os.environ), folder / "target.log")
        self.request = self.runtime.request("json", 1)

    def wait(self) -> None:
        self.runtime.wait()

    def stop(self) -> None:
        self.runtime.server.stop()
        self.other.stop()

    def one_round(self, number: int, seconds: int) -> dict[str, float]:
        """Measure every case once, in another order than the round before."""
        print(f"receipts and copies, round {number + 1}", file=sys.stderr, flush=True)
        figures: dict[str, float] = {}
        for connections in CONNECTIONS:
            for place in range(len(CASES)):
                case = CASES[(place + number) % len(CASES)]
                self.switch(case)
                self.measure(case, connections, seconds, figures)
        return figures

    def measure(self, case: str, connections: int, seconds: int, figures: dict[str, float]) -> None:
        copied = self.copies()
        load = generators.Load("json", 1, connections)
        rate, cpu = generators.throughput(
            self.runtime, load, answer_bytes=0, seconds=seconds, core=self.cores[1], folder=self.folder
        )
        figures[f"{case}_{connections}"] = rate
        figures[f"{case}_cpu_{connections}"] = 1e6 * cpu
        if case == "copies":
            figures[f"copied_share_{connections}"] = (self.copies() - copied) / (rate * seconds)

    def switch(self, case: str) -> None:
        """Have the runtime do what this case says, and wait until it does."""
        percent = int(case.removeprefix("captures_")) if case.startswith("captures_") else 0
        capture = exchange.CaptureSettings(share=percent * 10_000) if percent else None
        ledger = f"http://127.0.0.1:{self.target}"
        outcomes = exchange.OutcomeSettings(ledger=ledger, capture=capture) if case != "off" else None
        copies = [exchange.Copy("small-other", "127.0.0.1", self.target)] if case == "copies" else []
        nonce = secrets.token_hex(16)
        request = exchange.ExchangeRequest(
            nonce, "", self.runtime.revision, 1, "serving", outcomes=outcomes, copies=copies
        )
        body = msgspec.json.encode(request)
        headers = {exchange.MAC_HEADER: exchange.seal(KEY, "request", nonce, body)}
        status, answer, _ = self.call(self.runtime.admin_port, "POST", "/exchange", body, headers)
        if status != 200:
            sys.exit(f"bench-receipts: exchange answered {status}: {answer!r}")
        deadline = time.monotonic() + SWITCH_SECONDS
        while time.monotonic() < deadline:
            _, _, found = self.call(self.runtime.port, "POST", self.request.path, self.request.body, {})
            if ("leadline-receipt" in found) == (case != "off"):
                return
        sys.exit(f"bench-receipts: the runtime did not switch to {case} within {SWITCH_SECONDS:g} s")

    def copies(self) -> float:
        """Return how many copies were answered so far."""
        _, text, _ = self.call(self.runtime.admin_port, "GET", "/metrics", None, {})
        found = re.search(rb'leadline_copies_total\{fate="Answered"[^}]*\} ([\d.e+]+)', text)
        return float(found[1]) if found else 0.0

    def call(self, port, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SWITCH_SECONDS)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()


def summarise(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return medians over the rounds; changes are medians of each round's own change."""

    def median(figure) -> float:
        return statistics.median(figure(each) for each in rounds)

    summary: dict[str, float] = {}
    for count in CONNECTIONS:
        for case in CASES:
            summary[f"{case}_requests_per_second_{count}"] = median(lambda each, c=case, n=count: each[f"{c}_{n}"])
            summary[f"{case}_cpu_microseconds_{count}"] = median(lambda each, c=case, n=count: each[f"{c}_cpu_{n}"])
        for case, base in BESIDE:
            name = f"{case}_over_{base}"
            summary[f"{name}_requests_change_{count}"] = median(
                lambda each, c=case, b=base, n=count: each[f"{c}_{n}"] / each[f"{b}_{n}"] - 1
            )
            summary[f"{name}_cpu_change_{count}"] = median(
                lambda each, c=case, b=base, n=count: each[f"{c}_cpu_{n}"] / each[f"{b}_cpu_{n}"] - 1
            )
            summary[f"{name}_cpu_microseconds_more_{count}"] = median(
                lambda each, c=case, b=base, n=count: each[f"{c}_cpu_{n}"] - each[f"{b}_cpu_{n}"]
            )
        summary[f"copied_share_{count}"] = median(lambda each, n=count: each[f"copied_share_{n}"])
    return {name: float(f"{value:.3g}") for name, value in summary.items()}


def show(summary: dict[str, float]) -> None:
    row = "{:<46}" + "{:>16}" * len(CONNECTIONS)
    print(row.format("one core, JSON, 64 numbers", *(f"{count} connections" for count in CONNECTIONS)))
    lines = [(f"{case}, requests/s", f"{case}_requests_per_second_{{}}", "{:,.0f}") for case in CASES]
    lines += [(f"{case}, CPU us/request", f"{case}_cpu_microseconds_{{}}", "{:.1f}") for case in CASES]
    for name, title in (
        ("receipts_over_off", "receipts"),
        ("captures_10_over_receipts", "captures of 10 % beside receipts"),
        ("captures_100_over_receipts", "captures of all beside receipts"),
        ("copies_over_receipts", "copies beside receipts"),
        ("copies_over_off", "both"),
    ):
        lines.append((f"{title}: change of requests/s", f"{name}_requests_change_{{}}", "{:+.1%}"))
        lines.append((f"{title}: change of CPU", f"{name}_cpu_change_{{}}", "{:+.1%}"))
        lines.append((f"{title}: CPU us/request more", f"{name}_cpu_microseconds_more_{{}}", "{:+.2f}"))
    lines.append(("requests whose copy was answered", "copied_share_{}", "{:.1%}"))
    for title, name, form in lines:
        print(row.format(title, *(form.format(summary[name.format(count)]) for count in CONNECTIONS)))


if __name__ == "__main__":
    main()

"""What receipts and copies cost the runtime, side by side in one run: `make bench-outcomes`.

One runtime process on one core, load (wrk) on another; between measurements an exchange switches what becomes of answers,
so that nothing else differs. The order of the cases changes from round to round, and shares are taken within a round.

  off       no receipts, as without `spec.outcomes`
  receipts  each answer carries one
  copies    each answer carries a receipt, and each request is copied to copy_target.py, which also stands for the ledger

The target runs on the load's core and is as light as Python gets: its cost is another pod's. Writes
benchmarks/results/outcomes.json; `summary` holds requests per second and CPU microseconds per request, from the kernel's
accounts, and how much less or more they are than with everything off.
"""

import argparse
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import serving
from leadline_wire import exchange

RESULTS = serving.ROOT / "benchmarks" / "results" / "outcomes.json"
CASES = ("off", "receipts", "copies")
REVISION = "digits-6c1f02ab9e"
KEY = bytes(range(32))
SWITCH_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement, whole as wrk wants them")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("bench-outcomes: needs wrk; install it with: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench-outcomes: needs two cores, one for the server and one for the load")
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        folder = Path(name)
        serving.train(folder / "model.onnx")
        (folder / "post.lua").write_text(serving.script())
        bench = Bench(folder, cores)
        try:
            rounds = [bench.one_round(number, options.seconds) for number in range(options.rounds)]
        finally:
            bench.stop()
    summary = summarise(rounds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"summary": summary, "environment": serving.environment(), "rounds": rounds}
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    show(summary)
    print(f"\nwritten to {os.path.relpath(options.output)}")


class Bench:
    """The processes, and how they are switched and measured."""

    def __init__(self, folder: Path, cores: list[int]) -> None:
        self.folder, self.cores = folder, cores
        self.public, self.admin, own, self.target = serving.free_ports(4)
        (folder / "keys").mkdir()
        (folder / "keys" / "exchange").write_bytes(KEY)
        digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(serving.ROOT / "runtime"),
            "LEADLINE_MODEL_NAME": "digits",
            "LEADLINE_REVISION": REVISION,
            "LEADLINE_MODEL_URI": (folder / "model.onnx").as_uri(),
            "LEADLINE_MODEL_DIGEST": f"sha256:{digest}",
            "LEADLINE_DATA_DIR": str(folder / "data"),
            "LEADLINE_KEYS_DIR": str(folder / "keys"),
            "LEADLINE_BIND": "127.0.0.1",
            "LEADLINE_PUBLIC_PORT": str(self.public),
            "LEADLINE_ADMIN_PORT": str(self.admin),
            "LEADLINE_OWN_PORT": str(own),
        }
        taskset = [["taskset", "-c", str(core), sys.executable] for core in cores[:2]]
        target = str(serving.ROOT / "benchmarks" / "copy_target.py")
        self.runtime = subprocess.Popen(
            [*taskset[0], "-m", "leadline_runtime.main"], env=variables, stderr=subprocess.DEVNULL
        )
        self.other = subprocess.Popen([*taskset[1], target, str(self.target)])
        serving.wait_for(self.public)

    def stop(self) -> None:
        for process in (self.runtime, self.other):
            process.terminate()
        for process in (self.runtime, self.other):
            process.wait(30)

    def one_round(self, number: int, seconds: int) -> dict[str, float]:
        """Measure every case once, in another order than the round before."""
        print(f"round {number + 1}", file=sys.stderr, flush=True)
        figures: dict[str, float] = {}
        for connections in serving.CONNECTIONS:
            for place in range(len(CASES)):
                case = CASES[(place + number) % len(CASES)]
                self.switch(case)
                self.measure(case, connections, seconds, figures)
        return figures

    def measure(self, case: str, connections: int, seconds: int, figures: dict[str, float]) -> None:
        before, copied = serving.cpu_seconds(self.runtime.pid), self.copies()
        command = ["taskset", "-c", str(self.cores[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        url = f"http://127.0.0.1:{self.public}{serving.PATH}"
        done = subprocess.run(
            [*command, "-s", str(self.folder / "post.lua"), url], capture_output=True, text=True, check=True
        )
        spent = serving.cpu_seconds(self.runtime.pid) - before
        if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            sys.exit(f"bench-outcomes: {case} failed requests:\n{done.stdout}")
        requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
        figures[f"{case}_{connections}"] = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
        figures[f"{case}_cpu_{connections}"] = 1e6 * spent / requests
        if case == "copies":
            figures[f"copied_share_{connections}"] = (self.copies() - copied) / requests

    def switch(self, case: str) -> None:
        """Have the runtime do what this case says, and wait until it does."""
        outcomes = exchange.OutcomeSettings(ledger=f"http://127.0.0.1:{self.target}") if case != "off" else None
        copies = [exchange.Copy("digits-other", "127.0.0.1", self.target)] if case == "copies" else []
        nonce = secrets.token_hex(16)
        request = exchange.ExchangeRequest(nonce, "", REVISION, 1, "serving", outcomes=outcomes, copies=copies)
        body = msgspec.json.encode(request)
        headers = {exchange.MAC_HEADER: exchange.seal(KEY, "request", nonce, body)}
        status, answer, _ = self.call(self.admin, "POST", "/exchange", body, headers)
        if status != 200:
            sys.exit(f"bench-outcomes: exchange answered {status}: {answer!r}")
        deadline = time.monotonic() + SWITCH_SECONDS
        while time.monotonic() < deadline:
            _, _, found = self.call(self.public, "POST", serving.PATH, serving.body().encode(), {})
            if ("leadline-receipt" in found) == (case != "off"):
                return
        sys.exit(f"bench-outcomes: the runtime did not switch to {case} within {SWITCH_SECONDS:g} s")

    def copies(self) -> float:
        """Return how many copies were answered so far."""
        _, text, _ = self.call(self.admin, "GET", "/metrics", None, {})
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
    for count in serving.CONNECTIONS:
        for case in CASES:
            summary[f"{case}_requests_per_second_{count}"] = median(lambda each, c=case, n=count: each[f"{c}_{n}"])
            summary[f"{case}_cpu_microseconds_{count}"] = median(lambda each, c=case, n=count: each[f"{c}_cpu_{n}"])
        for case, base in (("receipts", "off"), ("copies", "receipts"), ("copies", "off")):
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
    row = "{:<46}" + "{:>16}" * len(serving.CONNECTIONS)
    print(row.format("one core, JSON, 64 numbers", *(f"{count} connections" for count in serving.CONNECTIONS)))
    lines = [(f"{case}, requests/s", f"{case}_requests_per_second_{{}}", "{:,.0f}") for case in CASES]
    lines += [(f"{case}, CPU us/request", f"{case}_cpu_microseconds_{{}}", "{:.1f}") for case in CASES]
    for name, title in (
        ("receipts_over_off", "receipts"),
        ("copies_over_receipts", "copies beside receipts"),
        ("copies_over_off", "both"),
    ):
        lines.append((f"{title}: change of requests/s", f"{name}_requests_change_{{}}", "{:+.1%}"))
        lines.append((f"{title}: change of CPU", f"{name}_cpu_change_{{}}", "{:+.1%}"))
        lines.append((f"{title}: CPU us/request more", f"{name}_cpu_microseconds_more_{{}}", "{:+.2f}"))
    lines.append(("requests whose copy was answered", "copied_share_{}", "{:.1%}"))
    for title, name, form in lines:
        print(row.format(title, *(form.format(summary[name.format(count)]) for count in serving.CONNECTIONS)))


if __name__ == "__main__":
    main()

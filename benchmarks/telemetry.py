"""What access log and traces cost a request, side by side: `python benchmarks/telemetry.py`.

One runtime per case on one core, load (wrk) on another, cases interleaved. CPU microseconds per request are from the
kernel's accounts of the runtime's processes, the log's and the exporter's threads included; lines go to /dev/null, spans
to a collector that takes and drops them (its cost is on the load's core).

  off      neither
  errors   LEADLINE_ACCESS_LOG=errors, and no error comes
  all      LEADLINE_ACCESS_LOG=all
  unsampled  traces on, and the requests' sampler takes none of them
  hundredth  traces on, one in a hundred requests sampled
  sampled    traces on, every request sampled
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from serving import models
from serving.pod import PATH, Pod, body

CONNECTIONS = 16


def traces(share: str) -> dict[str, str]:
    return {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": share}


CASES = {
    "off": {},
    "errors": {"LEADLINE_ACCESS_LOG": "errors"},
    "all": {"LEADLINE_ACCESS_LOG": "all"},
    "unsampled": traces("0"),
    "hundredth": traces("0.01"),
    "sampled": traces("1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        folder = Path(name)
        model = models.small(folder)
        (folder / "post.lua").write_text(script())
        collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        os.sched_setaffinity(0, {cores[-1]})
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        servers = {case: start(folder / case, model, cores[0], CASES[case], endpoint) for case in CASES}
        try:
            rounds = [
                {case: measure(folder, servers[case], options.seconds, cores[-1]) for case in CASES}
                for _ in range(options.rounds)
            ]
        finally:
            for pod in servers.values():
                pod.server.stop()
    show(rounds)


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def script() -> str:
    headers = {
        "content-type": "application/json",
        "accept": "*/*",
        "accept-encoding": "gzip, deflate",
        "user-agent": "bench/1.0",
        "connection": "keep-alive",
        "x-request-id": "0123456789abcdef",
    }
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    return "\n".join(['wrk.method = "POST"', *lines, f"wrk.body = '{body().decode()}'", ""])


def start(folder: Path, model: Path, core: int, case: dict[str, str], endpoint: str) -> Pod:
    exporter = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if "OTEL_TRACES_SAMPLER" in case else {}
    return Pod(folder, model, core, {**case, **exporter})


def measure(folder: Path, pod: Pod, seconds: int, core: int) -> dict[str, float]:
    before = pod.server.cpu_seconds()
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{pod.public}{PATH}"
    done = subprocess.run([*command, "-s", str(folder / "post.lua"), url], capture_output=True, text=True, check=True)
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    assert "Non-2xx" not in done.stdout
    cpu = 1e6 * (pod.server.cpu_seconds() - before) / requests
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    return {
        "cpu": cpu,
        "rate": requests / seconds,
        "p99_ms": float(p99) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit],
    }


def show(rounds: list[dict[str, dict[str, float]]]) -> None:
    print(f"{'':<12}{'CPU us/request':>16}{'more than off':>16}{'requests/s':>14}{'p99 ms':>10}")
    for case in CASES:
        cpu, rate, p99 = (statistics.median(each[case][name] for each in rounds) for name in ("cpu", "rate", "p99_ms"))
        more = statistics.median(each[case]["cpu"] - each["off"]["cpu"] for each in rounds)
        print(f"{case:<12}{cpu:>16.1f}{more:>16.1f}{rate:>14,.0f}{p99:>10.2f}")


if __name__ == "__main__":
    main()

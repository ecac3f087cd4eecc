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
import hashlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import serving

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
        serving.train(folder / "model.onnx")
        (folder / "post.lua").write_text(serving.script())
        collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        os.sched_setaffinity(0, {cores[-1]})
        endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
        servers = {case: start(folder, case, cores[0], endpoint) for case in CASES}
        try:
            rounds = [
                {case: measure(folder, *servers[case], options.seconds, cores[-1]) for case in CASES}
                for _ in range(options.rounds)
            ]
        finally:
            for process, _ in servers.values():
                process.terminate()
            for process, _ in servers.values():
                process.wait(30)
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


def start(folder: Path, case: str, core: int, endpoint: str) -> tuple[subprocess.Popen, int]:
    public, admin, own = serving.free_ports(3)
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(serving.ROOT / "runtime"),
        "LEADLINE_MODEL_NAME": "digits",
        "LEADLINE_REVISION": "digits-1",
        "LEADLINE_MODEL_URI": (folder / "model.onnx").as_uri(),
        "LEADLINE_MODEL_DIGEST": f"sha256:{hashlib.sha256((folder / 'model.onnx').read_bytes()).hexdigest()}",
        "LEADLINE_DATA_DIR": str(folder / case),
        "LEADLINE_BIND": "127.0.0.1",
        "LEADLINE_PUBLIC_PORT": str(public),
        "LEADLINE_ADMIN_PORT": str(admin),
        "LEADLINE_OWN_PORT": str(own),
        **CASES[case],
    }
    if "OTEL_TRACES_SAMPLER" in CASES[case]:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    command = ["taskset", "-c", str(core), sys.executable, "-m", "leadline_runtime.main"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=variables, **quiet)
    serving.wait_for(public)
    return process, public


def measure(folder: Path, process: subprocess.Popen, port: int, seconds: int, core: int) -> dict[str, float]:
    before = serving.cpu_seconds(process.pid)
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{port}{serving.PATH}"
    done = subprocess.run([*command, "-s", str(folder / "post.lua"), url], capture_output=True, text=True, check=True)
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    assert "Non-2xx" not in done.stdout
    cpu = 1e6 * (serving.cpu_seconds(process.pid) - before) / requests
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

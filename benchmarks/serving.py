"""Throughput of the runtime beside a bare echo and a raw onnxruntime loop: `make bench-serving`.

One core serves, another generates load (wrk), nothing else should run. Rounds are interleaved and figures are compared
within a round, for machines drift: absolute figures do not carry over, shares do. What is compared, all with the same
request (64 numbers as JSON, eight headers) and the same small model (digits, logistic regression, ten classes):

  echo         echo.py: uvloop and httptools, answering a constant; as good as Python can get
  runtime      `leadline-runtime` as it runs in a pod, over its public port
  onnxruntime  onnxruntime_loop.py: the model alone, one row per run, no HTTP and no JSON

Writes benchmarks/results/serving.json; its object `summary` is what the README quotes. CPU microseconds per request are
taken from the kernel's accounts of the serving process, so they say something on a busy machine, too.
"""

import argparse
import hashlib
import http.client
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"
CONNECTIONS = (16, 64)
PATH = "/v2/models/digits/infer"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    compare(options.rounds, options.seconds, options.output)


def body() -> str:
    """Return the request, 1.3 kB: 64 numbers with all their digits, as a client's JSON library writes them."""
    numbers = [(number * 7_919) % 1_000_003 / 1_000_003 for number in range(1, 65)]
    return json.dumps({"inputs": [{"name": "X", "shape": [1, 64], "datatype": "FP32", "data": numbers}]})


def compare(rounds: int, seconds: float, output: Path) -> None:
    if not shutil.which("wrk"):
        sys.exit("bench-serving: needs wrk; install it with: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("bench-serving: needs two cores, one for the server and one for the load")
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        folder = Path(name)
        train(folder / "model.onnx")
        (folder / "post.lua").write_text(script())
        processes, ports = start(folder, cores[0])
        try:
            measured = []
            for number in range(1, rounds + 1):
                print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
                measured.append(one_round(folder, (processes, ports), seconds, cores))
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(30)
    summary = summarise(measured)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        json.dumps({"summary": summary, "environment": environment(), "rounds": measured}, indent=2) + "\n"
    )
    show(summary)
    print(f"\nwritten to {os.path.relpath(output)}")


def train(path: Path) -> None:
    features, labels = load_digits(return_X_y=True)
    features = (features / 16).astype("float32")
    model = LogisticRegression(max_iter=200).fit(features[:600], labels[:600])
    path.write_bytes(to_onnx(model, features[:1], options={"zipmap": False}).SerializeToString())


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
    return "\n".join(['wrk.method = "POST"', *lines, f"wrk.body = '{body()}'", ""])


def start(folder: Path, core: int) -> tuple[dict[str, subprocess.Popen], dict[str, int]]:
    """Start both servers on one core; return them with their ports."""
    ports = dict(zip(("echo", "runtime", "admin", "own"), free_ports(4), strict=True))
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "runtime"),
        "LEADLINE_MODEL_NAME": "digits",
        "LEADLINE_REVISION": "digits-6c1f02ab9e",
        "LEADLINE_MODEL_URI": (folder / "model.onnx").as_uri(),
        "LEADLINE_MODEL_DIGEST": f"sha256:{digest}",
        "LEADLINE_DATA_DIR": str(folder / "data"),
        "LEADLINE_BIND": "127.0.0.1",
        "LEADLINE_PUBLIC_PORT": str(ports["runtime"]),
        "LEADLINE_ADMIN_PORT": str(ports["admin"]),
        "LEADLINE_OWN_PORT": str(ports["own"]),
    }

    pinned = ("taskset", "-c", str(core), sys.executable)
    processes = {
        "echo": subprocess.Popen([*pinned, str(ROOT / "benchmarks" / "echo.py"), str(ports["echo"])]),
        "runtime": subprocess.Popen([*pinned, "-m", "leadline_runtime.main"], env=variables, stderr=subprocess.DEVNULL),
    }
    for port in (ports["echo"], ports["runtime"]):
        wait_for(port)
    return processes, ports


def wait_for(port: int) -> None:
    """Wait until a server answers a prediction."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", PATH, body())
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    sys.exit(f"bench-serving: nothing answers on port {port}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def one_round(folder, servers, seconds, cores) -> dict[str, float]:
    """Measure everything once; return figures by name."""
    figures: dict[str, float] = {}
    processes, ports = servers
    for connections in CONNECTIONS:
        for name in ("echo", "runtime"):
            before = cpu_seconds(processes[name].pid)
            command = ["taskset", "-c", str(cores[1]), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s"]
            url = f"http://127.0.0.1:{ports[name]}{PATH}"
            done = subprocess.run(
                [*command, "-s", str(folder / "post.lua"), url], capture_output=True, text=True, check=True
            )
            spent = cpu_seconds(processes[name].pid) - before
            requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
            if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
                sys.exit(f"bench-serving: {name} failed requests:\n{done.stdout}")
            figures[f"{name}_{connections}"] = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
            figures[f"{name}_cpu_{connections}"] = 1e6 * spent / requests
    figures["onnxruntime"] = raw_loop(folder, seconds, cores[0])
    return figures


def raw_loop(folder: Path, seconds: float, core: int) -> float:
    """Return runs per second of the model alone."""
    (folder / "request.json").write_text(body())
    command = ["taskset", "-c", str(core), sys.executable, str(ROOT / "benchmarks" / "onnxruntime_loop.py")]
    arguments = [str(folder / "model.onnx"), str(folder / "request.json"), f"{seconds:g}"]
    return float(subprocess.run([*command, *arguments], capture_output=True, text=True, check=True).stdout)


def cpu_seconds(process: int) -> float:
    """Return CPU time of a process and its children so far, in seconds."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == process or int(fields[1]) == process:
            total += (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return total


def summarise(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return medians over the rounds; shares are medians of each round's own share."""

    def median(figure) -> float:
        return statistics.median(figure(each) for each in rounds)

    summary: dict[str, float] = {}
    for count in CONNECTIONS:
        summary[f"echo_fraction_{count}"] = median(lambda each, n=count: each[f"runtime_{n}"] / each[f"echo_{n}"])
        summary[f"onnxruntime_fraction_{count}"] = median(
            lambda each, n=count: each[f"runtime_{n}"] / each["onnxruntime"]
        )
        summary[f"requests_per_second_{count}"] = median(lambda each, n=count: each[f"runtime_{n}"])
        summary[f"echo_requests_per_second_{count}"] = median(lambda each, n=count: each[f"echo_{n}"])
        summary[f"cpu_microseconds_{count}"] = median(lambda each, n=count: each[f"runtime_cpu_{n}"])
        summary[f"echo_cpu_microseconds_{count}"] = median(lambda each, n=count: each[f"echo_cpu_{n}"])
        summary[f"echo_cpu_fraction_{count}"] = median(
            lambda each, n=count: each[f"echo_cpu_{n}"] / each[f"runtime_cpu_{n}"]
        )
    summary["onnxruntime_runs_per_second"] = median(lambda each: each["onnxruntime"])
    return {name: float(f"{value:.4g}") for name, value in summary.items()}


def show(summary: dict[str, float]) -> None:
    row = "{:<34}" + "{:>16}" * len(CONNECTIONS)
    print(row.format("one core, JSON, 64 numbers", *(f"{count} connections" for count in CONNECTIONS)))
    for title, name, form in (
        ("bare echo, requests/s", "echo_requests_per_second_{}", "{:,.0f}"),
        ("runtime, requests/s", "requests_per_second_{}", "{:,.0f}"),
        ("share of the bare echo", "echo_fraction_{}", "{:.2f}"),
        ("share of a raw onnxruntime loop", "onnxruntime_fraction_{}", "{:.2f}"),
        ("bare echo, CPU us/request", "echo_cpu_microseconds_{}", "{:.1f}"),
        ("runtime, CPU us/request", "cpu_microseconds_{}", "{:.1f}"),
        ("share of the bare echo, by CPU", "echo_cpu_fraction_{}", "{:.2f}"),
    ):
        print(row.format(title, *(form.format(summary[name.format(count)]) for count in CONNECTIONS)))
    print(f"raw onnxruntime loop, runs/s: {summary['onnxruntime_runs_per_second']:,.0f}")


def environment() -> dict[str, str]:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    packages = ("httptools", "numpy", "onnxruntime", "orjson", "uvloop")
    return {
        "cpu": model[1] if model else platform.machine(),
        "python": platform.python_version(),
        "load_average_at_end": f"{os.getloadavg()[0]:.2f}",
        **{name: metadata.version(name) for name in packages},
    }


if __name__ == "__main__":
    main()

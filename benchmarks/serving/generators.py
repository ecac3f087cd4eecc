"""Load from another core: wrk for HTTP/1.1 and h2load for gRPC, both Debian's; steady.py for latency at half load.

Also the raw onnxruntime loop, which needs no load. Must not start servers.
"""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import contenders, places
from .models import Model

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}
GRACE_SECONDS = 30.0
DATA_SHARE = 0.9


class LoadError(Exception):
    """Requests failed under load."""


@dataclass(frozen=True)
class Load:
    """What one measurement offers."""

    protocol: str
    rows: int
    connections: int


def missing() -> list[str]:
    """Return a line for each program that is missing."""
    return [
        f"needs {program}; install it with: apt-get install {package}"
        for program, package in PACKAGES.items()
        if not shutil.which(program)
    ]


def versions() -> dict[str, str]:
    """Return how the generators call themselves."""
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split(" [")[0]
    h2load = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    return {"wrk": wrk, "h2load": h2load}


def throughput(
    running: contenders.Running, load: Load, *, answer_bytes: int, seconds: int, core: int, folder: Path
) -> tuple[float, float]:
    """Return requests per second and CPU seconds of the server per request.

    Raises:
        LoadError: Requests failed, or the generator did.
    """
    command = _h2load if load.protocol == "grpc" else _wrk
    pinned = ["taskset", "-c", str(core), *command(running, load, seconds, folder)]
    before = running.server.cpu_seconds()
    try:
        done = subprocess.run(pinned, capture_output=True, text=True, timeout=seconds + GRACE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{pinned[3]} did not end {GRACE_SECONDS:g} s after its time") from error
    spent = running.server.cpu_seconds() - before
    # What was asked last is still worked on, and must not run into the next measurement.
    running.server.settle()
    if done.returncode:
        raise LoadError(f"{pinned[3]} ended with status {done.returncode}: {done.stderr.strip()[:200]}")
    if load.protocol == "grpc":
        requests, rate = _read_h2load(done.stdout, answer_bytes)
    else:
        requests, rate = _read_wrk(done.stdout)
    return rate, spent / requests


def half_load(
    running: contenders.Running, load: Load, *, rate: float, seconds: float, core: int, folder: Path
) -> dict[str, float]:
    """Return latencies at this rate.

    Raises:
        LoadError: Requests failed.
    """
    request = running.request(load.protocol, load.rows)
    (folder / "body").write_bytes(request.body)
    plan = {
        "port": running.port_of(load.protocol),
        "protocol": load.protocol,
        "path": request.path,
        "headers": request.headers,
        "body": str(folder / "body"),
        "rate": rate,
        "seconds": seconds,
        "connections": load.connections,
    }
    (folder / "plan").write_text(json.dumps(plan))
    script = str(Path(__file__).with_name("steady.py"))
    pinned = ["taskset", "-c", str(core), sys.executable, script, str(folder / "plan")]
    try:
        done = subprocess.run(pinned, capture_output=True, text=True, timeout=2 * seconds + GRACE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError("the steady load did not end in time") from error
    if done.returncode:
        raise LoadError(done.stderr.strip().splitlines()[-1][:200])
    return json.loads(done.stdout)


def raw_loop(model: Model, rows: int, seconds: float, core: int, folder: Path) -> float:
    """Return runs per second of the model alone, on the server's core."""
    (folder / "rows").write_bytes(model.rows[:rows].tobytes())
    arguments = [str(model.path), str(folder / "rows"), str(rows), f"{seconds:g}"]
    command = ["taskset", "-c", str(core), sys.executable, str(places.BENCHMARKS / "onnxruntime_loop.py"), *arguments]
    timeout = seconds + GRACE_SECONDS
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout).stdout)


def _wrk(running: contenders.Running, load: Load, seconds: int, folder: Path) -> list[str]:
    request = running.request(load.protocol, load.rows)
    (folder / "body").write_bytes(request.body)
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in request.headers.items()]
    lines.append(f'local file = io.open("{folder / "body"}", "rb"); wrk.body = file:read("*a"); file:close()')
    (folder / "post.lua").write_text("\n".join(['wrk.method = "POST"', *lines, ""]))
    url = f"http://127.0.0.1:{running.port}{request.path}"
    timeout = f"{GRACE_SECONDS:g}s"
    options = [f"-c{load.connections}", f"-d{seconds}s", "--timeout", timeout, "-s", str(folder / "post.lua")]
    return ["wrk", "-t1", *options, url]


def _read_wrk(text: str) -> tuple[int, float]:
    requests, rate = re.search(r"(\d+) requests in", text), re.search(r"Requests/sec:\s+([\d.]+)", text)
    bad = re.findall(r"Socket errors: .+|Non-2xx.+", text)
    if bad or not requests or not rate or not int(requests[1]):
        raise LoadError("; ".join(bad) or f"wrk counted no request: {text.strip()[-200:]}")
    return int(requests[1]), float(rate[1])


def _h2load(running: contenders.Running, load: Load, seconds: int, folder: Path) -> list[str]:
    request = running.request(load.protocol, load.rows)
    (folder / "body").write_bytes(request.body)
    headers = [part for name, value in request.headers.items() for part in ("-H", f"{name}: {value}")]
    options = ["-t1", f"-c{load.connections}", "-m1", f"-D{seconds}", "-d", str(folder / "body"), *headers]
    return ["h2load", *options, f"http://127.0.0.1:{running.grpc_port}{request.path}"]


def _read_h2load(text: str, answer_bytes: int) -> tuple[int, float]:
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    rate = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", text)
    data = re.search(r"\((\d+)\) data", text)
    if not found or not rate or not data or not int(found[1]):
        raise LoadError(f"h2load counted no request: {text.strip()[-200:]}")
    requests = int(found[1])
    if int(found[2]) or int(found[3]) or int(found[4]):
        raise LoadError(found[0])
    # A refused call has status 200, too, but no message.
    if int(data[1]) < DATA_SHARE * requests * answer_bytes:
        raise LoadError(f"{requests} calls brought {data[1]} bytes, expected {answer_bytes} each: calls were refused")
    return requests, float(rate[1])

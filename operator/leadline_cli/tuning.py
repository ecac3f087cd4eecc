"""`leadline tune`: measures one model on this machine and proposes what to write into spec.runtime.

First the model alone: how long a run takes by rows and threads. Then the runtime as it runs in a cluster, with several
numbers of workers: requests per second, and waiting times at half of that. Bounded in time; what is short of time is
measured shorter, never left out. Next step: the user writes the YAML into a ModelDeployment. Must not talk to a cluster.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import numpy as np
from leadline_runtime import cgroup, sizing
from leadline_runtime import errors as runtime_errors
from leadline_runtime.engine import session
from leadline_runtime.oip import datatypes, signature

from leadline_cli import errors, pressing

ROWS: Final = (1, 4, 16, 64, 256)
"""Rows of a run that are tried."""
GOOD_SHARE: Final = 0.95
"""Of the most requests per second, what is as good as the most."""
RUN_SECONDS_MAX: Final = 0.05
"""A run that takes longer lets the requests of the next batch wait for too long; one row may take what it takes."""
_CONNECTIONS: Final = 32
_START_SECONDS: Final = 120.0
_CALL_SECONDS: Final = 5.0
_ENGINE_SHARE: Final = 0.3
"""Of the time, for the model alone; the rest is for servers."""
REQUEST_SECONDS: Final = 0.00002
"""What a request costs beside its share of a run; more rows than make the run small beside it bring nothing."""
_GOLDEN: Final = 0.618034
"""Its multiples fill the space between 0 and 1 evenly: numbers of usual length, the same each time."""
_NAME: Final = "tuned"
_WHERE: Final = {True: "event loop", False: "thread"}

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Try:
    """One setting of the runtime, and what it gave."""

    workers: int
    threads: int
    max_rows: int
    inline: bool
    per_second: float
    p50_seconds: float
    p99_seconds: float
    """Both at half of the requests per second."""
    failed: int


def tune(path: Path, *, seconds: float, cpus: int, say: Callable[[str], None]) -> list[str]:
    """Measure; return the tables and the proposal.

    Args:
        path: The ONNX file.
        seconds: About how long all may take, the starts of servers apart.
        cpus: CPUs that a pod is to have; 0: those of this machine, or of this process's limit.
        say: Takes what is being done.

    Raises:
        Refused: The model cannot be served.
    """
    available = cgroup.cpus()
    cpus = cpus or available
    if cpus > available:
        raise errors.Refused(f"--cpus: expected at most {available}, what this machine has for us; got {cpus}")
    many = sorted({1, cpus})
    tables: dict[int, dict[int, float]] = {}
    body = ""
    for threads in many:
        say(f"measuring runs of the model with {threads} thread{'s' * (threads > 1)}")
        model = _loaded(path, threads)
        body = request_of(model.signature)
        tables[threads] = _run_times(model, seconds * _ENGINE_SHARE / len(many))
        del model
    max_rows = best_rows(tables[many[0]])
    counts = candidates(cpus)
    each = seconds * (1 - _ENGINE_SHARE) / len(counts) / 2
    tries = []
    for workers in counts:
        say(f"measuring a server with {workers} worker{'s' * (workers > 1)} for {2 * each:.0f} s")
        tries.append(_try(path, body, workers=workers, cpus=cpus, max_rows=max_rows, seconds=each))
    return report(tables, tries, cpus=cpus)


def candidates(cpus: int) -> list[int]:
    """Return the numbers of workers that are tried: one, one per CPU, and the powers of two between."""
    return sorted({1, cpus, *(1 << power for power in range(cpus.bit_length()) if 1 << power < cpus)})


def best_rows(seconds: dict[int, float]) -> int:
    """Return how many rows a run should have at most: the fewest with which nearly the most requests can be answered.

    Args:
        seconds: Of one run, by rows; runs that take too long are not looked at.
    """
    fair = {rows: took for rows, took in seconds.items() if took <= RUN_SECONDS_MAX or rows == 1}
    rates = {rows: 1 / (REQUEST_SECONDS + took / rows) for rows, took in fair.items()}
    return min(rows for rows, rate in rates.items() if rate >= GOOD_SHARE * max(rates.values()))


def best(tries: list[Try]) -> Try:
    """Return the setting to propose: of those that answer nearly the most, the one with the shortest waits."""
    whole = [each for each in tries if not each.failed] or tries
    most = max(each.per_second for each in whole)
    return min((each for each in whole if each.per_second >= GOOD_SHARE * most), key=lambda each: each.p99_seconds)


def request_of(model: signature.Signature) -> str:
    """Return a request of one row of made-up numbers."""
    inputs = []
    for tensor in model.inputs:
        shape = [1 if length == -1 else length for length in tensor.shape]
        count = int(np.prod(shape, dtype=np.int64))
        match tensor.datatype.kind:
            case datatypes.Kind.TEXT:
                data: list[Any] = [""] * count
            case _ if tensor.datatype.name == "BOOL":
                data = [False] * count
            case _ if "FP" in tensor.datatype.name or "BF" in tensor.datatype.name:
                data = [round(place * _GOLDEN % 1, 4) for place in range(1, count + 1)]
            case _:
                data = [1] * count
        inputs.append({"name": tensor.name, "shape": shape, "datatype": tensor.datatype.name, "data": data})
    return json.dumps({"inputs": inputs})


def report(tables: dict[int, dict[int, float]], tries: list[Try], *, cpus: int) -> list[str]:
    """Return what the user reads."""
    chosen = best(tries)
    lines = ["One run of the model", "", _row(["rows", *(f"{each} thread(s): ms, rows/s" for each in tables)], 28)]
    for rows in next(iter(tables.values())):
        cells = [f"{took[rows] * 1e3:.3f} ms, {rows / took[rows]:,.0f}/s" for took in tables.values() if rows in took]
        lines.append(_row([str(rows), *cells], 28))
    lines += [
        "",
        f"Requests of one row over REST with JSON, {_CONNECTIONS} connections; waits at half of that rate",
        "",
        _row(["workers", "threads", "maxRows", "runs in", "requests/s", "p50 ms", "p99 ms"], 12),
    ]
    for each in tries:
        cells = [
            str(each.workers),
            str(each.threads),
            str(each.max_rows),
            _WHERE[each.inline],
            f"{each.per_second:,.0f}",
            f"{each.p50_seconds * 1e3:.2f}",
            f"{each.p99_seconds * 1e3:.2f}",
        ]
        mark = " <- proposed" if each is chosen else ""
        failed = f" ({each.failed} failed)" if each.failed else ""
        lines.append(_row(cells, 12) + failed + mark)
    lines += [
        "",
        "# The load ran on the same CPUs: a pod that has them alone answers more.",
        "spec:",
        "  runtime:",
        f'    resources: {{limits: {{cpu: "{cpus}"}}}}',
        f"    batching: {{maxRows: {chosen.max_rows}}}",
        f"# Workers follow from the CPU limit and the model; LEADLINE_WORKERS={chosen.workers} in the runtime's environment",
        f"# holds them to {chosen.workers}, with {chosen.threads} thread(s) each.",
    ]
    return lines


def _row(cells: list[str], width: int) -> str:
    return "  ".join(cell.rjust(width if place else 7) for place, cell in enumerate(cells))


def _loaded(path: Path, threads: int) -> session.Model:
    try:
        return session.load(path, threads=threads, max_rows=1)
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    except runtime_errors.TroubleError as error:
        raise errors.Refused(f"{path}: {error.trouble.message} ({error.trouble.reason})") from error


def _run_times(model: session.Model, seconds: float) -> dict[int, float]:
    """Return the median seconds of a run by rows; one row only where the model has no rows."""
    times: dict[int, float] = {}
    for rows in ROWS if model.signature.has_rows else ROWS[:1]:
        arrays = _arrays(model.signature, rows)
        took: list[float] = []
        deadline = time.perf_counter() + seconds / len(ROWS)
        while len(took) < 3 or (time.perf_counter() < deadline and len(took) < 10_000):
            began = time.perf_counter()
            model.run(arrays)
            took.append(time.perf_counter() - began)
            if took[0] > seconds:
                break
        times[rows] = sorted(took)[len(took) // 2]
        if times[rows] > 10 * RUN_SECONDS_MAX:
            break  # more rows take longer still
    return times


def _arrays(model: signature.Signature, rows: int) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for tensor in model.inputs:
        shape = [1 if length == -1 else length for length in tensor.shape]
        if model.has_rows:
            shape[0] = rows
        fill = "" if tensor.datatype.kind is datatypes.Kind.TEXT else 0
        arrays[tensor.name] = np.full(shape, fill, dtype=tensor.datatype.numpy)
    return arrays


def _try(path: Path, body: str, *, workers: int, cpus: int, max_rows: int, seconds: float) -> Try:
    target = f"/v2/models/{_NAME}/infer"
    with _server(path, workers=workers, cpus=cpus, max_rows=max_rows) as (public, admin):
        status, answer = _call(public, "POST", target, body)
        if status != 200:
            raise errors.Refused(f"{path}: the model does not answer made-up input: {status} {answer[:300]}")
        _press(pressing.Order(public, target, body, _CONNECTIONS, min(1.0, seconds / 4)))
        most = _press(pressing.Order(public, target, body, _CONNECTIONS, seconds))
        half = _press(pressing.Order(public, target, body, _CONNECTIONS, seconds, rate=max(1.0, most.per_second / 2)))
        _, metrics = _call(admin, "GET", "/metrics")
    inline = next(line for line in metrics.splitlines() if line.startswith("leadline_inline_workers{"))
    return Try(
        workers=workers,
        threads=sizing.threads_of(workers, cpus),
        max_rows=max_rows,
        inline=float(inline.rpartition(" ")[2]) > 0,
        per_second=most.per_second,
        p50_seconds=half.p50_seconds,
        p99_seconds=half.p99_seconds,
        failed=most.failed + half.failed,
    )


def _press(order: pressing.Order) -> pressing.Result:
    done = subprocess.run(
        [sys.executable, "-m", "leadline_cli.pressing", json.dumps(asdict(order))],
        capture_output=True,
        text=True,
        check=False,
        timeout=order.seconds + 60,
    )
    if done.returncode:
        raise errors.Refused(f"the load ended with status {done.returncode}: {done.stderr[-300:]}")
    return pressing.Result(**json.loads(done.stdout))


@contextmanager
def _server(path: Path, *, workers: int, cpus: int, max_rows: int) -> Iterator[tuple[int, int]]:
    """Run the runtime with this model; yield its public and admin port."""
    sockets = [socket.create_server((pressing.HOST, 0)) for _ in range(3)]
    public, admin, own = (each.getsockname()[1] for each in sockets)
    for each in sockets:
        each.close()
    with tempfile.TemporaryDirectory(prefix="leadline-tune-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LEADLINE_")}
        environment |= {
            "LEADLINE_MODEL_NAME": _NAME,
            "LEADLINE_REVISION": _NAME,
            "LEADLINE_MODEL_URI": path.absolute().as_uri(),
            "LEADLINE_MODEL_DIGEST": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            "LEADLINE_MAX_MODEL_BYTES": str(path.stat().st_size),
            "LEADLINE_MAX_ROWS": str(max_rows),
            "LEADLINE_WORKERS": str(workers),
            "LEADLINE_DATA_DIR": f"{folder}/data",
            "LEADLINE_KEYS_DIR": f"{folder}/keys",
            "LEADLINE_REVISION_DIR": f"{folder}/revision",
            "LEADLINE_BIND": pressing.HOST,
            "LEADLINE_PUBLIC_PORT": str(public),
            "LEADLINE_ADMIN_PORT": str(admin),
            "LEADLINE_OWN_PORT": str(own),
        }
        # The CPUs of a pod: threads and workers of the server follow from them, as they do from a limit.
        allowed = sorted(os.sched_getaffinity(0))[:cpus]
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"import os, leadline_runtime.main as it; os.sched_setaffinity(0, {allowed}); it.main()",
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=stream,
            )
        try:
            _wait_ready(process, admin, log)
            yield public, admin
        finally:
            process.kill()
            process.wait()


def _wait_ready(process: "subprocess.Popen[bytes]", admin: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    said = "no answer"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise errors.Refused(f"the runtime ended with status {process.returncode}: {log.read_text()[-300:]}")
        try:
            status, said = _call(admin, "GET", "/readyz")
        except (OSError, HTTPException):
            status = 0
        if status == 200:
            return
        if said.startswith("Failed"):
            break
        time.sleep(0.05)
    raise errors.Refused(f"the model cannot be served: {said.strip()}")


def _call(port: int, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection(pressing.HOST, port, timeout=_CALL_SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()

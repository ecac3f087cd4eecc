"""What a pod stands: killed workers, drains, overload, misbehaving clients. `make bench-pressure`, about a minute.

A real pod with two workers and the small digits model; clients, misbehaving or not, are processes and threads on the same
machine, so that times are those of a machine that is more than busy. Counts are what matters: a failed request is any that
does not end in a whole answer of status 200. Writes benchmarks/results/pressure.json.

  kill       SIGKILL, then SIGSEGV, to one of two workers: clients that keep connections and clients that do not
  drain      SIGTERM: clients that keep connections leave when told to, the others a second later, as Kubernetes has it
  overload   256 clients without pause and a queue of 64 rows: who is answered 200, who 429, and how soon
  misbehave  a thousand clients that do harm, and four that do not
"""

import argparse
import hashlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving import models, places

sys.path.insert(0, str(places.ROOT))

from tests.wiring.runtime import misbehaving
from tests.wiring.runtime.pods import Clients, Pod, eventually, inference

RESULTS = places.RESULTS.with_name("pressure.json")
ROW = [0.5] * 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of overload and of misbehaviour")
    parser.add_argument("--rounds", type=int, default=3, help="of each kill and of the drain")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        bench = Bench(Path(name))
        results: dict[str, Any] = {
            "kill": [bench.kill(number) for number in (signal.SIGKILL, signal.SIGSEGV) for _ in range(options.rounds)],
            "drain": [bench.drain() for _ in range(options.rounds)],
            "overload": bench.overload(options.seconds),
            "misbehave": bench.misbehave(options.seconds),
        }
    results["summary"] = summary(results)
    results["cpus"] = len(os.sched_getaffinity(0))
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results["summary"], indent=2))


class Bench:
    """Starts a pod for each scenario."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = models.small(folder)
        self.started = 0

    def pod(self, **environment: str) -> Pod:
        self.started += 1
        digest = f"sha256:{hashlib.sha256(self.model.read_bytes()).hexdigest()}"
        place = self.folder / f"pod-{self.started}"
        return Pod(place, self.model.as_uri(), digest=digest, workers=2, environment=environment).wait_ready()

    def with_pod(self, work: Callable[[Pod], dict[str, Any]], **environment: str) -> dict[str, Any]:
        pod = self.pod(**environment)
        try:
            return work(pod)
        finally:
            pod.stop()

    def kill(self, number: signal.Signals) -> dict[str, Any]:
        return self.with_pod(lambda pod: killed(pod, number))

    def drain(self) -> dict[str, Any]:
        return self.with_pod(drained)

    def overload(self, seconds: float) -> dict[str, Any]:
        return self.with_pod(lambda pod: overloaded(pod, seconds), LEADLINE_MAX_QUEUE_ROWS="64")

    def misbehave(self, seconds: float) -> dict[str, Any]:
        return self.with_pod(lambda pod: misbehaved(pod, seconds))


def killed(pod: Pod, number: signal.Signals) -> dict[str, Any]:
    keeping, coming = Clients(pod.public, ROW, count=8), Clients(pod.public, ROW, count=4, keep=False)
    with keeping, coming:
        eventually("served", lambda: len(keeping.seen) > 500 and len(coming.seen) > 200, 30.0)
        at = time.monotonic()
        os.kill(pod.worker_pids()[0], number)
        eventually("both again", lambda: up(pod) == 2 and time.monotonic() > at + 1, 30.0)
        back = time.monotonic() - at
        seen = len(coming.seen)
        eventually("served on", lambda: len(coming.seen) > seen + 200, 30.0)
    return {
        "signal": number.name,
        "clients": {"keeping": 8, "coming": 4},
        "requests": len(keeping.seen) + len(coming.seen) + len(keeping.failures) + len(coming.failures),
        "failed_keeping": len(keeping.failures),
        "failed_coming": len(coming.failures),
        "slowest_seconds": round(max(keeping.took + coming.took), 3),
        "slowest_coming_after_seconds": round(slowest(coming, at, at + back), 3),
        "restart_seconds": round(back, 2),
        "ready_throughout": pod.ready() == "ok",
    }


def drained(pod: Pod) -> dict[str, Any]:
    keeping, coming = Clients(pod.public, ROW, count=8), Clients(pod.public, ROW, count=4, keep=False)
    keeping.stop_when_closed = True
    with keeping, coming:
        eventually("served", lambda: len(keeping.seen) > 500 and len(coming.seen) > 200, 30.0)
        at = time.monotonic()
        pod.terminate()
        eventually("told to go", lambda: not any(each.is_alive() for each in keeping.threads))
        eventually("endpoint removed", lambda: time.monotonic() > at + 1)
        coming.stop.set()
        status = pod.ended()
        took = time.monotonic() - at
    after = sum(sent > at for sent, _ in coming.seen)
    return {
        "clients": {"keeping": 8, "coming": 4},
        "requests": len(keeping.seen) + len(coming.seen),
        "requests_after_sigterm_on_new_connections": after,
        "failed": len(keeping.failures) + len(coming.failures),
        "exit_status": status,
        "seconds": round(took, 2),
    }


def overloaded(pod: Pod, seconds: float) -> dict[str, Any]:
    before = pod.metrics()
    with misbehaving.Misbehaving(pod.public, inference(ROW), count=256, kinds=(misbehaving.eager,)):
        began = time.monotonic()
        with Clients(pod.public, ROW, count=4, pause_seconds=0.02) as good:
            eventually("time is over", lambda: time.monotonic() > began + seconds, seconds + 5)
        after, took = pod.metrics(), time.monotonic() - began
    codes = {
        code: after.get(f'leadline_requests_total{{code="{code}"}}', 0)
        - before.get(f'leadline_requests_total{{code="{code}"}}', 0)
        for code in (200, 429, 500, 503)
    }
    return {
        "clients": 256,
        "max_queue_rows": 64,
        "seconds": round(took, 2),
        "answered_200": int(codes[200]),
        "answered_429": int(codes[429]),
        "answered_5xx": int(codes[500] + codes[503]),
        "polite_p99_seconds": round(quantile(good.took, 0.99), 4),
        "polite_failed_other_than_429": sum(not text.startswith("429") for text in good.failures),
    }


def misbehaved(pod: Pod, seconds: float) -> dict[str, Any]:
    before, peak = memory(pod), 0.0
    with Clients(pod.public, ROW, pause_seconds=0.01) as calm:
        eventually("served", lambda: len(calm.took) > 400, 30.0)
    with (
        misbehaving.Misbehaving(pod.public, inference(ROW)) as bad,
        Clients(pod.public, ROW, pause_seconds=0.01) as good,
    ):
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            peak = max(peak, memory(pod))
    return {
        "clients": 1_000,
        "connections": bad.connects,
        "seconds": seconds,
        "good_requests": len(good.seen),
        "good_failed": len(good.failures),
        "good_p50_seconds": round(statistics.median(good.took), 4),
        "good_p99_seconds": round(quantile(good.took, 0.99), 4),
        "calm_p99_seconds": round(quantile(calm.took, 0.99), 4),
        "worker_mb_before": round(before / 1e6),
        "worker_mb_peak": round(peak / 1e6),
        "worker_mb_after": round(memory(pod) / 1e6),
    }


def summary(results: dict[str, Any]) -> dict[str, Any]:
    kills, drains = results["kill"], results["drain"]
    return {
        "kill_requests": sum(each["requests"] for each in kills),
        "kill_failed": [each["failed_keeping"] + each["failed_coming"] for each in kills],
        "kill_slowest_seconds": max(each["slowest_seconds"] for each in kills),
        "kill_restart_seconds": max(each["restart_seconds"] for each in kills),
        "drain_requests": sum(each["requests"] for each in drains),
        "drain_failed": sum(each["failed"] for each in drains),
        "drain_seconds": max(each["seconds"] for each in drains),
        "overload": results["overload"],
        "misbehave": {name: value for name, value in results["misbehave"].items() if name != "connections"},
    }


def up(pod: Pod) -> float:
    metrics = pod.metrics()
    return sum(metrics[f'leadline_worker_up{{worker="{slot}"}}'] for slot in range(2))


def memory(pod: Pod) -> float:
    metrics = pod.metrics()
    return max(metrics[f'leadline_worker_resident_memory_bytes{{worker="{slot}"}}'] for slot in range(2))


def slowest(clients: Clients, begin: float, end: float) -> float:
    """Return the longest that an answer took whose request was sent between the two."""
    return max(
        (took for (sent, _), took in zip(clients.seen, clients.took, strict=False) if begin <= sent <= end), default=0.0
    )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else float("nan")


if __name__ == "__main__":
    main()

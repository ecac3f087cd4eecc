"""What a test set that is answered without end does to clients' p99 at half load: `python benchmarks/test_sets.py`.

One runtime per model on one core, load on another. First the most requests per second that 16 connections get, then half
of that at a steady rate (latency counts from when a request was due, so that none is left out), with and without a test
set of 2,000 rows being answered over and over, as exchanges ask for it for replays every 10 minutes; rounds are interleaved.

  small   logistic regression, about 10 us a run
  trees   a forest of 300 trees
  slow    three large matrix products, some milliseconds a row, in the compute thread
"""

import argparse
import asyncio
import http.client
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import onnx
import uvloop
from leadline_wire import exchange
from onnx import TensorProto, helper, numpy_helper
from serving import models
from serving import pod as pods
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

KEY = bytes(range(32))
ROWS = 2_000
LINKS = 16
WIDTH = 2_048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--quietest", action="store_true", help="show the best round instead of the median one")
    parser.add_argument("--models", nargs="*", default=["small", "trees", "slow"])
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(f"{'':<8}{'half load/s':>12}{'':>14}{'p50 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}{'test set rows/s':>18}")
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="leadline-bench-") as folder:
            one_model(name, Path(folder), cores, options)


def one_model(name: str, folder: Path, cores: list[int], options: argparse.Namespace) -> None:
    model = MODELS[name](folder)
    generator = np.random.default_rng(1)
    rows = generator.random((ROWS, pods.WIDTH), np.float32)
    np.savez(folder / "set.npz", X=rows, y=generator.integers(0, 10, ROWS))
    pod = Pod(folder, model, cores[0])
    os.sched_setaffinity(0, {cores[-1]})
    try:
        request = pods.body()
        request = f"POST {pods.PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(request)}\r\n\r\n".encode() + request
        rate = min(uvloop.run(closed(pod.public, request, 0.5)) for _ in range(3)) / 2
        found = {False: [], True: []}
        for _ in range(options.rounds):
            for busy in (False, True):
                with Loop(pod, busy=busy) as loop:
                    latencies = uvloop.run(steady(pod.public, request, rate, options.seconds))
                found[busy].append([*np.percentile(latencies, [50, 99, 99.9]) * 1e3, loop.rows / options.seconds])
    finally:
        os.sched_setaffinity(0, set(cores))
        pod.server.stop()
    for busy, figures in found.items():
        best = min if options.quietest else statistics.median
        p50, p99, p999 = (best(column) for column in list(zip(*figures, strict=True))[:3])
        rows = statistics.median(each[3] for each in figures)
        title = "with test set" if busy else "without"
        print(f"{name:<8}{rate:>12,.0f}{title:>14}{p50:>10.2f}{p99:>10.2f}{p999:>10.2f}{rows:>18,.0f}", flush=True)


def trees(folder: Path) -> Path:
    features, labels = load_digits(return_X_y=True)
    model = RandomForestClassifier(300, random_state=1).fit(features[:1_000] / 16, labels[:1_000])
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(model, features[:1].astype("float32"), options={"zipmap": False}).SerializeToString())
    return path


def slow(folder: Path) -> Path:
    generator = np.random.default_rng(1)
    shapes = [(64, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, 10)]
    weights = [generator.normal(size=shape).astype(np.float32) / shape[0] for shape in shapes]
    names = ["X", *(f"h{place}" for place in range(len(shapes) - 1)), "scores"]
    nodes = [
        helper.make_node("MatMul", [names[place], f"w{place}"], [names[place + 1]]) for place in range(len(shapes))
    ]
    graph = helper.make_graph(
        [*nodes, helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0)],
        "slow",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ("N", 64))],
        [helper.make_tensor_value_info("label", TensorProto.INT64, ("N",))],
        [numpy_helper.from_array(weight, f"w{place}") for place, weight in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "model.onnx"
    path.write_bytes(onnx.ModelProto.SerializeToString(model))
    return path


MODELS = {"small": models.small, "trees": trees, "slow": slow}


class Pod(pods.Pod):
    """A runtime, and the operator's calls to it."""

    def __init__(self, folder: Path, model: Path, core: int) -> None:
        self.folder = folder
        keys = folder / "keys"
        keys.mkdir()
        (keys / "exchange").write_bytes(KEY)
        super().__init__(folder, model, core, {"LEADLINE_KEYS_DIR": str(keys)})

    def ask(self, run: str) -> exchange.TestSetReport | None:
        nonce = secrets.token_hex(16)
        uri = (self.folder / "set.npz").as_uri()
        told = exchange.ExchangeRequest(
            nonce,
            "",
            pods.REVISION,
            1,
            "serving",
            test_set=exchange.TestSetRequest(uri, "y", run, output="label", pace_seconds=300.0),
        )
        body = msgspec.json.encode(told)
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("POST", "/exchange", body, {exchange.MAC_HEADER: exchange.seal(KEY, "request", nonce, body)})
        report = msgspec.json.decode(connection.getresponse().read(), type=exchange.ExchangeReport)
        connection.close()
        return report.test_set


class Loop:
    """Asks for one run after the other while the block lasts; counts rows of whole runs."""

    def __init__(self, pod: Pod, *, busy: bool) -> None:
        self.rows = 0
        self._pod = pod
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run) if busy else None

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            run = secrets.token_hex(4)
            while not self._ended.wait(0.02):
                report = self._pod.ask(run)
                if report is not None and report.run == run and report.state in {"Done", "Failed"}:
                    assert report.state == "Done", report
                    self.rows += report.rows
                    break


class Link(asyncio.Protocol):
    """One connection, one request at a time; `due` is when the request should have been sent."""

    def __init__(self, free: "deque[Link]", done) -> None:
        self.free, self.done, self.data, self.due = free, done, b"", 0.0

    def connection_made(self, transport) -> None:
        self.write = transport.write
        self.close = transport.close

    def data_received(self, data: bytes) -> None:
        self.data += data
        head = self.data.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.data.index(b"content-length: ") + 16
        if len(self.data) >= head + 4 + int(self.data[at : self.data.index(b"\r", at)]):
            assert self.data.startswith(b"HTTP/1.1 200"), self.data
            self.data = b""
            self.free.append(self)
            self.done(self)


async def linked(port: int, done) -> "deque[Link]":
    loop = asyncio.get_running_loop()
    free: deque[Link] = deque()
    for _ in range(LINKS):
        _, link = await loop.create_connection(lambda: Link(free, done), "127.0.0.1", port)
        free.append(link)
    return free


async def closed(port: int, request: bytes, seconds: float) -> float:
    """Return the requests per second that 16 connections get which never rest."""
    count = 0
    until = time.perf_counter() + seconds

    def done(link: Link) -> None:
        nonlocal count
        count += 1
        if time.perf_counter() < until:
            link.write(request)

    for link in await linked(port, done):
        link.write(request)
    await asyncio.sleep(seconds + 0.2)
    return count / seconds


async def steady(port: int, request: bytes, rate: float, seconds: float) -> list[float]:
    """Return the latencies of requests that are due at a steady rate."""
    latencies: list[float] = []
    due: deque[float] = deque()

    def send(link: Link) -> None:
        link.due = due.popleft()
        link.write(request)

    def done(link: Link) -> None:
        latencies.append(time.perf_counter() - link.due)
        if due:
            send(free.pop())

    free = await linked(port, done)
    start = time.perf_counter()
    sent = 0
    while (now := time.perf_counter()) < start + seconds:
        while start + sent / rate <= now:
            due.append(start + sent / rate)
            sent += 1
            if free:
                send(free.popleft())
        await asyncio.sleep(0)
    deadline = time.perf_counter() + 5
    while len(free) < LINKS and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    for link in free:
        link.close()
    return latencies


if __name__ == "__main__":
    main()

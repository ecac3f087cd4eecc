"""Real models and a test set of scikit-learn's digits, and pods that are ended after their test."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from tests.unit.runtime.ledgers import Ledger
from tests.wiring.runtime.pods import CHANGE_SECONDS, Pod


@dataclass(frozen=True)
class Digits:
    """Two models of the same data, and rows that neither has seen."""

    folder: Path
    rows: list[list[float]]
    good_right: int
    """Rows of the test set that the good model gets right, by scikit-learn's own count."""
    test_rows: int
    label: int
    """What the good model says of the first row."""
    scores: list[float]

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def digest(self, name: str) -> str:
        return f"sha256:{hashlib.sha256((self.folder / name).read_bytes()).hexdigest()}"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    features, labels = load_digits(return_X_y=True)
    features = features.astype("float32")
    good = LogisticRegression(max_iter=200).fit(features[:600] / 16, labels[:600])
    worse = LogisticRegression(max_iter=200).fit(features[:60] / 16, labels[:60])
    unseen, truth = features[600:1_000] / 16, labels[600:1_000]
    for name, model in (("good.onnx", good), ("worse.onnx", worse)):
        plain = to_onnx(model, features[:1], options={"zipmap": False})
        (folder / name).write_bytes(plain.SerializeToString())
    images = pa.FixedSizeListArray.from_arrays(pa.array(unseen.ravel()), 64)
    pq.write_table(pa.table({"X": images, "digit": truth}), folder / "test.parquet")
    return Digits(
        folder=folder,
        rows=[[float(value) for value in row] for row in unseen[:20]],
        good_right=int((good.predict(unseen) == truth).sum()),
        test_rows=len(truth),
        label=int(good.predict(unseen[:1])[0]),
        scores=[float(value) for value in good.predict_proba(unseen[:1])[0]],
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    """Start a pod; it is ended after the test."""
    pods: list[Pod] = []

    def started(uri: str, **more: Any) -> Pod:
        pods.append(Pod(tmp_path / f"pod-{len(pods)}", uri, **more))
        return pods[-1]

    yield started
    for pod in pods:
        pod.stop()


@pytest.fixture(scope="module")
def served(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod with the good model that the tests of a module share and leave as it was."""
    folder = tmp_path_factory.mktemp("served") / "pod"
    limits = {"LEADLINE_HEAD_TIMEOUT_SECONDS": "1", "LEADLINE_BODY_TIMEOUT_SECONDS": "1"}
    pod = Pod(folder, digits.uri("good.onnx"), digest=digits.digest("good.onnx"), environment=limits)
    try:
        yield pod.wait_ready()
    finally:
        pod.stop()


class LedgerThread:
    """A ledger in a thread of its own, for tests that block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.edge = self._in_loop(self._made())
        self.up()

    async def _made(self) -> Ledger:
        return Ledger()

    def _in_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CHANGE_SECONDS)

    def up(self) -> None:
        self.running = self.edge.running()
        self._in_loop(self.running.__aenter__())

    def down(self) -> None:
        self._in_loop(self.running.__aexit__(None, None, None))

    def hold(self) -> None:
        self.loop.call_soon_threadsafe(self.edge.gate.clear)

    def release(self) -> None:
        self.loop.call_soon_threadsafe(self.edge.gate.set)

    def close(self) -> None:
        self.down()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(CHANGE_SECONDS)
        self.loop.close()


@pytest.fixture
def ledgers() -> Iterator[LedgerThread]:
    """A ledger that tests may take down and up again; asked for before `start`, so that it outlives the pods."""
    made = LedgerThread()
    yield made
    made.close()

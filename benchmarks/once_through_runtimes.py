"""The third run of exactly_once.py: everything goes through real runtime processes, which are killed as the ledger is.

A client asks a pod for predictions of some rows, keeps the receipt, and reports the rows' outcomes later, in another order, at any pod.
A report that gets no answer is told again, some are told twice, some are cut off after they were sent.
"""

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from exactly_once import CUT_OFF, MODEL, TOLD_AGAIN, Run
from leadline_wire.exchange import OutcomeSettings

from tests.wiring.ledger.parts import RUNTIME, Process
from tests.wiring.runtime.pods import Pod

ROOT = Path(__file__).resolve().parents[1]
GOOD = ROOT / "examples" / "digits" / "out" / "good" / "model.onnx"
PODS = 2
ROWS_MOST = 60
HELD = 20
"""Receipts that a client holds before it reports one of them."""
RENEWED_SECONDS = 2.0
PATH = f"/v2/models/{MODEL.rpartition('/')[2]}"


def go(ledgers: list[Process], folder: Path, *, outcomes: int, kills: int, seed: int) -> dict[str, float]:
    """Run it; return the figures."""
    if not GOOD.exists():
        subprocess.run([sys.executable, ROOT / "examples" / "digits" / "train.py"], check=True, stdout=sys.stderr)
    run = ThroughRuntimes(ledgers, folder, outcomes=outcomes, kills=kills, seed=seed)
    try:
        return run.go()
    finally:
        run.close()


class ThroughRuntimes(Run):
    """One run, with pods."""

    def __init__(self, ledgers: list[Process], folder: Path, *, outcomes: int, kills: int, seed: int) -> None:
        super().__init__(ledgers, None, outcomes=outcomes, kills=kills, seed=seed)
        self._folder = folder
        self._starts = 0
        (folder / "runtime-token").write_text(RUNTIME)
        self._pods = [self._pod() for _ in range(PODS)]
        self._told: set[tuple[str, int]] = set()
        self._closed = threading.Event()
        threading.Thread(target=self._renew, daemon=True).start()

    def expected(self) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        """Return id and row of the outcomes that were acknowledged; there are no pairs."""
        return self._told, set()

    def client(self, me: int) -> None:
        """Ask and report until there are enough."""
        rng = random.Random(me)
        held: list[tuple[str, int]] = []
        told: list[bytes] = []
        while self.acknowledged < self.outcomes:
            self.wait_for_kills()
            held.append(self._predicted(rng))
            if len(held) < HELD:
                continue
            receipt, rows = held.pop(rng.randrange(len(held)))
            order = rng.sample(range(rows), rows)
            body = json.dumps([{"receipt": receipt, "row": row, "truth": row % 10} for row in order]).encode()
            self._report(rng, body)
            identifier = receipt.split(".")[6]
            with self._lock:
                self._told |= {(identifier, row) for row in range(rows)}
            self.acknowledge(rows)
            told.append(body)
            if rng.random() < TOLD_AGAIN:
                self._report(rng, rng.choice(told))

    def kill_one(self, kill: int) -> None:
        """Kill the ledger or a pod, workers included, and start it again."""
        place = self.random.randrange(PODS + 1)
        if place == PODS:
            super().kill_one(kill)
            return
        pod = self._pods[place]
        for victim in (*pod.worker_pids(), pod.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        pod.stop()
        self._pods[place] = self._pod()

    def close(self) -> None:
        """End the pods."""
        self._closed.set()
        for pod in self._pods:
            pod.stop()

    def _pod(self) -> Pod:
        self._starts += 1
        environment = {
            "LEADLINE_NAMESPACE": "shop",
            "LEADLINE_MODEL_NAME": "fraud",
            "LEADLINE_LEDGER_TOKEN_FILE": str(self._folder / "runtime-token"),
        }
        pod = Pod(
            self._folder / f"pod-{self._starts}",
            GOOD.as_uri(),
            digest=f"sha256:{hashlib.sha256(GOOD.read_bytes()).hexdigest()}",
            revision="digits-a",
            environment=environment,
        ).wait_ready()
        self._say(pod)
        return pod

    def _renew(self) -> None:
        while not self._closed.wait(RENEWED_SECONDS):
            for pod in list(self._pods):
                with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                    self._say(pod)

    def _say(self, pod: Pod) -> None:
        pod.exchange(outcomes=OutcomeSettings(ledger=f"http://127.0.0.1:{self.ledgers[0].port}"))

    def _predicted(self, rng: random.Random) -> tuple[str, int]:
        rows = rng.randint(1, ROWS_MOST)
        data = [[float((row + column) % 17) for column in range(64)] for row in range(rows)]
        tensor = {"name": "image", "shape": [rows, 64], "datatype": "FP32", "data": data}
        body = json.dumps({"inputs": [tensor]}).encode()
        while True:
            status, answer = self._asked(rng, f"{PATH}/infer", body)
            receipt = json.loads(answer).get("parameters", {}).get("receipt") if status == 200 else None
            if receipt:
                return receipt, rows
            if status not in (0, 200, 503):
                sys.exit(f"exactly-once: a prediction was answered {status}: {answer[:300]!r}")
            time.sleep(0.02)

    def _report(self, rng: random.Random, body: bytes) -> None:
        while True:
            status, answer = self._asked(rng, f"{PATH}/outcomes", body, cut_off=rng.random() < CUT_OFF)
            if status == 200:
                return
            if status not in (0, 404, 503):
                sys.exit(f"exactly-once: a report was answered {status}: {answer[:300]!r}")
            time.sleep(0.02)

    def _asked(self, rng: random.Random, path: str, body: bytes, *, cut_off: bool = False) -> tuple[int, bytes]:
        """Ask some pod; 0: there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", rng.choice(self._pods).public, timeout=40)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", path, body)
            if cut_off:
                return 0, b""
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""

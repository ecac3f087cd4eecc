"""Real runtime processes, and the little of an operator and of a client that tests need."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
from leadline_wire import exchange

T = TypeVar("T")

START_SECONDS = 30.0
"""From the start of a process to a warm model, on a machine that is busy with other things."""
CHANGE_SECONDS = 10.0
"""For anything a running pod does."""
KEY = bytes(range(32))


def eventually(what: str, check: Callable[[], T | None], seconds: float = CHANGE_SECONDS) -> T:
    """Return the first thing that a check returns, asked for up to so many seconds; the last state is in the failure."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
        except (OSError, http.client.HTTPException) as error:
            last = error
        else:
            if last:
                return last
        threading.Event().wait(0.02)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last!r}")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass
class Pod:
    """One runtime, started as in a container."""

    folder: Path
    uri: str
    digest: str = ""
    revision: str = "digits-1"
    environment: dict[str, str] = field(default_factory=dict)
    stdout: int | None = None
    """Descriptor of its standard output; None: a file, `out`."""
    public: int = 0
    admin: int = 0
    own: int = 0
    uid: str = "uid-1"
    epoch: int = 1

    def __post_init__(self) -> None:
        self.public, self.admin, self.own = free_ports(3)
        keys = self.folder / "keys"
        keys.mkdir(parents=True)
        (keys / "exchange").write_bytes(KEY)
        (self.folder / "revision").mkdir()
        self.log = self.folder / "log"
        self.out = self.folder / "out"
        root = Path(__file__).parents[3]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root / "runtime"),
            "LEADLINE_MODEL_NAME": "digits",
            "LEADLINE_REVISION": self.revision,
            "LEADLINE_MODEL_URI": self.uri,
            "LEADLINE_MODEL_DIGEST": self.digest,
            "LEADLINE_POD_UID": self.uid,
            "LEADLINE_NAMESPACE": "ml",
            "LEADLINE_DATA_DIR": str(self.folder / "data"),
            "LEADLINE_KEYS_DIR": str(keys),
            "LEADLINE_REVISION_DIR": str(self.folder / "revision"),
            "LEADLINE_BIND": "127.0.0.1",
            "LEADLINE_PUBLIC_PORT": str(self.public),
            "LEADLINE_ADMIN_PORT": str(self.admin),
            "LEADLINE_OWN_PORT": str(self.own),
            **self.environment,
        }
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "leadline_runtime.main"],
                env=environment,
                stdout=out if self.stdout is None else self.stdout,
                stderr=log,
                cwd=self.folder,
            )

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(CHANGE_SECONDS)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self, seconds: float = 25.0) -> int:
        return self.process.wait(seconds)

    # As the kubelet

    def ready(self) -> str:
        """Return what the readiness probe answers; `ok` when ready."""
        answer = call(self.admin, "GET", "/readyz")
        text = answer.body.decode().strip()
        assert (answer.status == 200) == (text == "ok")
        return text

    def wait_ready(self) -> Pod:
        def check() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.ready() == "ok"

        try:
            eventually("ready", check, START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()}") from None
        return self

    # As the operator

    def exchange(self, role: exchange.Role = "serving", **more: Any) -> exchange.ExchangeReport:
        """Say what the pod should be; return its report, its seal checked."""
        status, told = self.exchange_raw(role, **more)
        assert status == 200, told
        assert isinstance(told, exchange.ExchangeReport)
        return told

    def exchange_raw(
        self,
        role: exchange.Role = "serving",
        *,
        key: bytes = KEY,
        nonce: str = "",
        **more: Any,
    ) -> tuple[int, exchange.ExchangeReport | exchange.Refusal | bytes]:
        nonce = nonce or secrets.token_hex(16)
        fields = {"pod_uid": self.uid, "revision": self.revision, "epoch": self.epoch, **more}
        body = msgspec.json.encode(exchange.ExchangeRequest(nonce=nonce, role=role, **fields))
        mac = exchange.seal(key, "request", nonce, body)
        answer = call(self.admin, "POST", "/exchange", body, {exchange.MAC_HEADER: mac})
        if answer.status == 401:
            return answer.status, answer.body
        assert exchange.is_sealed(key, "report", nonce, answer.body, answer.headers[exchange.MAC_HEADER])
        kind = exchange.Refusal if answer.status == exchange.REFUSED_STATUS else exchange.ExchangeReport
        return answer.status, msgspec.json.decode(answer.body, type=kind)

    def report(
        self, what: str, check: Callable[[exchange.ExchangeReport], object], **more: Any
    ) -> exchange.ExchangeReport:
        """Return the first report for which the check holds."""

        def told() -> exchange.ExchangeReport | None:
            report = self.exchange(**more)
            self.last = report
            return report if check(report) else None

        try:
            return eventually(what, told, START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.last}\n{self.log.read_text()}") from None

    def worker_pid(self) -> int:
        """Return the process id of the worker: the supervisor's child that is one."""

        def find() -> int | None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for child in children:
                if b"leadline_runtime.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
            return None

        return eventually("worker", find)

    def metrics(self) -> dict[str, float]:
        """Return the metrics, by name and labels other than the revision."""
        text = call(self.admin, "GET", "/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        label = f'revision="{self.revision}"'
        return {
            name.replace(f"{label},", "").replace(f",{label}", "").replace(f"{{{label}}}", ""): float(value)
            for name, _, value in lines
        }


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json()["error"])


def call(port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Return the answer to one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CHANGE_SECONDS)
    try:
        return send(connection, method, path, body, headers)
    finally:
        connection.close()


def send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


def infer(port: int, row: list[float], **more: Any) -> Answer:
    return call(port, "POST", "/v2/models/digits/infer", inference(row, **more))


def inference(row: list[float], **more: Any) -> bytes:
    tensor = {"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [{**tensor, **more}]}).encode()


class Clients:
    """Clients that keep asking at a steady rate until they are stopped, and note what they see.

    A keep-alive client reconnects when it is told `connection: close`, like any real one, and counts everything else
    that goes wrong as a failed request.
    """

    def __init__(self, port: int, row: list[float], *, count: int = 4, pause_seconds: float = 0.002) -> None:
        self.port = port
        self.body = inference(row)
        self.pause_seconds = pause_seconds
        self.seen: list[tuple[float, str]] = []
        """When a request was sent, and the revision that answered it."""
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.stop_when_closed = False
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(CHANGE_SECONDS)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CHANGE_SECONDS)
        while not self.stop.wait(self.pause_seconds):
            sent = time.monotonic()
            try:
                answer = send(connection, "POST", "/v2/models/digits/infer", self.body)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body!r}")
                continue
            self.seen.append((sent, answer.json()["model_version"]))
            if self.stop_when_closed and answer.headers["connection"] == "close":
                break
        connection.close()

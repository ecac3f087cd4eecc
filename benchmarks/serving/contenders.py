"""Who is measured, which protocols each speaks here, and how it is started.

  echo     echo.py: uvloop and httptools, answering a constant; as good as Python can get
  leadline `leadline-runtime` as it runs in a pod, over its public port
  others   a script in benchmarks/peers, with the Python of an environment of its own

Must not measure.
"""

import hashlib
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from . import environments, payloads, places, processes, wires
from .models import Model

START_SECONDS = 120.0


@dataclass(frozen=True)
class Contender:
    """One server."""

    name: str
    title: str
    protocols: tuple[str, ...]
    peer: str = ""
    """Name of its files in benchmarks/peers; empty: it needs this environment only."""
    path: str = ""
    """Of its own JSON; empty: it speaks the Open Inference Protocol."""
    note: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    """More for its environment: the same server, set up otherwise."""


ALL = (
    Contender("echo", "uvloop+httptools echo", ("json", "binary"), note="answers a constant"),
    Contender("leadline", "Leadline", ("json", "binary", "grpc")),
    Contender("mlserver", "MLServer", ("json", "grpc"), "mlserver"),
    Contender("kserve", "KServe (Python)", ("json", "binary", "grpc"), "kserve"),
    Contender("mosec", "mosec", ("json",), "mosec", "/inference", "with its own codec, the standard library's JSON"),
    Contender(
        "mosec_orjson",
        "mosec with orjson",
        ("json",),
        "mosec",
        "/inference",
        "its worker brings orjson as codec",
        (("BENCH_MOSEC_ORJSON", "1"),),
    ),
    Contender("litserve", "LitServe", ("json",), "litserve", "/predict"),
    Contender("bentoml", "BentoML", ("json",), "bentoml", "/predict", "answers the probabilities alone"),
    Contender("pytriton", "PyTriton", ("json", "binary", "grpc"), "pytriton", note="Triton's Python backend"),
    Contender("grpcaio", "grpc.aio", ("grpc",), "grpcaio"),
)
BY_NAME = {each.name: each for each in ALL}


class StartError(Exception):
    """A server did not start or answers wrong; the message says what happened, on one line."""


def version(contender: Contender) -> str:
    """Return a peer's version as pinned; empty for what has none."""
    package = {"grpcaio": "grpcio", "pytriton": "nvidia-pytriton"}.get(contender.peer, contender.peer)
    if not contender.peer:
        return ""
    lines = (places.PEERS / f"{contender.peer}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


class Running:
    """A contender that serves one model."""

    def __init__(
        self, contender: Contender, model: Model, folder: Path, core: int, more: dict[str, str] | None = None
    ) -> None:
        """Start it; `wait` tells when it serves. More variables are for its environment.

        Raises:
            InstallError: Its environment cannot be built.
        """
        self.contender, self.model, self.revision = contender, model, f"{model.name}-6c1f02ab9e"
        self.port, self.grpc_port, self.admin_port, *self._more = processes.free_ports(5)
        folder.mkdir(parents=True)
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        variables = {name: os.environ[name] for name in kept if name in os.environ}
        # Thread pools of numeric libraries: one core, one thread.
        variables |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if contender.name == "echo":
            command = [sys.executable, str(places.BENCHMARKS / "echo.py"), str(self.port)]
        elif contender.name == "leadline":
            command = [sys.executable, "-m", "leadline_runtime.main"]
            variables |= self._of_ours(folder)
            self.grpc_port = self.port
        else:
            python = environments.python(contender.peer, places.PEERS / f"{contender.peer}.txt")
            command = [str(python), str(places.PEERS / f"{contender.peer}_server.py")]
            variables |= self._of_a_peer(folder)
            variables["PATH"] = f"{python.parent}:{variables['PATH']}"
            # PyTriton's backend embeds Python, and has to find the one of its environment.
            variables["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
        self.server = processes.Server(command, core, variables | (more or {}), folder / "log")

    def wire(self, protocol: str, rows: int) -> wires.Http | wires.Grpc:
        """Return a connection that sends the request."""
        request = self.request(protocol, rows)
        kind = wires.Grpc if protocol == "grpc" else wires.Http
        return kind(self.port_of(protocol), request.path, request.headers, request.body, timeout=20)

    def request(self, protocol: str, rows: int) -> payloads.Request:
        return payloads.make(protocol, self.model, rows, self.contender.path)

    def port_of(self, protocol: str) -> int:
        return self.grpc_port if protocol == "grpc" else self.port

    def wait(self) -> None:
        """Wait until it answers whatever protocol it speaks first.

        Raises:
            StartError: It ended, or does not answer in time.
        """
        last: list[Exception] = []

        def answers() -> bool:
            if self.server.ended():
                return True
            try:
                wires.ask(self.wire(self.contender.protocols[0], 1))
            except (OSError, wires.WireError) as error:
                last[:] = [error]
                return False
            return True

        served = processes.wait_until(answers, START_SECONDS, 0.3)
        if self.server.ended():
            raise StartError(f"ended while it started: {self.server.last_words()}")
        if not served:
            raise StartError(f"does not answer after {START_SECONDS:g} s: {last[0]}: {self.server.last_words()}")

    def check(self, protocol: str, rows: int) -> int:
        """Compare an answer with onnxruntime's; return its size.

        Raises:
            StartError: It is wrong, or there is none.
        """
        try:
            headers, body = wires.ask(self.wire(protocol, rows))
            if self.contender.name != "echo":
                payloads.check(self.model, rows, payloads.read(protocol, self.model, headers, body))
        except (OSError, wires.WireError, ValueError) as error:
            raise StartError(f"{type(error).__name__}: {error}"[:300]) from error
        return len(body)

    def _of_ours(self, folder: Path) -> dict[str, str]:
        digest = hashlib.sha256(self.model.path.read_bytes()).hexdigest()
        return {
            "PYTHONPATH": str(places.ROOT / "runtime"),
            "LEADLINE_MODEL_NAME": self.model.name,
            "LEADLINE_REVISION": self.revision,
            "LEADLINE_MODEL_URI": self.model.path.resolve().as_uri(),
            "LEADLINE_MODEL_DIGEST": f"sha256:{digest}",
            "LEADLINE_MAX_ROWS": str(self.model.max_rows),
            "LEADLINE_DATA_DIR": str(folder / "data"),
            "LEADLINE_BIND": "127.0.0.1",
            "LEADLINE_PUBLIC_PORT": str(self.port),
            "LEADLINE_ADMIN_PORT": str(self.admin_port),
            "LEADLINE_OWN_PORT": str(self._more[0]),
        }

    def _of_a_peer(self, folder: Path) -> dict[str, str]:
        return {
            "BENCH_MODEL": str(self.model.path.resolve()),
            "BENCH_MODEL_NAME": self.model.name,
            "BENCH_PORT": str(self.port),
            "BENCH_GRPC_PORT": str(self.grpc_port),
            "BENCH_MORE_PORTS": ",".join(str(port) for port in (self.admin_port, *self._more)),
            "BENCH_MAX_ROWS": str(self.model.max_rows),
            "BENCH_FOLDER": str(folder),
            **dict(self.contender.variables),
        }

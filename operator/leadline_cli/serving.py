"""`leadline serve`: one model on this machine, by the very supervisor and worker that run in a cluster.

The runtime is started as a process of its own with its ports on localhost and its data in a folder that goes away with
it. What it logs is kept, and shown where it is a warning or where it says why nothing is served. Next step: the user
pastes what is printed. Must not answer requests itself.
"""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Final, Self

from leadline_runtime.library import fetching
from leadline_runtime.library.failures import ModelError

from leadline_cli import errors, snippets

READY_SECONDS: Final = 600.0
"""Longest wait for the model: a large one takes minutes to load and to warm up."""
_POLL_SECONDS: Final = 0.05
_CALL_SECONDS: Final = 2.0
_END_SECONDS: Final = 30.0
"""A drain takes 22 s at most."""
_LOG_LINES: Final = 20
_WORTH_SHOWING: Final = (" WARNING ", " ERROR ")
_TROUBLE: Final = re.compile(r"Failed: ([A-Za-z]+): (.*)")
"""How the runtime's probe says why a model cannot be served: reason and message."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chooses."""

    model: str
    """Path or URI."""
    port: int = 8080
    host: str = "127.0.0.1"
    name: str | None = None
    """None: the file's."""
    digest: str = ""
    verbose: bool = False


def serve(options: Options, say: Callable[[str], None]) -> int:
    """Serve until a signal says to end; return the exit status.

    Raises:
        Refused: The model or the port cannot be had.
    """
    _check_port(options.host, options.port)
    name = options.name or _name_of(options.model)
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", name):
        raise errors.Refused(f"--name: expected letters, digits, '-', '_' and '.', got {name!r}")
    with tempfile.TemporaryDirectory(prefix="leadline-serve-") as folder:
        say(f"reading {options.model}")
        try:
            fetched = fetching.fetch(options.model, Path(folder), digest=options.digest, on_progress=_progress(say))
        except ModelError as error:
            raise errors.Refused(f"{error.message} ({error.reason})") from error
        with _Runtime(options, name, fetched, Path(folder)) as runtime:
            say("starting the runtime")
            runtime.wait_until_ready()
            print("\n".join(_screen(options, name, fetched, runtime.metadata())), flush=True)
            return runtime.wait(say)


class _Runtime:
    """The runtime's process."""

    def __init__(self, options: Options, name: str, fetched: fetching.Fetched, folder: Path) -> None:
        admin, own = _free_ports(2)
        self._options = options
        self._name = name
        self._admin = admin
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LEADLINE_")}
        environment |= {
            "LEADLINE_MODEL_NAME": name,
            "LEADLINE_REVISION": f"{name}-{fetched.digest.removeprefix('sha256:')[:10]}"[:253],
            "LEADLINE_MODEL_URI": fetched.uri,
            "LEADLINE_MODEL_DIGEST": fetched.digest,
            "LEADLINE_MAX_MODEL_BYTES": str(max(1, fetched.size_bytes)),
            "LEADLINE_DATA_DIR": str(folder / "data"),
            "LEADLINE_KEYS_DIR": str(folder / "keys"),
            "LEADLINE_REVISION_DIR": str(folder / "revision"),
            "LEADLINE_BIND": options.host,
            "LEADLINE_PUBLIC_PORT": str(options.port),
            "LEADLINE_ADMIN_PORT": str(admin),
            "LEADLINE_OWN_PORT": str(own),
        }
        # In a session of its own, so that Ctrl-C reaches it by us alone, once.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "leadline_runtime.main"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._is_up = False
        self._signalled = 0
        self._reader = threading.Thread(target=self._read_log, args=(self._process.stderr,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        self._before = {
            number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(_CALL_SECONDS)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait_until_ready(self) -> None:
        """Wait until the model is warm.

        Raises:
            Refused: It cannot be served, or the wait was ended.
        """
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._reader.join(_CALL_SECONDS)
                if self._signalled:
                    raise errors.Refused("ended before the model was ready")
                last = self._log[-1] if self._log else "it said nothing"
                raise errors.Refused(f"the runtime ended with status {self._process.returncode}: {last}")
            status, body = self._call(self._admin, "/readyz")
            if status == 200:
                self._is_up = True
                return
            trouble = _TROUBLE.fullmatch(body.strip())
            if trouble is not None and not self._signalled:
                raise errors.Refused(f"{self._options.model}: {trouble[2]} ({trouble[1]})")
            time.sleep(_POLL_SECONDS)
        raise errors.Refused(f"the model is not ready after {READY_SECONDS:g} s: {body.strip() or 'no answer'}")

    def metadata(self) -> dict[str, Any]:
        """Return what the server says of the model."""
        _, body = self._call(self._options.port, f"/v2/models/{self._name}")
        found: dict[str, Any] = json.loads(body)
        return found

    def wait(self, say: Callable[[str], None]) -> int:
        """Wait until the runtime ends; return the exit status."""
        told = False
        while True:
            if self._signalled and not told:
                told = True
                say("draining: what is on its way is answered, for 20 s at most")
            try:
                status = self._process.wait(_POLL_SECONDS * 2)
            except subprocess.TimeoutExpired:
                continue
            if self._signalled:
                say("ended")
                return 0
            self._reader.join(_CALL_SECONDS)
            raise errors.Refused(f"the runtime ended with status {status}: {self._log[-1] if self._log else ''}")

    def _end(self, _number: int, _frame: object) -> None:
        self._signalled += 1
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if self._signalled == 1 else signal.SIGKILL)

    def _read_log(self, stream: IO[bytes]) -> None:
        for line in stream:
            text = line.decode("utf-8", "replace").rstrip()
            self._log.append(text)
            shown = self._is_up and any(level in text for level in _WORTH_SHOWING)
            if self._options.verbose or shown:
                print(text, file=sys.stderr, flush=True)

    def _call(self, port: int, path: str) -> tuple[int, str]:
        connection = HTTPConnection(_reachable(self._options.host), port, timeout=_CALL_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()


def _screen(options: Options, name: str, fetched: fetching.Fetched, described: dict[str, Any]) -> list[str]:
    inputs, outputs = snippets.tensors(described["inputs"]), snippets.tensors(described["outputs"])
    address = f"{_in_url(_reachable(options.host))}:{options.port}"
    url = f"http://{address}/v2/models/{name}"
    return [
        f'"{name}" is served from {options.model} ({fetched.size_bytes / 1000:,.0f} kB, {fetched.digest[:19]}…)',
        *snippets.table("takes", inputs),
        *snippets.table("gives", outputs),
        "",
        f"  address    {url}",
        "  protocol   Open Inference Protocol v2; the same server as in a cluster, without an operator",
        "  reload     none: after a change of the file, start again",
        "",
        "Ask it from a shell (zeros; put your numbers there):",
        "",
        *snippets.curl(f"{url}/infer", inputs),
        "",
        "Or from Python (pip install 'tritonclient[http]'):",
        "",
        *snippets.python(address, name, inputs, outputs),
        "",
        "Ctrl-C ends it, after what is on its way.",
    ]


def _name_of(model: str) -> str:
    stem = model.rstrip("/").rpartition("/")[2].partition("?")[0].partition("#")[0].removesuffix(".onnx")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "model"


def _progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what tells of a download at each tenth."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if tenth > told:
            told = tenth
            say(f"fetched {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    return progress


def _check_port(host: str, port: int) -> None:
    """Refuse a port that somebody listens on: the runtime would share it with another runtime."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except PermissionError as error:
            raise errors.Refused(f"port {port} needs root; take one from 1024 on: --port 8080") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise errors.Refused(f"port {port} is taken; take another one: --port {port + 1}") from error
            raise errors.Refused(f"--host {host}: {error.strerror or error}") from error


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - all addresses, and one that is among them


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""A pod of the real runtime and the real ledger behind it, each a process; ended after their test."""

import os
import subprocess
import sys

import pytest
from leadline_wire import ledger
from leadline_wire.exchange import Copy, OutcomeSettings

from tests.wiring.ledger.conftest import api, process  # noqa: F401  # fixtures
from tests.wiring.ledger.parts import RUNTIME
from tests.wiring.runtime.conftest import digits  # noqa: F401  # a fixture
from tests.wiring.runtime.pods import Pod, eventually, infer


class Site:
    """A model that serves, and the ledger that its outcomes go to."""

    def __init__(self, folder, model, ledger_process):
        self.folder, self.digits, self.ledger = folder, model, ledger_process
        (folder / "token").write_text(RUNTIME)
        self._pods = []
        self._told = {}
        self.pod = self._start("good")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.pod.public}"

    def exchange(self, **outcomes):
        """Tell the pod what it is and how outcomes are taken."""
        settings = OutcomeSettings(ledger=f"http://127.0.0.1:{self.ledger.port}", **outcomes)
        self._told = {"outcomes": settings, "lease_seconds": 600.0}
        self.pod.exchange(**self._told)

    def serve(self, **outcomes):
        self.pod.wait_ready()
        self.exchange(**outcomes)
        eventually("receipts", lambda: infer(self.pod.public, self.digits.rows[0]).headers["leadline-receipt"])
        return self

    def copy_to(self, name):
        """Start a pod of another model, and have requests copied to it."""
        other = self._start(name).wait_ready()
        other.exchange("candidate", **self._told)
        self.pod.exchange(**self._told, copies=[Copy(revision=other.revision, host="127.0.0.1", port=other.own)])
        return other

    def outcomes(self):
        """Return the outcomes in the ledger's log."""
        return [entry for entry in self.ledger.log() if isinstance(entry, ledger.OutcomeEntry)]

    def end(self):
        for pod in self._pods:
            pod.stop()

    def _start(self, name):
        self._pods.append(
            Pod(
                self.folder / f"pod-{name}",
                self.digits.uri(f"{name}.onnx"),
                digest=self.digits.digest(f"{name}.onnx"),
                revision=f"digits-{name}",
                environment={"LEADLINE_LEDGER_TOKEN_FILE": str(self.folder / "token"), "LEADLINE_NAMESPACE": "shop"},
            )
        )
        return self._pods[-1]


@pytest.fixture
def site(tmp_path, digits, process):  # noqa: F811  # the fixtures above
    made = []

    def make(**outcomes):
        made.append(Site(tmp_path, digits, process().start()))
        return made[-1].serve(**outcomes)

    yield make
    for each in made:
        each.end()


class Program:
    """A program of a user's: Python in a process of its own, with this folder as its own."""

    def __init__(self, folder, code, *args):
        command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
        self.process = subprocess.Popen(
            command, cwd=folder, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self):
        """Return the next line that it prints."""
        return self.process.stdout.readline().strip()

    def kill(self):
        """Kill it; return the lines that it printed since."""
        self.process.kill()
        return self.ended(-9)

    def ended(self, status=0):
        """Return the lines that it printed, once it ended with this status."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == status, err
        return out.splitlines()


@pytest.fixture
def run(tmp_path):
    made = []

    def start(code, *args):
        made.append(Program(tmp_path, code, *args))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate(timeout=60)

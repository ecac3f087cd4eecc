"""One runtime as it runs in a pod, with the small model or another of 64 floats, for benchmarks of Leadline alone.

Must not measure.
"""

import hashlib
import http.client
import json
import os
import sys
from pathlib import Path

from . import places, processes

NAME = "digits"
REVISION = "digits-1"
PATH = f"/v2/models/{NAME}/infer"
WIDTH = 64
START_SECONDS = 60.0


def body() -> bytes:
    """Return the request, 1.3 kB: 64 numbers with all their digits, as a client's JSON library writes them."""
    numbers = [(number * 7_919) % 1_000_003 / 1_000_003 for number in range(1, WIDTH + 1)]
    return json.dumps({"inputs": [{"name": "X", "shape": [1, WIDTH], "datatype": "FP32", "data": numbers}]}).encode()


class Pod:
    """The runtime's processes, and its ports.

    Args:
        folder: For its data and its log; made where it is not there.
        model: The file that it serves.
        core: Which it runs on.
        environment: Settings beside the usual ones.
    """

    def __init__(self, folder: Path, model: Path, core: int, environment: dict[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.public, self.admin, own = processes.free_ports(3)
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(places.ROOT / "runtime"),
            "LEADLINE_MODEL_NAME": NAME,
            "LEADLINE_REVISION": REVISION,
            "LEADLINE_MODEL_URI": model.as_uri(),
            "LEADLINE_MODEL_DIGEST": f"sha256:{hashlib.sha256(model.read_bytes()).hexdigest()}",
            "LEADLINE_DATA_DIR": str(folder / "data"),
            "LEADLINE_BIND": "127.0.0.1",
            "LEADLINE_PUBLIC_PORT": str(self.public),
            "LEADLINE_ADMIN_PORT": str(self.admin),
            "LEADLINE_OWN_PORT": str(own),
            **(environment or {}),
        }
        command = [sys.executable, "-m", "leadline_runtime.main"]
        self.server = processes.Server(command, core, variables, folder / "log")
        if not processes.wait_until(lambda: self.server.ended() or self._answers(), START_SECONDS):
            self.server.stop()
            raise TimeoutError(f"no prediction within {START_SECONDS:g} s: {self.server.last_words()}")
        if self.server.ended():
            raise ChildProcessError(f"the runtime ended: {self.server.last_words()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.public, timeout=5)
        try:
            connection.request("POST", PATH, body())
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

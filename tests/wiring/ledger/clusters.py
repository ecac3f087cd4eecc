"""A kubectl whose port-forward leads to a ledger on this machine, and a way to it that something can happen on."""

import contextlib
import socket
import stat
import sys
import threading
from pathlib import Path

from tests.wiring.ledger.parts import OPERATOR

_KUBECTL = """#!{python}
import ctypes, pathlib, signal, sys
if sys.argv[1] == "create":
    print({token!r})
    sys.exit()
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with its parent, also where that is killed
port = pathlib.Path(__file__).with_name("port").read_text()
print(f"Forwarding from 127.0.0.1:{{port}} -> 8080", flush=True)
signal.pause()
"""


def kubectl(folder: Path, port: int, *, token=OPERATOR):
    """Return a command that stands for kubectl, in a folder of its own; its `port` can be changed."""
    made = folder / "cluster"
    made.mkdir(exist_ok=True)
    (made / "port").write_text(str(port))
    command = made / "kubectl"
    command.write_text(_KUBECTL.format(python=sys.executable, token=token))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return command


class Forward:
    """Forwards connections to a port; once so many bytes of answers have come, something happens, once."""

    def __init__(self, port, after_bytes, happens):
        self._to, self._left, self._happens = port, after_bytes, happens
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def close(self):
        # A listener that is only closed would not wake who waits at it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _serve(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._threads += [
                threading.Thread(target=self._pass_on, args=(near, far, False)),
                threading.Thread(target=self._pass_on, args=(far, near, True)),
            ]
            for thread in self._threads[-2:]:
                thread.start()

    def _pass_on(self, source, into, counts):
        with contextlib.suppress(OSError):
            while block := source.recv(16_384):
                into.sendall(block)
                if counts and self._left > 0:
                    self._left -= len(block)
                    if self._left <= 0:
                        self._happens()
        for each in (source, into):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            if not counts:
                each.close()

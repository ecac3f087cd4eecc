"""Images and containers in the cluster's own containerd."""

import subprocess
from pathlib import Path
from typing import Final

from localkind import errors, layout, processes

_NAMESPACE: Final = "k8s.io"
_IMPORT_SECONDS: Final = 300
_GRACE_SECONDS: Final = 5.0


def is_up(places: layout.Layout) -> bool:
    """Tell whether containerd answers."""
    return places.containerd_socket.exists() and _ctr(places, "version", seconds=10).returncode == 0


def image_names(places: layout.Layout) -> set[str]:
    """Return the names of the images that are loaded."""
    return set(_ctr(places, "images", "list", "--quiet", seconds=30).stdout.split())


def load(places: layout.Layout, archive: Path) -> None:
    """Load an image archive.

    Raises:
        Broken: containerd refuses it.
    """
    done = _ctr(places, "images", "import", str(archive), seconds=_IMPORT_SECONDS)
    if done.returncode != 0:
        raise errors.Broken(f"loading {archive}: {done.stderr.strip()[-300:]}")


def stop_all(places: layout.Layout) -> None:
    """End every container of this containerd, and the shims that hold them.

    kubelet has to be ended before, or it starts them again.
    """
    shims = processes.with_argument(str(places.containerd_socket))
    shims = [shim for shim in shims if "containerd-shim" in shim.name]
    contained = [process for shim in shims for process in processes.descendants(shim)]
    processes.stop(contained, grace_seconds=_GRACE_SECONDS)
    processes.stop(shims, grace_seconds=_GRACE_SECONDS)


def _ctr(places: layout.Layout, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(places.containerd_socket), "--namespace", _NAMESPACE, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)

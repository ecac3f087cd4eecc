"""Where everything lives: one cache folder outside of the checkout, one run folder for the one cluster.

Nothing here creates or reads a file; who needs a folder makes it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).resolve().parent.parent
"""`hack/cluster`: the Go sources of what is built are in its folder `go`."""

REPOSITORY: Final = SOURCES.parent.parent


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one cache folder."""

    cache: Path

    @property
    def binaries(self) -> Path:
        """Built commands, a folder per content key."""
        return self.cache / "bin"

    @property
    def images(self) -> Path:
        """Image archives, named by image; an image's tag is its content key."""
        return self.cache / "images"

    @property
    def toolchains(self) -> Path:
        """Go toolchains that this machine lacked."""
        return self.cache / "toolchains"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that is written when the caller names none."""
        return self.cache / "kubeconfig"

    @property
    def lock(self) -> Path:
        """Held by whoever creates or deletes the cluster."""
        return self.cache / "cluster.lock"

    @property
    def stage(self) -> Path:
        """Held by whoever plays on the cluster: two of demo and tests at once would take it from each other."""
        return self.cache / "stage.lock"

    @property
    def run(self) -> Path:
        """Everything of the running cluster; there is one, because addresses and the bridge are fixed."""
        return self.cache / "run"

    @property
    def logs(self) -> Path:
        """A log per process."""
        return self.run / "log"

    @property
    def processes(self) -> Path:
        """A record per process that was started."""
        return self.run / "processes"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.run / "pki"

    @property
    def volumes(self) -> Path:
        """A folder per persistent volume."""
        return self.run / "volumes"

    @property
    def containerd_socket(self) -> Path:
        """Address of containerd; also how its shims are told from anybody else's."""
        return self.run / "containerd.sock"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON object a line."""
        return self.run / "audit.log"


def default() -> Layout:
    """Return the layout under `$LEADLINE_CACHE`, else `~/.cache/leadline`."""
    named = os.environ.get("LEADLINE_CACHE")
    return Layout(Path(named).absolute() if named else Path.home() / ".cache" / "leadline")

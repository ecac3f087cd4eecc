"""An environment of its own for each peer, built once and kept by the content of its requirements.

Requirements are in benchmarks/peers/NAME.txt, whole and pinned. Must not start servers.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from . import places

INSTALL_SECONDS = 900.0


class InstallError(Exception):
    """A peer does not install here; the message says why, on one line."""


def python(name: str, requirements: Path) -> Path:
    """Return the Python of an environment with these requirements; build it if it is not there.

    Raises:
        InstallError: It cannot be built.
    """
    content = requirements.read_bytes() + sys.version.encode()
    folder = places.cache() / "peers" / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    if (folder / "made").exists():
        return folder / "bin" / "python"
    print(f"installing {name} from {requirements.relative_to(places.ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _run([*pip, "--no-deps", "-r", str(requirements)])
    (folder / "made").touch()
    return folder / "bin" / "python"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"did not install within {INSTALL_SECONDS:g} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise InstallError(lines[0][:200] if lines else f"{command[0]} ended with status {done.returncode}")

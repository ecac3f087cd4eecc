"""Tell whether the real kind can be used: a Docker engine that answers, and a kind that is not this command."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_ANSWER_SECONDS: Final = 20


def docker_answers() -> bool:
    """Tell whether there is a Docker engine."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        done = subprocess.run([docker, "info"], check=False, capture_output=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def real_kind(path: str, own: Path) -> Path | None:
    """Return the first kind on a PATH that is not this command.

    Args:
        path: Folders, separated by colons.
        own: This command's file.
    """
    for folder in path.split(os.pathsep):
        found = Path(folder or ".") / "kind"
        if os.access(found, os.X_OK) and found.is_file() and found.resolve() != own.resolve():
            return found
    return None


def kind_for_docker(own: Path) -> Path | None:
    """Return the real kind where it can be used."""
    found = real_kind(os.environ.get("PATH", ""), own)
    return found if found and docker_answers() else None

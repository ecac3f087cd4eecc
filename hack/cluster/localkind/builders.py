"""Build images from Containerfiles, with Docker where it answers and with buildah elsewhere; save them as archives.

buildah gets a storage of its own in the cache, so nobody else's images are touched; its layer cache makes a build
after a change of code a matter of seconds.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from localkind import engine, errors, layout, mounts, packages, pip_settings, talk

_LAST_LINES: Final = 12


class Builder(Protocol):
    """Something that turns a Containerfile into an image archive."""

    def build(self, context: Path, containerfile: Path, name: str, arguments: Mapping[str, str], archive: Path) -> None:
        """Build an image from a folder and write it as an archive."""


@dataclass(frozen=True, slots=True)
class Docker:
    """A Docker engine."""

    log: Path

    def build(self, context: Path, containerfile: Path, name: str, arguments: Mapping[str, str], archive: Path) -> None:
        """Build an image from a folder and write it as an archive."""
        with _secrets() as secrets:
            options = [*build_arguments(arguments), *secrets, "-f", str(containerfile), "-t", name]
            _run(["docker", "build", *options, str(context)], self.log, f"building {name}")
        _run(["docker", "save", "-o", str(archive), name], self.log, f"saving {name}")


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah, with a storage of its own."""

    storage: Path
    log: Path

    def has(self, name: str) -> bool:
        """Tell whether the storage has this image."""
        return subprocess.run([*self._command(), "inspect", name], check=False, capture_output=True).returncode == 0

    def from_tree(self, tree: Path, name: str) -> None:
        """Make an image of one layer from a tarball of a file system."""
        made = subprocess.run([*self._command(), "from", "scratch"], check=True, capture_output=True, text=True)
        container = made.stdout.strip()
        for step in (["add", "-q", container, str(tree), "/"], ["commit", "-q", container, name], ["rm", container]):
            _run([*self._command(), *step], self.log, f"making {name}")

    def build(self, context: Path, containerfile: Path, name: str, arguments: Mapping[str, str], archive: Path) -> None:
        """Build an image from a folder and write it as an archive."""
        try:
            with _secrets() as secrets:
                # chroot isolation: the host may not allow the namespaces and limits that runc sets.
                options = ["--layers", "--isolation", "chroot", *build_arguments(arguments), *secrets]
                where = ["-f", str(containerfile), "-t", name, str(context)]
                _run([*self._command(), "bud", *options, *where], self.log, f"building {name}")
            # zstd: half the time of gzip to write and to load, and smaller.
            packed = ["--compression-format", "zstd", "--compression-level", "3"]
            target = f"oci-archive:{archive}:{name}"
            _run([*self._command(), "push", "-q", *packed, name, target], self.log, f"saving {name}")
        finally:
            mounts.unmount_below(self.storage)

    def _command(self) -> list[str]:
        places = ["--root", str(self.storage / "storage"), "--runroot", str(self.storage / "run")]
        return ["buildah", *places, "--storage-driver", "overlay"]


def choose(places: layout.Layout) -> Docker | Buildah:
    """Return the builder of this machine.

    Raises:
        NeedsUser: There is none.
    """
    log = places.images / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if engine.docker_answers():
        return Docker(log)
    missing = packages.missing(packages.IMAGES)
    if missing:
        raise errors.NeedsUser(f"no Docker engine answers, and {' and '.join(missing)} is missing; apt-get install it")
    return Buildah(places.cache / "buildah", log)


def show_to_docker(name: str, archive: Path) -> None:
    """Let a Docker engine know an image that it lacks: the real kind loads from there."""
    if subprocess.run(["docker", "image", "inspect", name], check=False, capture_output=True).returncode != 0:
        _run(["docker", "load", "-i", str(archive)], archive.parent / "build.log", f"loading {name}")


@contextmanager
def _secrets() -> Iterator[list[str]]:
    found = pip_settings.of_this_machine()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(found.config)
        config.flush()
        options = ["--secret", f"id=pip.conf,src={config.name}"] if found.config else []
        if found.certificates:
            options += ["--secret", f"id=ca.crt,src={found.certificates}"]
        yield options


def build_arguments(arguments: Mapping[str, str]) -> list[str]:
    """Return the options that give a build its arguments."""
    return [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]


def _run(command: list[str], log: Path, what: str) -> None:
    with log.open("a") as output:
        output.write(f"\n# {' '.join(command)}\n")
        output.flush()
        start = output.tell()
        status = subprocess.run(command, check=False, stdout=output, stderr=subprocess.STDOUT).returncode
    if status != 0:
        with log.open(errors="replace") as output:
            output.seek(start)
            last = output.read().strip().splitlines()[-_LAST_LINES:]
        for line in last:
            talk.say(f"  {line}")
        raise errors.Broken(f"{what}: {command[0]} ended with status {status}; all of its output: {log}")

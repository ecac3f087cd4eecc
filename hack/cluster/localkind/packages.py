"""Debian packages that the local cluster, its images and tests need: which are missing, and how they are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from localkind import engine, errors, layout, settings, talk

CLUSTER: Final[Mapping[str, str]] = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "openssl": "openssl",
    "mount": "mount",
}
"""Programs that a running cluster needs, and the package of each."""

IMAGES: Final[Mapping[str, str]] = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "gpg": "gpg"}
"""Programs that build images."""

DATABASES: Final[Mapping[str, str]] = {"pg_ctlcluster": "postgresql"}
"""Programs that tests of the ledger start; the server's own are in a folder of its version."""

_CNI: Final = "containernetworking-plugins"
_START_POLICY: Final = Path("/usr/sbin/policy-rc.d")


def missing(wanted: Mapping[str, str]) -> list[str]:
    """Return the packages of the programs that are not on PATH."""
    return sorted({package for program, package in wanted.items() if shutil.which(program) is None})


def missing_for_cluster() -> list[str]:
    """Return the packages without which no cluster runs here."""
    return missing(CLUSTER) + ([] if settings.cni_plugins() else [_CNI])


def install() -> None:
    """Install what is missing for cluster and images; says what. Docker with the real kind needs nothing.

    Raises:
        NeedsUser: This is no Debian, or not root.
        Broken: apt-get does not install it.
    """
    if engine.kind_for_docker(layout.SOURCES / "kind"):
        return
    _install(missing_for_cluster() + ([] if engine.docker_answers() else missing(IMAGES)))


def install_databases() -> None:
    """Install what tests of the ledger need; says what. Raises as `install` does."""
    _install(missing(DATABASES))


def _install(packages: Sequence[str]) -> None:
    if not packages:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise errors.NeedsUser(
            f"missing on this machine: {', '.join(packages)}; expected root on Debian to install them (for a cluster a "
            "Docker engine with kind will do)"
        )
    talk.say(f"installing Debian packages: {' '.join(packages)}")
    with _services_stay_down():
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Somebody else's installation may be going on: wait for it.
    command = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise errors.Broken(f"apt-get {arguments[0]} ended with {last[0]!r}")


@contextmanager
def _services_stay_down() -> Iterator[None]:
    # Debian starts a service as it is installed; the cluster runs a containerd of its own.
    ours = not _START_POLICY.exists()
    if ours:
        _START_POLICY.write_text("#!/bin/sh\nexit 101\n")
        _START_POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            _START_POLICY.unlink()

"""How much CPU this container may use, so that onnxruntime starts no more threads than that.

onnxruntime looks at the machine, not at the quota: with one CPU of two and two threads, its p99 was eight times longer.
On hybrid hosts `cgroup.controllers` exists while the CPU controller is mounted the old way, so the controller is looked
up in /proc/self/cgroup first. Reads files only; what cannot be read counts as no quota.
"""

import math
import os
from pathlib import Path, PurePosixPath


def threads(root: Path = Path("/")) -> int:
    """Return how many threads one run of the model may use: the quota rounded down, at least 1."""
    available = len(os.sched_getaffinity(0))
    return max(1, math.floor(min(available, quota_cpus(root))))


def quota_cpus(root: Path = Path("/")) -> float:
    """Return the CPU quota of this process's cgroup and of those above it, in CPUs; infinity where there is none.

    Args:
        root: Folder that holds `proc` and `sys`; another than `/` only in tests.
    """
    legacy, unified = _paths(_text(root / "proc/self/cgroup"))
    mounts = _mounts(_text(root / "proc/self/mountinfo"))
    quotas = [math.inf]
    if legacy is not None and "cpu" in mounts:
        quotas += [_legacy_quota(folder) for folder in _folders(root, mounts["cpu"], legacy)]
    elif unified is not None and "" in mounts:
        quotas += [_unified_quota(folder) for folder in _folders(root, mounts[""], unified)]
    return min(quotas)


def _paths(listing: str) -> tuple[str | None, str | None]:
    """Return the path in the old CPU hierarchy and in the unified one; None where there is none."""
    legacy = unified = None
    for line in listing.splitlines():
        identifier, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            legacy = path
        elif identifier == "0" and not controllers:
            unified = path
    return legacy, unified


def _mounts(listing: str) -> dict[str, tuple[str, str]]:
    """Return mounted root and mount point of the old CPU hierarchy (key `cpu`) and of the unified one (key empty)."""
    found: dict[str, tuple[str, str]] = {}
    for line in listing.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            found.setdefault("cpu", (fields[3], fields[4]))
        elif kind[0] == "cgroup2":
            found.setdefault("", (fields[3], fields[4]))
    return found


def _folders(root: Path, mount: tuple[str, str], path: str) -> list[Path]:
    """Return the cgroup's folder and those above it up to the mount point: a quota on any of them holds.

    In a container without its own cgroup namespace the path is the host's, and only its end below the mounted root is
    visible; where that does not fit, the mount point itself is the container's cgroup.
    """
    mounted, point = mount
    top = root / point.lstrip("/")
    try:
        below = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    folder = top / below
    return [folder, *(parent for parent in folder.parents if parent == top or top in parent.parents)]


def _legacy_quota(folder: Path) -> float:
    try:
        quota = int(_text(folder / "cpu.cfs_quota_us"))
        period = int(_text(folder / "cpu.cfs_period_us"))
    except ValueError:
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def _unified_quota(folder: Path) -> float:
    fields = _text(folder / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return math.inf
    try:
        return int(fields[0]) / int(fields[1])
    except (ValueError, ZeroDivisionError):
        return math.inf


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

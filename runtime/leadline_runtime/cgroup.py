"""How much CPU and memory this container may use, so that workers and onnxruntime's threads are no more than that.

onnxruntime looks at the machine, not at the quota: with one CPU of two and two threads, its p99 was eight times longer.
On hybrid hosts `cgroup.controllers` exists while a controller is mounted the old way, so each controller is looked up in
/proc/self/cgroup first. Reads files only; what cannot be read counts as no limit. Next step: `sizing`.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

_NO_LIMIT_BYTES: Final = 1 << 60


def cpus(root: Path = Path("/")) -> int:
    """Return how many CPUs this process may keep busy: the quota rounded down, at least 1."""
    return max(1, math.floor(min(len(os.sched_getaffinity(0)), quota_cpus(root))))


def is_limited(root: Path = Path("/")) -> bool:
    """Tell whether somebody has said how many CPUs are ours: by a quota, or by a set of CPUs smaller than the machine."""
    return quota_cpus(root) < math.inf or len(os.sched_getaffinity(0)) < (os.cpu_count() or 1)


def quota_cpus(root: Path = Path("/")) -> float:
    """Return the CPU quota of this process's cgroup and of those above it, in CPUs; infinity where there is none.

    Args:
        root: Folder that holds `proc` and `sys`; another than `/` only in tests.
    """
    return _least(root, "cpu", _legacy_quota, _unified_quota)


def memory_bytes(root: Path = Path("/")) -> float:
    """Return the memory limit of this process's cgroup and of those above it; infinity where there is none."""
    return _least(root, "memory", _legacy_memory, _unified_memory)


def _least(
    root: Path,
    controller: str,
    legacy_limit: Callable[[Path], float],
    unified_limit: Callable[[Path], float],
) -> float:
    legacy, unified = _paths(_text(root / "proc/self/cgroup"), controller)
    mounts = _mounts(_text(root / "proc/self/mountinfo"), controller)
    limits = [math.inf]
    if legacy is not None and controller in mounts:
        limits += [legacy_limit(folder) for folder in _folders(root, mounts[controller], legacy)]
    elif unified is not None and "" in mounts:
        limits += [unified_limit(folder) for folder in _folders(root, mounts[""], unified)]
    return min(limits)


def _paths(listing: str, controller: str) -> tuple[str | None, str | None]:
    """Return the path in the controller's old hierarchy and in the unified one; None where there is none."""
    legacy = unified = None
    for line in listing.splitlines():
        identifier, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            legacy = path
        elif identifier == "0" and not controllers:
            unified = path
    return legacy, unified


def _mounts(listing: str, controller: str) -> dict[str, tuple[str, str]]:
    """Return mounted root and mount point of the controller's old hierarchy (key: its name) and of the unified one."""
    found: dict[str, tuple[str, str]] = {}
    for line in listing.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if not separator or len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup" and controller in kind[2].split(","):
            found.setdefault(controller, (fields[3], fields[4]))
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


def _legacy_memory(folder: Path) -> float:
    text = _text(folder / "memory.limit_in_bytes").strip()
    # No limit is written as the largest number of whole pages.
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT_BYTES else math.inf


def _unified_memory(folder: Path) -> float:
    text = _text(folder / "memory.max").strip()
    return int(text) if text.isdigit() else math.inf


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""

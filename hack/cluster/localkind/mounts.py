"""Unmount what kubelet and containerd left below a folder, so that it can be deleted."""

import re
import subprocess
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def mounted_below(mountinfo: str, folder: Path) -> list[Path]:
    """Return the mount points at or below a folder, deepest and newest first.

    Args:
        mountinfo: Text of /proc/self/mountinfo, where spaces are written in octal.
        folder: An absolute path.
    """
    points = [Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split()[4])) for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if point == folder or folder in point.parents]


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below a folder; a busy mount goes when its last user ends."""
    for point in mounted_below(_MOUNTS.read_text(), folder):
        subprocess.run(["umount", "--lazy", str(point)], check=False, capture_output=True)

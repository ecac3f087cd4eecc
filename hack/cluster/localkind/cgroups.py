"""Remove the control groups that kubelet made for pods."""

import os
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
_NAME: Final = "kubepods"


def present() -> bool:
    """Tell whether there are any: before a start, that means another kubelet runs on this machine."""
    return any(folder.is_dir() for folder in _tops())


def remove() -> None:
    """Remove them; one that still holds a process stays."""
    for top in _tops():
        for folder, _, _ in os.walk(top, topdown=False) if top.is_dir() else ():
            try:
                os.rmdir(folder)  # noqa: PTH106 - a control group is removed by its folder alone
            except OSError:
                continue


def _tops() -> list[Path]:
    # One hierarchy per controller (v1), or one for all (v2); the first also has links from joined names.
    return [_ROOT / _NAME, *(folder / _NAME for folder in _ROOT.glob("*") if not folder.is_symlink())]

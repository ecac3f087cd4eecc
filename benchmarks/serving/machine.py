"""On what a run measures: cores, processor, versions. Must not measure."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path

from . import generators

PACKAGES = ("httptools", "numpy", "onnxruntime", "orjson", "uvloop")


def cores() -> list[int]:
    """Return the cores that may be used: the first serves, the second makes the load."""
    return sorted(os.sched_getaffinity(0))


def missing() -> list[str]:
    """Return a line for each thing that a run lacks here."""
    lacking = generators.missing()
    if len(cores()) < 2:
        lacking.append("needs two cores, one for the server and one for the load")
    return lacking


def environment() -> dict[str, str]:
    """Return on what was measured."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": str(len(cores())),
        "python": platform.python_version(),
        "load average at the end": f"{os.getloadavg()[0]:.2f}",
        **generators.versions(),
        **{name: metadata.version(name) for name in PACKAGES},
    }

"""Write requirements/*.txt: what the environment that runs this has, as far as each image and development needs it.

To change versions: install the wished ones into .venv, run the tests, then `make requirements`. `--check` only compares:
everything needed has to be there at the version that is installed; what another Python needs may be there, too.
"""

import argparse
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT: Final = Path(__file__).resolve().parent.parent
_WHAT: Final = {
    "operator": "What the operator's image holds: leadline[operator,ledger]",
    "runtime": "What the runtime's image holds: leadline[runtime,tracing]",
    "trainer": "What the image of examples/learning holds",
    "build": "What builds our wheel inside the images",
    "frameworks": "What leadline package is tested with: leadline[convert,frameworks]",
    "dev": "What development and tests use: leadline[dev]",
}
_TRAINER: Final = ("scikit-learn", "skl2onnx", "onnx", "pandas", "pyarrow", "obstore")
"""What examples/learning/train.py imports."""
_BUILD: Final = ("hatchling", "editables")
"""The build backend, and what it needs for an editable install."""


def closure(names: Iterable[str], own: dict[str, list[str]]) -> dict[str, str]:
    """Return name and version of what these requirements need, and what that needs, as installed.

    Args:
        names: Requirements; `leadline[extra]` is looked up in `own`.
        own: The project's own requirements by extra.

    Raises:
        importlib.metadata.PackageNotFoundError: One is not installed.
    """
    versions: dict[str, str] = {}
    seen = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        if wanted.name == "leadline":
            waiting += [Requirement(name) for extra in wanted.extras for name in own[extra]]
            continue
        found = importlib.metadata.distribution(wanted.name)
        versions[key[0]] = found.version
        needs = [Requirement(text) for text in found.requires or ()]
        extras = wanted.extras or {""}
        waiting += [
            need for need in needs if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return versions


def texts() -> dict[str, str]:
    """Return the text of each requirements file by its name."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    own = project["optional-dependencies"]
    base = project["dependencies"]
    wanted = {
        "operator": [*base, *own["operator"], *own["ledger"]],
        "runtime": [*base, *own["runtime"], *own["tracing"]],
        "trainer": [*base, *own["client"], *_TRAINER],
        "build": ["hatchling"],
        "frameworks": [*base, *own["convert"], *own["frameworks"]],
        "dev": [*base, *own["dev"], *_BUILD],
    }
    return {
        name: f"# {_WHAT[name]}; tested together. Written by `make requirements`.\n"
        + "".join(f"{package}=={version}\n" for package, version in sorted(closure(needs, own).items()))
        for name, needs in wanted.items()
    }


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description="Pin what the environment has.")
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    stale = []
    for name, text in texts().items():
        path = _ROOT / "requirements" / f"{name}.txt"
        if check and not (path.is_file() and set(text.splitlines()) <= set(path.read_text().splitlines())):
            stale.append(path)
        elif not check:
            path.write_text(text)
    for path in stale:
        print(
            f"{path.relative_to(_ROOT)}: differs from the environment; run make venv, or make requirements",
            file=sys.stderr,
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""Fail where a Python module is longer than can be read in one go."""

import subprocess
import sys
from pathlib import Path
from typing import Final

_LIMIT_LINES: Final = 500
_ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print each module above the limit; status 1 if there is one."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        check=True,
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    too_long = 0
    for name in listed.stdout.split():
        path = _ROOT / name
        lines = len(path.read_text().splitlines()) if path.exists() else 0
        if lines > _LIMIT_LINES:
            too_long += 1
            print(f"{name}: expected at most {_LIMIT_LINES} lines, has {lines}; split it", file=sys.stderr)
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())

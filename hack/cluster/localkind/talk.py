"""Tell the person what happens: steps with the time since the start on stderr, so that stdout is data."""

import sys
import time
from typing import Final

_START: Final = time.monotonic()


def say(message: str) -> None:
    """Print one step."""
    print(f"[{time.monotonic() - _START:5.1f} s] {message}", file=sys.stderr, flush=True)

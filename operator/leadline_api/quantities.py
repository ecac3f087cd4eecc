"""Turn the strings of a spec into numbers."""

import re

_PART = re.compile(r"([0-9]+)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(duration: str) -> float:
    """Return the seconds of a duration such as `90s`, `1h30m` or `7d`.

    Raises:
        ValueError: It is not a duration.
    """
    total, end = 0.0, 0
    for part in _PART.finditer(duration):
        if part.start() != end:
            break
        total += int(part[1]) * _SECONDS[part[2]]
        end = part.end()
    if end != len(duration) or not duration:
        raise ValueError(f"expected a duration such as 90s, 1h30m or 7d, got {duration!r}")
    return total


def pods(amount: str | int, *, of: int) -> int:
    """Return how many pods `Same`, a percentage (rounded up) or a number stands for.

    Args:
        amount: `Same`, `50%` or a number, also as a string.
        of: Pods that make 100 %.

    Raises:
        ValueError: It is none of these.
    """
    if amount == "Same":
        return of
    text = str(amount)
    if re.fullmatch(r"[0-9]{1,3}%", text):
        return -(-of * int(text[:-1]) // 100)
    if re.fullmatch(r"[0-9]{1,4}", text):
        return int(text)
    raise ValueError(f"expected Same, a percentage such as 50% or a number of pods, got {amount!r}")

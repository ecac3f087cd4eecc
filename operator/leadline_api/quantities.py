"""Turn the strings of a spec into numbers.

Durations are read as the API server reads `format: duration`, so that whatever it lets in has a meaning here.

Must not decide what is sensible: `spec.py` has the limits.
"""

import re
from typing import Final

LONGEST_SECONDS: Final = 3650 * 86400.0
"""Ten years; the API server counts nanoseconds in 64 bits, which wrap around at 292."""

_EXACT: Final = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)")
_LOOSE: Final = re.compile(r"([0-9]+)\s*([A-Za-zµ]+)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORDS: Final = (
    (("ns",), "nano", 1e-9),
    (("us", "µs"), "micro", 1e-6),
    (("ms",), "milli", 1e-3),
    (("s",), "sec", 1.0),
    (("m",), "min", 60.0),
    (("h", "hr"), "hour", 3600.0),
    (("d",), "day", 86400.0),
    (("w", "wk"), "week", 604800.0),
)
"""Short forms, which have to be whole; beginning of the long ones; seconds."""


def seconds(duration: str) -> float:
    """Return the seconds of a duration such as `90s`, `1h30m`, `7d` or `2 weeks`.

    Raises:
        ValueError: It is not a duration, or it is longer than ten years.
    """
    total = _exact(duration)
    if total is None:
        total = _loose(duration)
    if total is None:
        raise ValueError(f"expected a duration such as 90s, 1h30m or 7d, got {duration!r}")
    if abs(total) > LONGEST_SECONDS:
        raise ValueError(f"expected a duration of at most 3650d, got {duration!r}")
    return total


def size_bytes(size: str) -> int:
    """Return the bytes of a size such as `500Mi`, `20Gi` or `1Ti`.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"([0-9]+)(Mi|Gi|Ti)", size)
    if found is None:
        raise ValueError(f"expected a size such as 500Mi, 20Gi or 1Ti, got {size!r}")
    return int(found[1]) << {"Mi": 20, "Gi": 30, "Ti": 40}[found[2]]


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


def _exact(duration: str) -> float | None:
    """Read what Go's time.ParseDuration reads: signed decimals with units up to hours, without blanks."""
    sign, text = (-1.0, duration[1:]) if duration.startswith("-") else (1.0, duration.removeprefix("+"))
    if text == "0":
        return 0.0
    total, end = 0.0, 0
    for part in _EXACT.finditer(text):
        if part.start() != end or part[1] in {"", "."}:
            return None
        total += float(part[1]) * _SECONDS[part[2]]
        end = part.end()
    return sign * total if text and end == len(text) else None


def _loose(duration: str) -> float | None:
    """Read what the API server tries next: every whole number with a unit up to weeks, whatever stands between them."""
    found = [
        int(amount) * factor
        for amount, unit in _LOOSE.findall(duration)
        for short, long, factor in _WORDS
        if unit.lower() in short or unit.lower().startswith(long)
    ]
    return sum(found) if found else None

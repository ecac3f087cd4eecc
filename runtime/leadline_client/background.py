"""What a client in the background does after each flush: how long it waits, and what it says. Pure."""

from typing import Final, NamedTuple

from leadline_client import delivering, errors

_PAUSE_FACTOR_MAX: Final = 8.0
"""After failures it waits up to so many times as long."""
_SHOWN_MAX: Final = 3
"""Refused outcomes of one flush that are told one by one."""


class Told(NamedTuple):
    """What follows a flush."""

    pause_seconds: float
    message: str = ""
    """For the log; empty: there is nothing to say."""


class Rounds:
    """Remembers how the last flushes went."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds = every_seconds
        self._failures = 0

    def ended(self, flushed: delivering.Flushed) -> Told:
        """Take note of a flush."""
        if flushed.why:
            return self._bad(f"{flushed.waiting} outcomes wait: {flushed.why}")
        self._failures = 0
        refused = flushed.refused
        if not refused:
            return Told(self._every_seconds)
        shown = "; ".join(f"{each.fate.value}: {each.why}" for each in refused[:_SHOWN_MAX])
        more = ", ..." if len(refused) > _SHOWN_MAX else ""
        return Told(self._every_seconds, f"{len(refused)} outcomes were not taken: {shown}{more}")

    def failed(self, error: errors.ClientError) -> Told:
        """Take note of a flush that raised."""
        return self._bad(f"outcomes that wait cannot be sent: {error}")

    def _bad(self, message: str) -> Told:
        factor = min(2.0**self._failures, _PAUSE_FACTOR_MAX)
        self._failures += 1
        return Told(self._every_seconds * factor, message if self._failures == 1 else "")

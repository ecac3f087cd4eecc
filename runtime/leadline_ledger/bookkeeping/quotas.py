"""How many answers each source had taken in an hour of the ledger's clock.

Kept in the row of the ModelDeployment, so that it is as durable and as exact as what it counts: whoever writes to the
database, one ledger or several, reads and writes it in the same transaction. Must not know what an answer is.
"""

from typing import Final

import msgspec

HOUR_MS: Final = 3_600_000
SOURCES_MAX: Final = 256
"""Sources counted apart in an hour; those that come later share one quota."""
_REST: Final = "*"


class _Kept(msgspec.Struct):
    hour: int
    taken: dict[str, int]


_decode: Final = msgspec.json.Decoder(_Kept).decode


class Hour:
    """The hour that runs now."""

    def __init__(self, text: str, kept: _Kept | None, hour: int) -> None:
        self._text = text
        self._kept = kept if kept is not None and kept.hour >= hour else _Kept(hour, {})
        self._is_changed = False

    def takes(self, source: str, most: int) -> bool:
        """Count one more answer of a source; tell whether it is within what is taken."""
        taken = self._kept.taken
        name = source if source in taken or len(taken) < SOURCES_MAX else _REST
        count = taken.get(name, 0)
        if count >= most:
            return False
        taken[name] = count + 1
        self._is_changed = True
        return True

    @property
    def text(self) -> str:
        """What is kept of it: what it was read from where nothing was counted."""
        return msgspec.json.encode(self._kept).decode() if self._is_changed else self._text


def read(text: str, now_ms: int) -> Hour:
    """Return the hour that runs now, with what was kept of it; of an earlier one nothing counts any more."""
    return Hour(text, _decode(text) if text else None, now_ms // HOUR_MS)

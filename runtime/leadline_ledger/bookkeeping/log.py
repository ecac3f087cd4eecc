"""Reading the log: how much at once, which entries belong together, and cursors that belong to no history."""

from typing import Final

import msgspec

from leadline_ledger import errors

STRETCH_BYTES_MAX: Final = 8 << 20
"""Of one answer's entries, but for the first: the rest is read with the next cursor."""


class _Part(msgspec.Struct):
    more: int = 0


_part: Final = msgspec.json.Decoder(_Part).decode


def goes_on(body: bytes) -> bool:
    """Tell whether the next entry is of the same outcome: rows of one prediction come in one answer."""
    return b'"more"' in body and _part(body).more > 0


def beyond(after: int, head: int) -> errors.GoneError:
    """Return the error of a cursor that is beyond the log."""
    return errors.GoneError(
        f"cursor {after} is beyond the newest entry {head}: the ledger was restored from a backup, or is another one; "
        "begin again with /v1/resume"
    )


def unknown(after: int) -> errors.GoneError:
    """Return the error of a cursor whose history has another name than any start of this ledger."""
    return errors.GoneError(
        f"cursor {after} is of a history that this ledger does not know: it was restored from a backup, or is another "
        "one; begin again with /v1/resume"
    )


def went_on_otherwise(after: int, next_seq: int) -> errors.GoneError:
    """Return the error of a cursor beyond the start that followed the one it goes with."""
    return errors.GoneError(
        f"cursor {after} is beyond entry {next_seq}, from where this ledger went on otherwise after a backup was "
        "restored; begin again with /v1/resume"
    )

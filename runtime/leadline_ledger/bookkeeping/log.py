"""Reading the log: how much at once, which entries belong together, and cursors that belong to no history."""

from collections.abc import Iterable
from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import errors

STRETCH_BYTES_MAX: Final = 8 << 20
"""Of one answer's entries, but for the first: the rest is read with the next cursor."""


class _Part(msgspec.Struct):
    more: int = 0


_part: Final = msgspec.json.Decoder(_Part).decode
_decision: Final = msgspec.json.Decoder(ledger.DecisionEntry).decode


def stretch(bodies: Iterable[bytes], limit: int) -> tuple[bytes, ...]:
    """Return entries up to a limit of number and bytes; no more of them are asked for than is needed to see that.

    Rows of one prediction are one outcome, and come in one answer, however many they are.
    """
    entries: list[bytes] = []
    size = 0
    for body in bodies:
        size += len(body)
        is_full = len(entries) >= limit or size > STRETCH_BYTES_MAX
        if entries and is_full and not _goes_on(entries[-1]):
            break
        entries.append(body)
    return tuple(entries)


def states(
    models: Iterable[tuple[int, str, int, int | None, str | None]], decided: Iterable[tuple[int, bytes]]
) -> list[ledger.ModelState]:
    """Return where the evidence of each ModelDeployment stands.

    Args:
        models: Short key, name, newest `seq`, and cursor and state of the checkpoint where there is one.
        decided: Short key and entry of each decision, in their order.
    """
    decisions: dict[int, list[ledger.DecisionEntry]] = {}
    for key, body in decided:
        decisions.setdefault(key, []).append(_decision(body))
    return [
        ledger.ModelState(
            model=name,
            last_seq=last_seq,
            checkpoint=None if cursor is None or state is None else ledger.Checkpoint(cursor=cursor, state=state),
            decisions=decisions.get(key, []),
        )
        for key, name, last_seq, cursor, state in models
    ]


def _goes_on(body: bytes) -> bool:
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

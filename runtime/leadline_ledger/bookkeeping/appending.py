"""Outcomes on their way into the log: rows of one prediction that come at once stand together, as one outcome.

Rows of one request are seldom independent, so they count as one, by their mean; rows that come after others of the same
prediction are kept and exported, but are no evidence. An answer that was wanted stands alone: it was drawn by itself.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger.bookkeeping import pairing, transaction

_outcome: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode


class Due(msgspec.Struct, frozen=True):
    """An answer that is to be judged now."""

    model: transaction.Model
    key: bytes
    """Of the prediction."""
    entry: ledger.OutcomeEntry
    """As it will be in the log, but for its place there and what it has in common with other rows."""
    expires_ms: int
    answer: str = ""
    """As it is compared with another one."""
    is_paired: bool = False
    """It is in the log already, with its pairs, for it was wanted; now it came by itself, too."""


def append(work: transaction.Transaction, due: Iterable[Due]) -> Iterator[tuple[Due, int]]:
    """Append outcomes, those of one prediction together, and their pairs; yield each with its place in the log.

    The caller must have written an answer's place before it asks for the next one: it is looked at.
    """
    groups: dict[tuple[int, bytes, int], list[Due]] = {}
    for place, each in enumerate(due):
        groups.setdefault((each.model.key, each.key, place if each.entry.wanted else -1), []).append(each)
    for group in groups.values():
        yield from _appended(work, group if len(group) == 1 else sorted(group, key=_row))


def _row(due: Due) -> int:
    return due.entry.row


def _appended(work: transaction.Transaction, group: list[Due]) -> list[tuple[Due, int]]:
    first = group[0]
    model, entry = first.model, first.entry
    were_wanted = _earlier(work, first)
    repeats = not all(were_wanted) or (
        not entry.wanted and work.repeats(model, entry.entity, entry.revision, expires_ms=first.expires_ms)
    )
    done, entries = [], []
    for left, each in zip(range(len(group) - 1, -1, -1), group, strict=True):
        found = msgspec.structs.replace(each.entry, seq=work.head + 1, more=left, repeats=repeats)
        work.append(model, found, expires_ms=each.expires_ms)
        done.append((each, work.head))
        if not each.is_paired:
            entries.append(found)
    pairing.after_outcomes(work, model, entries, first.key, first.expires_ms, repeats=bool(were_wanted))
    return done


def _earlier(work: transaction.Transaction, due: Due) -> list[bool]:
    """Return, for each row of the same prediction that is in the log, whether its answer was wanted."""
    return [
        answer.body is not None and bool(_outcome(answer.body).wanted)
        for answer in work.answers(due.model, due.key)
        if answer.seq
    ]

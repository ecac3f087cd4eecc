"""Which few answers would tell two revisions apart: those to inputs on which their predictions differ.

Where both predict the same, the answer says nothing of which is better. So only differing rows without an answer are
wanted; each stands for as many agreeing ones as there are for each differing one among the newest copies, so that what is
asked for by choice weighs as much as it would in a stream without one. Reads only, and must not know how rows are kept.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from leadline_wire import ledger, predictions

from leadline_ledger.bookkeeping import pairing

COPIES_MAX: Final = 5_000
"""Newest copies that are looked at: some 30 milliseconds."""
_ROWS_MAX: Final = 20_000
"""Rows of them."""
NONE: Final = ledger.Wanted(items=[], agreements=0.0, compared=0)


class Copied(NamedTuple):
    """A copy that waits for outcomes."""

    id: bytes
    revision: str
    other: str
    predictions: str
    other_predictions: str


def earliest(since_ms: int) -> bytes:
    """Return the smallest id of predictions made since then, in milliseconds since the epoch."""
    return max(since_ms, 0).to_bytes(6, "big") + bytes(10)


def chosen(
    copies: Sequence[Copied],
    *,
    limit: int,
    answered: Callable[[bytes], dict[int, bool]],
    client_id: Callable[[bytes], str],
) -> ledger.Wanted:
    """Return up to so many answers that are wanted, in no order.

    Args:
        copies: The newest first.
        limit: Answers at most.
        answered: Returns which rows of a prediction were answered, and whether by themselves: not because they were wanted.
        client_id: Returns the client's own id of a prediction, empty where none is kept.
    """
    if not copies:
        return NONE
    _, revision, other, _, _ = copies[0]
    open_, agreeing, asked_before, looked_at = list[ledger.Unanswered](), 0, 0, 0
    for each in copies:
        if (each.revision, each.other) != (revision, other):
            continue
        known = answered(each.id)
        for row in sorted(predictions.split(each.predictions)):
            word, other_word = pairing.word_of(each.predictions, row), pairing.word_of(each.other_predictions, row)
            by_itself = known.get(row)
            if by_itself or not word or not other_word:
                continue
            looked_at += 1
            if predictions.answer_of(word) == predictions.answer_of(other_word):
                agreeing += 1
            elif by_itself is None:
                open_.append(ledger.Unanswered(each.id.hex(), row, revision, word, other, other_word))
            else:
                asked_before += 1
        if looked_at >= _ROWS_MAX:
            break
    differing = len(open_) + asked_before
    drawn = random.sample(open_, min(limit, len(open_)))
    return ledger.Wanted(
        items=[msgspec.structs.replace(each, client_id=client_id(bytes.fromhex(each.id))) for each in drawn],
        agreements=round(agreeing / differing, 6) if differing else 0.0,
        compared=looked_at,
        other=other,
    )

"""Which few answers would tell two revisions apart: those to inputs on which their predictions differ.

Where both predict the same, the answer says nothing of which is better. So only differing rows without an answer are
wanted; each stands for as many agreeing ones as there are for each differing one among the newest copies, so that what is
asked for by choice weighs as much as it would in a stream without one. Reads only.
"""

import random
import sqlite3
from typing import Final

from leadline_wire import ledger, predictions

from leadline_ledger.bookkeeping import pairing

COPIES_MAX: Final = 5_000
"""Newest copies that are looked at: some 30 milliseconds."""
_ROWS_MAX: Final = 20_000
"""Rows of them."""
_NONE: Final = ledger.Wanted(items=[], agreements=0.0, compared=0)


def wanted(connection: sqlite3.Connection, name: str, *, limit: int, since_ms: int) -> ledger.Wanted:
    """Return up to so many answers that are wanted, of predictions made since then, in no order."""
    model = connection.execute("SELECT key FROM models WHERE name = ?", (name,)).fetchone()
    if model is None:
        return _NONE
    since = max(since_ms, 0).to_bytes(6, "big") + bytes(10)
    copies = connection.execute(
        "SELECT id, revision, other, predictions, other_predictions FROM copies"
        " WHERE model = ? AND id >= ? AND NOT complete ORDER BY id DESC LIMIT ?",
        (*model, since, COPIES_MAX),
    ).fetchall()
    if not copies:
        return _NONE
    _, revision, other, _, _ = copies[0]
    copies = [each for each in copies if each[1:3] == (revision, other)]
    open_, agreeing, asked_before, looked_at = list[ledger.Unanswered](), 0, 0, 0
    for key, _, _, words, other_words in copies:
        answered = _answered(connection, model[0], key)
        for row in sorted(predictions.split(words)):
            word, other_word = pairing.word_of(words, row), pairing.word_of(other_words, row)
            by_itself = answered.get(row)
            if by_itself or not word or not other_word:
                continue
            looked_at += 1
            if predictions.answer_of(word) == predictions.answer_of(other_word):
                agreeing += 1
            elif by_itself is None:
                open_.append(ledger.Unanswered(key.hex(), row, revision, word, other, other_word))
            else:
                asked_before += 1
        if looked_at >= _ROWS_MAX:
            break
    differing = len(open_) + asked_before
    drawn = random.sample(open_, min(limit, len(open_)))
    return ledger.Wanted(
        items=[_named(connection, model[0], each) for each in drawn],
        agreements=round(agreeing / differing, 6) if differing else 0.0,
        compared=looked_at,
        other=other,
    )


def _answered(connection: sqlite3.Connection, model: int, key: bytes) -> dict[int, bool]:
    """Return which rows of a prediction were answered, and whether by themselves: not because they were wanted."""
    rows = connection.execute(
        "SELECT answers.row, json_extract(CAST(COALESCE(log.body, answers.body, '{}') AS TEXT), '$.wanted')"
        " FROM answers LEFT JOIN log ON log.seq = answers.seq WHERE answers.model = ? AND answers.id = ?",
        (model, key),
    )
    return {row: not asked for row, asked in rows}


def _named(connection: sqlite3.Connection, model: int, item: ledger.Unanswered) -> ledger.Unanswered:
    """Return what is wanted with the client's own id, where it is kept."""
    found = connection.execute(
        "SELECT client_id FROM predictions WHERE model = ? AND id = ? LIMIT 1", (model, bytes.fromhex(item.id))
    ).fetchone()
    return item if found is None else ledger.Unanswered(*_fields(item), found[0])


def _fields(item: ledger.Unanswered) -> tuple[str, int, str, str, str, str]:
    return item.id, item.row, item.revision, item.prediction, item.other, item.other_prediction

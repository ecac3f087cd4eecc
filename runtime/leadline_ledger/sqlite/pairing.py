"""Pairs: a copy meets the outcome of the prediction that it is a copy of.

A pair is appended at the later of two events, each of which happens once: an answer is appended to the log, and a copy
is kept for the first time. So it is there once, in whatever order they come, without any mark of its own.
"""

from typing import Final

import msgspec
from leadline_wire import ledger, predictions

from leadline_ledger.sqlite import transaction

_outcome: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode


def check(copied: ledger.Copied) -> None:
    """Read the words of a copy.

    Raises:
        BadWordError: They are none.
    """
    predictions.split(copied.predictions)
    predictions.split(copied.other_predictions)


def after_outcome(
    work: transaction.Transaction, model: transaction.Model, entry: ledger.OutcomeEntry, key: bytes, expires_ms: int
) -> None:
    """Append the pairs of an outcome that was just appended, with the copies that are there."""
    if not model.copies:
        return
    rows = work.connection.execute(
        "SELECT other, revision, predictions, other_predictions FROM copies"
        " WHERE model = ? AND id = ? AND NOT complete ORDER BY other",
        (model.key, key),
    ).fetchall()
    for other, revision, words, other_words in rows:
        _append(work, model, ledger.Copied(entry.id, revision, other, words, other_words), entry, expires_ms)


def after_copy(
    work: transaction.Transaction, model: transaction.Model, copied: ledger.Copied, key: bytes, expires_ms: int
) -> None:
    """Append the pairs of a copy that was just kept, with the outcomes that are in the log."""
    rows = work.connection.execute(
        "SELECT log.body, answers.expires_ms FROM answers JOIN log ON log.seq = answers.seq"
        " WHERE answers.model = ? AND answers.id = ? AND answers.seq > 0 ORDER BY answers.row",
        (model.key, key),
    ).fetchall()
    for body, answer_expires_ms in rows:
        _append(work, model, copied, _outcome(body), max(expires_ms, answer_expires_ms))


def without_outcome(
    work: transaction.Transaction, model: transaction.Model, copied: ledger.Copied, expires_ms: int
) -> None:
    """Append the pairs of a copy whose original nobody got: the rows of the other answer, or one where it has none."""
    for row, word in sorted(predictions.split(copied.other_predictions).items()):
        pair = ledger.PairEntry(
            seq=work.head + 1,
            model=model.name,
            id=copied.id,
            row=row,
            revision=copied.revision,
            prediction=copied.predictions,
            other=copied.other,
            other_prediction=word,
            came_at_ms=work.now_ms,
        )
        work.append(model, pair, expires_ms=expires_ms)


def word_of(words: str, row: int) -> str:
    """Return the word of a row; one that stands for no usable answer counts for all rows; empty: it has none."""
    if predictions.is_failure(words) and "~" not in words:
        return words
    return predictions.split(words).get(row, "")


def _append(
    work: transaction.Transaction,
    model: transaction.Model,
    copied: ledger.Copied,
    outcome: ledger.OutcomeEntry,
    expires_ms: int,
) -> None:
    if outcome.wanted and outcome.wanted != copied.other:
        return  # asked for because another pair differed: it would be a choice of this one's
    word, other_word = word_of(copied.predictions, outcome.row), word_of(copied.other_predictions, outcome.row)
    if not word or not other_word:
        return
    pair = ledger.PairEntry(
        seq=work.head + 1,
        model=model.name,
        id=copied.id,
        row=outcome.row,
        revision=copied.revision,
        prediction=word,
        other=copied.other,
        other_prediction=other_word,
        came_at_ms=outcome.came_at_ms,
        truth=outcome.truth,
        correct=outcome.correct,
        score=outcome.score,
        share=outcome.share,
        entity=outcome.entity,
        repeats=work.repeats(model, outcome.entity, copied.revision, copied.other, expires_ms=expires_ms),
        agreements=outcome.agreements,
    )
    work.append(model, pair, expires_ms=expires_ms)

"""Pairs: a copy meets the outcome of the prediction that it is a copy of.

A pair is appended at the later of two events, each of which happens once: an answer is appended to the log, and a copy
is kept for the first time. So it is there once, in whatever order they come, without any mark of its own. Rows of one
prediction whose pairs come at once are one pair, as in `appending`.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from leadline_wire import ledger, predictions

from leadline_ledger.bookkeeping import transaction

_outcome: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode


def check(copied: ledger.Copied) -> None:
    """Read the words of a copy.

    Raises:
        BadWordError: They are none.
    """
    predictions.split(copied.predictions)
    predictions.split(copied.other_predictions)


def after_outcomes(
    work: transaction.Transaction,
    model: transaction.Model,
    entries: Sequence[ledger.OutcomeEntry],
    key: bytes,
    expires_ms: int,
    *,
    repeats: bool,
) -> None:
    """Append the pairs of outcomes that were just appended, with the copies that are there.

    Args:
        work: The transaction.
        model: Whose.
        entries: Rows of one prediction.
        key: Id of the prediction.
        expires_ms: When its entries may go.
        repeats: That other rows of it are in the log already, so that these are no evidence.
    """
    if not model.copies or not entries:
        return
    for other, revision, words, other_words in work.copies(model, key):
        copied = ledger.Copied(entries[0].id, revision, other, words, other_words)
        _append(work, model, copied, entries, expires_ms, repeats=repeats)


def after_copy(
    work: transaction.Transaction, model: transaction.Model, copied: ledger.Copied, key: bytes, expires_ms: int
) -> None:
    """Append the pairs of a copy that was just kept, with the outcomes that are in the log."""
    rows = [each for each in work.answers(model, key) if each.seq and each.body is not None]
    if rows:
        entries = [_outcome(each.body) for each in rows if each.body is not None]
        _append(work, model, copied, entries, max(expires_ms, *(each.expires_ms for each in rows)), repeats=False)


def without_outcome(
    work: transaction.Transaction, model: transaction.Model, copied: ledger.Copied, expires_ms: int
) -> None:
    """Append the pairs of a copy whose original nobody got: the rows of the other answer, or one where it has none."""
    words = sorted(predictions.split(copied.other_predictions).items())
    for left, (row, word) in zip(range(len(words) - 1, -1, -1), words, strict=True):
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
            more=left,
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
    outcomes: Sequence[ledger.OutcomeEntry],
    expires_ms: int,
    *,
    repeats: bool,
) -> None:
    """Append the pairs of one copy: rows that were wanted each alone, the others together."""
    both: list[tuple[ledger.OutcomeEntry, str, str]] = []
    for outcome in outcomes:
        if outcome.wanted and outcome.wanted != copied.other:
            continue  # asked for because another pair differed: it would be a choice of this one's
        word, other_word = word_of(copied.predictions, outcome.row), word_of(copied.other_predictions, outcome.row)
        if word and other_word:
            both.append((outcome, word, other_word))
    whole = [each for each in both if not each[0].wanted]
    for group in ([each] for each in both if each[0].wanted):
        _append_group(work, model, copied, group, expires_ms, repeats=repeats)
        repeats = True
    if whole:
        _append_group(work, model, copied, whole, expires_ms, repeats=repeats)


def _append_group(
    work: transaction.Transaction,
    model: transaction.Model,
    copied: ledger.Copied,
    group: Sequence[tuple[ledger.OutcomeEntry, str, str]],
    expires_ms: int,
    *,
    repeats: bool,
) -> None:
    entity = group[0][0].entity
    known = work.repeats(model, entity, copied.revision, copied.other, expires_ms=expires_ms)
    for left, (outcome, word, other_word) in zip(range(len(group) - 1, -1, -1), group, strict=True):
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
            repeats=repeats or known,
            agreements=outcome.agreements,
            more=left,
            source=outcome.source,
        )
        work.append(model, pair, expires_ms=expires_ms)

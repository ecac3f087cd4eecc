"""What a runtime brings: answers, predictions under the client's id, copies; each is taken in once.

An answer that is judged as it comes goes on to `appending`; one with a maturity waits for `maturing`. The first answer to
an id and row stays, whatever comes later. Must not know how rows are kept.
"""

import re
from typing import Final

import msgspec
from leadline_wire import ledger, predictions

from leadline_ledger import errors
from leadline_ledger.bookkeeping import appending, labelling, pairing, quotas, transaction

_ID: Final = re.compile(r"[0-9a-f]{32}")
_ROW_MAX: Final = (1 << 31) - 1
_AGE_MAX_MS: Final = 100 * 365 * 86_400_000
CORRECTIONS_MAX: Final = 16
"""Different other answers kept per id and row: one client could send as many as there are numbers."""
TOO_LATE: Final = 0
"""`Answer.seq` of an answer that is never judged."""
_stored: Final = msgspec.json.Decoder(ledger.Stored).decode
_entry: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode


def check(intake: ledger.Intake) -> None:
    """Look at all that needs no database, so that nothing is half taken in.

    Raises:
        BadInputError: Something cannot be meant; the message names which.
        TooLargeError: There is too much.
    """
    count = len(intake.outcomes) + len(intake.predictions) + len(intake.copies) + len(intake.labelled)
    if count > ledger.INTAKE_ITEMS_MAX:
        raise errors.TooLargeError(f"intake of {count} items, expected at most {ledger.INTAKE_ITEMS_MAX}")
    for place, outcome in enumerate(intake.outcomes):
        _check_outcome(f"outcomes[{place}]", outcome)
    for place, labelled in enumerate(intake.labelled):
        where = f"labelled[{place}]"
        _check_id(where, labelled.id)
        if labelled.outcome is not None:
            _check_outcome(f"{where}.outcome", labelled.outcome)
        if labelled.copied is not None:
            _check_copy(f"{where}.copied", labelled.copied)
        parts = (labelled.outcome, labelled.copied)
        if any(part is not None and part.id != labelled.id for part in parts):
            raise errors.BadInputError(f"{where}: expected the label's own id in outcome and copy")
    for place, stored in enumerate(intake.predictions):
        where = f"predictions[{place}]"
        _check_id(where, stored.id)
        _check_age(f"{where}.max_age_ms", stored.max_age_ms)
        if not stored.client_id:
            raise errors.BadInputError(f"{where}.client_id: expected the client's request id, got none")
        try:
            predictions.split(stored.predictions)
        except predictions.BadWordError as error:
            raise errors.BadInputError(f"{where}.predictions: {error}") from error
    for place, copied in enumerate(intake.copies):
        _check_copy(f"copies[{place}]", copied)


def _check_outcome(where: str, outcome: ledger.Outcome) -> None:
    if outcome.id or not outcome.client_id:
        _check_id(where, outcome.id)
    if (outcome.truth != "") + (outcome.correct is not None) + (outcome.score is not None) != 1:
        raise errors.BadInputError(f"{where}: expected exactly one of truth, correct and score")
    if not 0 <= outcome.row <= _ROW_MAX:
        raise errors.BadInputError(f"{where}.row: expected 0 to {_ROW_MAX}, got {outcome.row}")
    if not 0 <= outcome.agreements <= (ledger.AGREEMENTS_MAX if outcome.wanted else 0):
        raise errors.BadInputError(
            f"{where}.agreements: expected 0 to {ledger.AGREEMENTS_MAX:.0f}, with wanted; got {outcome.agreements}"
        )
    if len(outcome.source) > ledger.SOURCE_CHARACTERS_MAX or outcome.per_hour < 0:
        raise errors.BadInputError(
            f"{where}: expected a source of at most {ledger.SOURCE_CHARACTERS_MAX} characters, and 0 or more per_hour"
        )
    _check_age(f"{where}.maturity_ms", outcome.maturity_ms)
    _check_age(f"{where}.max_age_ms", outcome.max_age_ms)


def _check_copy(where: str, copied: ledger.Copied) -> None:
    _check_id(where, copied.id)
    _check_age(f"{where}.max_age_ms", copied.max_age_ms)
    try:
        pairing.check(copied)
    except predictions.BadWordError as error:
        raise errors.BadInputError(f"{where}: {error}") from error


def take(work: transaction.Transaction, name: str, intake: ledger.Intake) -> list[ledger.Fate]:
    """Take in what was checked; return what became of the outcomes."""
    model = work.model(name)
    for stored in intake.predictions:
        _keep_prediction(work, model, stored)
    for copied in intake.copies:
        _keep_copy(work, model, copied)
    due: dict[tuple[bytes, int], appending.Due] = {}
    hour = quotas.read(model.taken, work.now_ms)
    fates = [_answer(work, model, outcome, due, hour) for outcome in intake.outcomes]
    for labelled in intake.labelled:
        _label(work, model, labelled, due, hour)
    _append(work, due)
    model.taken = hour.text
    work.counts.fates.update(fates)
    if model.copies > work.limits.copies_max:
        work.evict_copies(model, model.copies - work.limits.copies_max)
    if model.predictions > work.limits.predictions_max:
        work.evict_predictions(model, model.predictions - work.limits.predictions_max)
    return fates


def predicted_at_ms(key: bytes) -> int:
    """Return when a prediction was made, from its UUIDv7."""
    return int.from_bytes(key[:6], "big")


def _label(
    work: transaction.Transaction,
    model: transaction.Model,
    labelled: ledger.Labelled,
    due: dict[tuple[bytes, int], appending.Due],
    hour: quotas.Hour,
) -> None:
    """Let a labelled row count, where it still waited."""
    if not labelling.settle(work, model, labelled):
        return
    if labelled.copied is not None:
        # Not by the floor of copies: that a row is settled once says already that it counts once.
        _keep_copy(work, model, labelled.copied, by_floor=False)
    if labelled.outcome is not None:
        work.counts.fates[_answer(work, model, labelled.outcome, due, hour)] += 1


def _check_id(where: str, text: str) -> None:
    if not _ID.fullmatch(text):
        raise errors.BadInputError(f"{where}.id: expected 32 lowercase hexadecimal digits, got {text[:80]!r}")


def _check_age(where: str, milliseconds: int) -> None:
    if not 0 <= milliseconds <= _AGE_MAX_MS:
        raise errors.BadInputError(f"{where}: expected 0 to {_AGE_MAX_MS}, got {milliseconds}")


def _answer(
    work: transaction.Transaction,
    model: transaction.Model,
    outcome: ledger.Outcome,
    due: dict[tuple[bytes, int], appending.Due],
    hour: quotas.Hour,
) -> ledger.Fate:
    """Take one answer in, or put it among those that are due; return what became of it."""
    identified = outcome if outcome.id else _identified(work, model, outcome)
    if identified is None:
        return "UnknownId"
    key = bytes.fromhex(identified.id)
    predicted_ms = predicted_at_ms(key)
    answer = _text(identified)
    waits = due.get((key, identified.row))
    if waits is not None and waits.entry.wanted and not outcome.wanted:
        _append(work, due)  # it must be in the log to be there a second time
        waits = None
    found = (waits.answer, None) if waits is not None else work.answer(model, key, identified.row)
    if found is not None:
        if found[0] != answer:
            work.add_correction(model, key, identified.row, answer, most=CORRECTIONS_MAX)
            return "Conflict"
        if waits is None and not outcome.wanted and _comes_by_itself(work, model, identified, found[1], due):
            return "Accepted"
        return "TooLate" if found[1] == TOO_LATE else "Duplicate"
    expires_ms = predicted_ms + identified.max_age_ms
    if expires_ms < work.now_ms or key <= model.answers_floor:
        return "Expired"
    if outcome.per_hour and not hour.takes(outcome.source, outcome.per_hour):
        return "OverQuota"
    matures_ms = predicted_ms + identified.maturity_ms if identified.maturity_ms else None
    entry = ledger.OutcomeEntry(
        seq=0,
        model=model.name,
        id=identified.id,
        row=identified.row,
        revision=identified.revision,
        prediction=identified.prediction,
        came_at_ms=work.now_ms,
        truth=identified.truth,
        correct=identified.correct,
        score=identified.score,
        share=identified.share,
        entity=identified.entity,
        tags=identified.tags,
        wanted=identified.wanted,
        agreements=identified.agreements,
        client_id=outcome.client_id,
        source=outcome.source,
    )
    if matures_ms is None:
        due[key, identified.row] = appending.Due(model, key, entry, expires_ms, answer)
        return "Accepted"
    seq = TOO_LATE if matures_ms <= work.now_ms else None
    work.add_answer(
        model,
        key,
        identified.row,
        answer,
        seq=seq,
        matures_ms=matures_ms,
        expires_ms=expires_ms,
        body=transaction.encode(entry),
    )
    return "TooLate" if seq == TOO_LATE else "Accepted"


def _append(work: transaction.Transaction, due: dict[tuple[bytes, int], appending.Due]) -> None:
    """Append what is due, and remember where it stands in the log."""
    for each, seq in appending.append(work, due.values()):
        if each.is_paired:
            work.place_answer(each.model, each.key, each.entry.row, seq)
        else:
            work.add_answer(each.model, each.key, each.entry.row, each.answer, seq=seq, expires_ms=each.expires_ms)
    due.clear()


def _comes_by_itself(
    work: transaction.Transaction,
    model: transaction.Model,
    outcome: ledger.Outcome,
    seq: int | None,
    due: dict[tuple[bytes, int], appending.Due],
) -> bool:
    """Let an answer that was wanted count as any other, now that it came by itself, too; tell whether that was so.

    Else those inputs on which revisions differ, the hard ones, would be missing among a revision's outcomes. Where its pair
    is in the log already it stays the only one.

    Args:
        work: The transaction.
        model: Whose.
        outcome: Without `wanted`.
        seq: Where the answer stands in the log; None: it still matures.
        due: Those that come into the log now.
    """
    key = bytes.fromhex(outcome.id)
    if seq == TOO_LATE or (seq is not None and outcome.maturity_ms):
        return False
    found = next((each for each in work.answers(model, key) if each.row == outcome.row), None)
    entry = _entry(found.body) if found is not None and found.body is not None else None
    if found is None or entry is None or not entry.wanted:
        return False
    if seq is None:
        body = transaction.encode(msgspec.structs.replace(entry, wanted="", agreements=0.0))
        work.change_answer(model, key, outcome.row, body)
        return True
    again = msgspec.structs.replace(entry, came_at_ms=work.now_ms, wanted="", agreements=0.0)
    due[key, outcome.row] = appending.Due(model, key, again, found.expires_ms, _text(outcome), is_paired=True)
    return True


def _identified(
    work: transaction.Transaction, model: transaction.Model, outcome: ledger.Outcome
) -> ledger.Outcome | None:
    """Return an outcome with what is kept under the client's id; None: nothing is."""
    body = work.prediction(model, outcome.client_id)
    if body is None:
        return None
    stored = _stored(body)
    word = pairing.word_of(stored.predictions, outcome.row)
    if not word:
        return None
    return msgspec.structs.replace(
        outcome,
        id=stored.id,
        revision=stored.revision,
        prediction=word,
        share=stored.share,
        entity=stored.entity,
        tags=stored.tags,
    )


def _text(outcome: ledger.Outcome) -> str:
    """Return an answer as it is compared with another one."""
    if outcome.truth:
        return f"t{outcome.truth}"
    return f"c{int(outcome.correct)}" if outcome.correct is not None else f"s{outcome.score!r}"


def _keep_prediction(work: transaction.Transaction, model: transaction.Model, stored: ledger.Stored) -> None:
    key = bytes.fromhex(stored.id)
    expires_ms = predicted_at_ms(key) + stored.max_age_ms
    if key <= model.predictions_floor or expires_ms < work.now_ms:
        return
    # A retried request has the same client id and another id: the first one stays, so its answer counts once.
    model.predictions += work.add_prediction(model, stored.client_id, key, expires_ms, transaction.encode(stored))


def _keep_copy(
    work: transaction.Transaction, model: transaction.Model, copied: ledger.Copied, *, by_floor: bool = True
) -> None:
    key = bytes.fromhex(copied.id)
    expires_ms = predicted_at_ms(key) + copied.max_age_ms
    if (by_floor and key <= model.copies_floor) or expires_ms < work.now_ms:
        return
    complete = predictions.is_failure(copied.predictions) and "~" not in copied.predictions
    if not work.add_copy(model, copied, key, expires_ms, complete=complete):
        return
    model.copies += 1
    if complete:
        pairing.without_outcome(work, model, copied, expires_ms)
    else:
        pairing.after_copy(work, model, copied, key, expires_ms)

"""Labelled rows: kept once each by the hash of their inputs, and counted once each when a runtime has answered them.

The first truth of a row stays. Its id has the time at which it was first kept and the begin of the hash, so that all that
follows from it has the same name, however often it is told. What a runtime brings for a row counts in the transaction that
settles it, and only there: two pods that answer the same row make one outcome and one pair.

Must not know how rows are kept.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from leadline_wire import ledger, predictions

from leadline_ledger import errors, store
from leadline_ledger.bookkeeping import transaction

_KEEP_MS: Final = 30 * 86_400_000
"""How long the log says who brought rows; it is no decision, so it goes when it is old."""
_fate: Final = msgspec.json.Decoder(ledger.LabelFate).decode


def take(
    work: transaction.Transaction, name: str, rows: Sequence[store.LabelledRow], *, user: str
) -> ledger.LabelsAnswer:
    """Keep labelled rows that are new.

    Raises:
        FullError: Too many wait to be answered.
    """
    model = work.model(name)
    known = work.label_truths(model, [row.hash for row in rows])
    waiting = work.waiting_labels(model)
    new: list[transaction.LabelRow] = []
    duplicates, conflicts = 0, []
    for number, row in enumerate(rows, 1):
        truth = _text(row.truth)
        if row.hash not in known:
            known[row.hash] = truth
            key = work.now_ms.to_bytes(6, "big") + row.hash[:10]
            body = transaction.encode(ledger.Label(key.hex(), row.inputs, row.truth))
            new.append(transaction.LabelRow(row.hash, key, truth, body))
        elif known[row.hash] == truth:
            duplicates += 1
        else:
            conflicts.append(number)
    if waiting + len(new) > ledger.LABELS_WAITING_MAX:
        raise errors.FullError(
            f"{waiting} labelled rows of {name} wait to be answered, limit {ledger.LABELS_WAITING_MAX}; nothing of this "
            "call was kept, bring it again once fewer wait"
        )
    if new:
        work.add_labels(model, new)
        entry = ledger.DecisionEntry(
            seq=work.head + 1,
            model=name,
            id=f"labelled/{new[0].id.hex()}",
            kind=ledger.LABELLED,
            revision="",
            at_ms=work.now_ms,
            data={"rows": str(len(new)), "user": user[:256]},
        )
        work.append(model, entry, expires_ms=work.now_ms + _KEEP_MS)
    return ledger.LabelsAnswer(len(new), duplicates, conflicts, waiting + len(new))


def settle(work: transaction.Transaction, model: transaction.Model, labelled: ledger.Labelled) -> bool:
    """Note what became of a row; tell whether its outcome counts: it waited until now, and was not refused."""
    outcome = labelled.outcome
    if outcome is not None and int(labelled.id[:12], 16) + outcome.max_age_ms < work.now_ms:
        labelled = ledger.Labelled(labelled.id, refused="waited for longer than spec.outcomes.maxAge")
    counts = work.settle_label(model, bytes.fromhex(labelled.id), transaction.encode(_fate_of(labelled)).decode())
    return counts and labelled.outcome is not None


def state(found: Iterable[tuple[str | None, int]]) -> ledger.LabelsState:
    """Return how far labelled rows are, by how many had which fate; None: they wait."""
    waiting, counted = 0, []
    for fate, rows in found:
        if fate is None:
            waiting = rows
        else:
            counted.append(ledger.LabelCount(rows, _fate(fate)))
    return ledger.LabelsState(waiting, counted)


def _fate_of(labelled: ledger.Labelled) -> ledger.LabelFate:
    outcome, copied = labelled.outcome, labelled.copied
    if outcome is None:
        return ledger.LabelFate(refused=labelled.refused[:300] or "refused")
    right = _right(outcome.prediction, outcome.truth)
    if copied is None:
        return ledger.LabelFate(outcome.revision, right)
    return ledger.LabelFate(outcome.revision, right, copied.other, _right(copied.other_predictions, outcome.truth))


def _right(word: str, truth: str) -> bool | None:
    if truth.startswith("v") and not predictions.is_failure(word):
        return None
    loss = predictions.loss(word, truth=truth)
    return None if loss is None else loss == 0.0


def _text(truth: ledger.Plain) -> str:
    """Return a truth as it is compared with another one: 7 and 7.0 are the same."""
    if isinstance(truth, float) and truth.is_integer():
        truth = int(truth)
    return f"{type(truth).__name__}:{truth!r}"

"""Answers whose maturity has passed, decisions and checkpoints: what comes into the log other than by `taking`.

Maturity: answers are appended in the order (time of prediction + maturity, id, row). An answer that comes at or after
its own time is too late, so nothing can come that belongs before what was appended; `writer` sees to it that the clock
of transactions never runs behind the last time that was judged.
"""

from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import errors
from leadline_ledger.bookkeeping import appending, transaction

BATCH: Final = 1_000
"""Answers per transaction: a few tens of milliseconds, so that intake is not held up."""
_outcome: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode


def judge(work: transaction.Transaction) -> int:
    """Append some `BATCH` answers whose time has come; return how many."""
    rows = work.due(BATCH)
    due = [appending.Due(work.model(each.model), each.id, _outcome(each.body), each.expires_ms) for each in rows]
    for each, seq in appending.append(work, due):
        work.place_answer(each.model, each.key, each.entry.row, seq)
    if rows:
        work.judged(rows[-1].matures_ms)
    return len(rows)


def decide(work: transaction.Transaction, name: str, decision: ledger.Decision) -> ledger.Decided:
    """Append a decision; one that was told before stands where it stood."""
    model = work.model(name)
    found = work.decision(model, decision.id)
    if found is not None:
        return ledger.Decided(seq=found, new=False)
    entry = ledger.DecisionEntry(
        seq=work.head + 1,
        model=name,
        id=decision.id,
        kind=decision.kind,
        revision=decision.revision,
        at_ms=decision.at_ms,
        other=decision.other,
        data=decision.data,
    )
    work.append(model, entry, expires_ms=None)
    work.add_decision(model, decision.id, work.head)
    return ledger.Decided(seq=work.head, new=True)


def keep(work: transaction.Transaction, name: str, checkpoint: ledger.Checkpoint) -> None:
    """Keep a checkpoint in place of the one before.

    Raises:
        StaleError: Its cursor is older than that of the one kept, or beyond the log.
    """
    if checkpoint.cursor > work.head:
        raise errors.StaleError(f"checkpoint at {checkpoint.cursor} is beyond the newest entry {work.head}")
    model = work.model(name)
    cursor = work.cursor(model)
    if cursor is not None and checkpoint.cursor < cursor:
        raise errors.StaleError(f"checkpoint at {checkpoint.cursor} is older than the one kept, at {cursor}")
    work.set_checkpoint(model, checkpoint)

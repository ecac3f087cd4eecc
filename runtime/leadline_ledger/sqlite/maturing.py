"""Answers whose maturity has passed, decisions and checkpoints: what comes into the log other than by `taking`.

Maturity: answers are appended in the order (time of prediction + maturity, id, row). An answer that comes at or after
its own time is too late, so nothing can come that belongs before what was appended; `writer` sees to it that the clock
of transactions never runs behind the last time that was judged.
"""

from typing import Final

import msgspec
from leadline_wire import ledger

from leadline_ledger import errors
from leadline_ledger.sqlite import appending, transaction

BATCH: Final = 1_000
"""Answers per transaction: a few tens of milliseconds, so that intake is not held up."""
HORIZON: Final = "judged_to_ms"
"""Key in `meta`: up to when answers have been judged."""
_outcome: Final = msgspec.json.Decoder(ledger.OutcomeEntry).decode
_DUE: Final = (
    "SELECT models.name, answers.model, answers.id, answers.row, answers.body, answers.matures_ms, answers.expires_ms"
    " FROM answers JOIN models ON models.key = answers.model"
)


def judge(work: transaction.Transaction) -> int:
    """Append some `BATCH` answers whose time has come; return how many."""
    rows = work.connection.execute(
        f"{_DUE} WHERE answers.seq IS NULL AND answers.matures_ms <= ?"
        " ORDER BY answers.matures_ms, answers.id, answers.row LIMIT ?",
        (work.now_ms, BATCH),
    ).fetchall()
    if len(rows) == BATCH:  # the rest of the last prediction's rows: they are one outcome
        _, model_key, key, row, _, matures_ms, _ = rows[-1]
        rows += work.connection.execute(
            f"{_DUE} WHERE answers.model = ? AND answers.id = ? AND answers.row > ? AND answers.seq IS NULL"
            " AND answers.matures_ms = ? ORDER BY answers.row",
            (model_key, key, row, matures_ms),
        ).fetchall()
    due = [
        appending.Due(work.model(name), key, _outcome(body), expires_ms)
        for name, _, key, _, body, _, expires_ms in rows
    ]
    for each, seq in appending.append(work, due):
        work.connection.execute(
            "UPDATE answers SET seq = ?, body = NULL WHERE model = ? AND id = ? AND row = ?",
            (seq, each.model.key, each.key, each.entry.row),
        )
    if rows:
        work.connection.execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = max(value, ?2)",
            (HORIZON, rows[-1][5]),
        )
    return len(rows)


def decide(work: transaction.Transaction, name: str, decision: ledger.Decision) -> ledger.Decided:
    """Append a decision; one that was told before stands where it stood."""
    model = work.model(name)
    found = work.connection.execute(
        "SELECT seq FROM decisions WHERE model = ? AND id = ?", (model.key, decision.id)
    ).fetchone()
    if found is not None:
        return ledger.Decided(seq=found[0], new=False)
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
    work.connection.execute(
        "INSERT INTO decisions (model, id, seq) VALUES (?, ?, ?)", (model.key, decision.id, work.head)
    )
    return ledger.Decided(seq=work.head, new=True)


def keep(work: transaction.Transaction, name: str, checkpoint: ledger.Checkpoint) -> None:
    """Keep a checkpoint in place of the one before.

    Raises:
        StaleError: Its cursor is older than that of the one kept, or beyond the log.
    """
    if checkpoint.cursor > work.head:
        raise errors.StaleError(f"checkpoint at {checkpoint.cursor} is beyond the newest entry {work.head}")
    model = work.model(name)
    found = work.connection.execute("SELECT cursor FROM checkpoints WHERE model = ?", (model.key,)).fetchone()
    if found is not None and checkpoint.cursor < found[0]:
        raise errors.StaleError(f"checkpoint at {checkpoint.cursor} is older than the one kept, at {found[0]}")
    work.connection.execute(
        "INSERT INTO checkpoints (model, cursor, state) VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET cursor = ?2, state = ?3",
        (model.key, checkpoint.cursor, checkpoint.state),
    )

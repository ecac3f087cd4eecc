"""What window rules of others would have done with the same outcomes, revision by revision.

Such rules hold a revision's outcomes against one number: the accuracy of the revision before it, over all outcomes that
it had had; where that had fewer than 100, against the revision's own first 100, and judge those that follow. The
rules themselves are in `leadline_stats.window_rules`. Next step: `replay_text`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from leadline_stats import window_rules
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry

from leadline_cli.agreeing import Row

REFERENCE_OUTCOMES: Final = 100
"""Fewest outcomes that such a rule's reference is made of here."""


@dataclass(frozen=True, slots=True)
class Life:
    """Outcomes of one revision since it first got the traffic, and when each rule would have ended it."""

    revision: str
    since_ms: int
    outcomes: int
    accuracy: float | None
    """None before the first outcome."""
    reference: float | None
    """None: there were too few outcomes to make one."""
    is_own: bool
    """Whether the reference is of its own first outcomes."""
    rules: tuple[int, ...]
    """Number of the outcome at which each of `window_rules.RULES` rolls it back, where the first is 1; 0: never."""
    ours: int | None
    """The same of the decision in the log; None: it was not rolled back by outcomes."""


def lives(entries: Sequence[Entry], rows: Sequence[Row]) -> list[Life]:
    """Return the life of each revision that served, in the order in which they first did.

    Args:
        entries: The log; outcomes must be right or wrong, others are left out.
        rows: What `agreeing` says of it.
    """
    losses: dict[str, list[tuple[int, float]]] = {}
    began: dict[str, tuple[DecisionEntry, str]] = {}
    for entry in entries:
        if isinstance(entry, OutcomeEntry) and not entry.wanted:
            loss = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
            if loss in (0.0, 1.0):
                losses.setdefault(entry.revision, []).append((entry.seq, loss))
        elif isinstance(entry, DecisionEntry) and entry.kind == "Promoted":
            began.setdefault(entry.revision, (entry, entry.other))
    found = []
    for revision, (promoted, before) in began.items():
        since = [(seq, loss) for seq, loss in losses.get(revision, ()) if seq > promoted.seq]
        previous = [loss for seq, loss in losses.get(before, ()) if seq < promoted.seq]
        ended = _ended(revision, rows)
        ours = sum(seq <= ended for seq, _ in since) if ended is not None else None
        found.append(life(revision, promoted.at_ms, [loss for _, loss in since], previous, ours=ours))
    return found


def _ended(revision: str, rows: Sequence[Row]) -> int | None:
    """Return the entry that decided against a revision which was rolled back by outcomes."""
    crossings = [row.crossing for row in rows if row.what == "RolledBack" and row.revision == revision]
    return next((crossing.seq for crossing in crossings if crossing is not None), None)


def life(revision: str, since_ms: int, losses: Sequence[float], previous: Sequence[float], *, ours: int | None) -> Life:
    """Return the life of a revision.

    Args:
        revision: Its name.
        since_ms: When it first got the traffic.
        losses: Of its outcomes since, each 0 or 1.
        previous: Of the revision before it, up to then.
        ours: Number of the outcome that decided against it; None: it was not rolled back by outcomes.
    """
    is_own = len(previous) < REFERENCE_OUTCOMES
    passed = REFERENCE_OUTCOMES if is_own else 0
    reference = answers_reference(losses[:passed] if is_own else previous)
    numbers = fired(losses[passed:], reference)
    return Life(
        revision=revision,
        since_ms=since_ms,
        outcomes=len(losses),
        accuracy=1 - sum(losses) / len(losses) if losses else None,
        reference=reference,
        is_own=is_own,
        rules=tuple(number + passed if number else 0 for number in numbers),
        ours=ours,
    )


def fired(losses: Sequence[float], reference: float | None, *, margin: float = window_rules.MARGIN) -> tuple[int, ...]:
    """Return at which outcome each of `window_rules.RULES` fires, where the first is 1; 0: never.

    Args:
        losses: Each 0 or 1.
        reference: Accuracy that they are held against; None: there is none, and nothing fires.
        margin: By which a window's accuracy may be below it.
    """
    if reference is None or not len(losses):
        return (0,) * len(window_rules.RULES)
    return tuple(int(rule(np.array([losses]), reference, margin)[0]) for rule in window_rules.RULES.values())


def answers_reference(losses: Sequence[float]) -> float | None:
    """Return the accuracy that outcomes make, in (0, 1); None: they are too few.

    Half an outcome off where all were right, or all wrong, for a test divides by it.
    """
    if len(losses) < REFERENCE_OUTCOMES:
        return None
    half = 0.5 / len(losses)
    return min(max(1 - sum(losses) / len(losses), half), 1 - half)

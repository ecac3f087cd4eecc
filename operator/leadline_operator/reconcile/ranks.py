"""Scores that wait to be ranked against others, and the losses of those that were: what AUC is made of.

A positive is held against negatives of the same revision, or pair of revisions, that came before or after it, each used once
(`leadline_stats.ranking`). Must not know what a metric tolerates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leadline_stats import ranking

Subject = tuple[str, str]
"""A revision and the one that it is compared with; empty: none, its own outcomes."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one input says by its scores."""

    scores: tuple[float, ...]
    """Of the judged revision, and of the other one where there is a pair; -inf for a positive and inf for a negative of one that
    failed: it outranks nothing, and is outranked by nothing."""
    is_positive: bool
    seq: int
    came_ms: int = 0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A positive that was held against negatives."""

    losses: tuple[float, ...]
    """Shares of negatives that it does not outrank, as `Scored.scores` are ordered."""
    by: Scored
    """The input with which it could be."""


Ranks = Mapping[Subject, ranking.Waiting]


def fold(waiting: Ranks, gathered: Mapping[Subject, Sequence[Scored]]) -> tuple[Ranks, dict[Subject, list[Ranked]]]:
    """Return what waits now, and the losses of the positives that could be ranked, each where it was."""
    left, found = dict(waiting), dict[Subject, list[Ranked]]()
    for subject, rows in gathered.items():
        scores, true = [row.scores for row in rows], [row.is_positive for row in rows]
        left[subject], losses, places = ranking.fold(left.get(subject, ranking.EMPTY), scores, true)
        found[subject] = [Ranked(tuple(loss), rows[place]) for loss, place in zip(losses.tolist(), places, strict=True)]
    return left, found


def without(waiting: Ranks, revision: str, other: str | None = None) -> Ranks:
    """Return what waits but for what is about a revision, or about it beside another one."""
    return {
        subject: each
        for subject, each in waiting.items()
        if subject[0] != revision or (other is not None and subject[1] != other)
    }

"""What the ledger would have held of a history: terms, promotions, outcomes and pairs, in one order.

A revision is promoted with its first row, in the place of the one that answered most of the 100 rows before. Its rows
count for it wherever they stand, so that revisions may overlap or share the traffic. Where that one would have been rolled
back by then, its own predecessor served. Rows with one id, answered by two revisions, are a pair as well. Outcomes come so long after the prediction as the maturity says.

Next step: `history_replay` folds them as the operator does. Must not weigh anything.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from leadline_operator.reconcile.terms import Terms, data_of
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry

from leadline_cli import history_values
from leadline_cli.histories import History, IntArray

MODEL: Final = "history/model"
STRETCH: Final = 20_000
"""Rows whose entries are in memory at the same time."""
_BEFORE_ROWS: Final = 100
_PAIRED_WITH: Final = 3
"""Revisions promoted before one with whose answer to the same id its own is compared."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A revision's first row."""

    revision: int
    """Its place in the history's names."""
    before: int
    """Whose traffic it took; -1: nobody's."""
    at_ms: int
    place: int
    """Of the first outcome that came after it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of a history's rows."""

    history: History
    """Without the rows that do not count."""
    known_ms: IntArray
    """Shape (n,): when each outcome came."""
    promotions: tuple[Promotion, ...]
    pairs: IntArray
    """Shape (m, 2): places of the later row of a pair and of the earlier one, in the order in which they came."""
    notes: tuple[str, ...]


def plan(history: History, *, maturity_ms: int) -> Plan:
    """Return what counts, who was promoted when, and which rows are pairs."""
    history, notes = _once(history)
    known = history.times_ms + maturity_ms
    pairs, contradicting = _pairs(history)
    if contradicting:
        notes.append(f"{contradicting:,} times the rows of one id have different true answers: they are no pairs")
    return Plan(history, known, _promotions(history, known), pairs, tuple(notes))


def stretches(
    planned: Plan, terms: Terms, rows: array[int], before: Callable[[Promotion], int]
) -> Iterator[list[Entry]]:
    """Yield the entries, some at a time.

    Args:
        planned: What becomes of the rows.
        terms: What they are to be judged by.
        rows: Is filled: the place of the row that each entry is of, by seq - 1; -1 for decisions.
        before: Whose traffic a revision would have taken; is asked when all entries before its promotion have been taken.
    """
    history = planned.history
    word: Callable[[Any], str] = history_values.word if history.classes is None else history.classes.words.__getitem__
    names = history.revision_names
    first_ms = int(history.times_ms[0])
    stretch: list[Entry] = [DecisionEntry(1, MODEL, "terms", "Terms", "", first_ms, data=data_of((terms,)))]
    rows.append(-1)
    waiting = list(reversed(planned.promotions))
    paired = 0
    laters = planned.pairs[:, 0]
    for low in range(0, len(history.rows), STRETCH):
        high = min(low + STRETCH, len(history.rows))
        columns = (history.revisions, history.predictions, history.truths, planned.known_ms)
        pieces = [column[low:high].tolist() for column in columns]
        piece = planned.pairs[paired : paired + int(np.searchsorted(laters[paired:], high))][::-1]
        paired += len(piece)
        others = piece[:, 1]
        pairs = list(
            zip(
                piece[:, 0].tolist(),
                history.revisions[others].tolist(),
                history.predictions[others].tolist(),
                strict=True,
            )
        )
        for place, revision, predicted, true, known_ms in zip(range(low, high), *pieces, strict=True):
            while waiting and waiting[-1].place <= place:
                promoted = waiting.pop()
                if stretch:
                    yield stretch
                stretch = [_promoted(promoted, before(promoted), len(rows) + 1, names)]
                rows.append(-1)
            said, truth = word(predicted), word(true)
            stretch.append(OutcomeEntry(len(rows) + 1, MODEL, "", place, names[revision], said, known_ms, truth))
            rows.append(place)
            while pairs and pairs[-1][0] == place:
                _, beside, other = pairs.pop()
                answers = (names[revision], said, names[beside], word(other))
                stretch.append(PairEntry(len(rows) + 1, MODEL, "", place, *answers, known_ms, truth))
                rows.append(place)
        yield stretch
        stretch = []


def _promoted(promoted: Promotion, before: int, seq: int, names: Sequence[str]) -> DecisionEntry:
    name, other = names[promoted.revision], names[before] if before >= 0 else ""
    return DecisionEntry(seq, MODEL, f"promoted/{name}", "Promoted", name, promoted.at_ms, other=other)


def _once(history: History) -> tuple[History, list[str]]:
    """Return the history with one row for each request, and for each entity, of a revision."""
    notes = []
    for what in ("id", "entity"):
        column = history.ids if what == "id" else history.entities
        if column is None:
            continue
        keys = np.column_stack((history.revisions, column))
        _, first = np.unique(keys, axis=0, return_index=True)
        keep = column == 0
        keep[first] = True
        if left := int((~keep).sum()):
            notes.append(f"{left:,} later rows of the same {what} and revision are left out")
            history = _kept(history, keep)
    return history, notes


def _kept(history: History, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> History:
    return replace(
        history,
        rows=history.rows[keep],
        times_ms=history.times_ms[keep],
        revisions=history.revisions[keep],
        predictions=history.predictions[keep],
        truths=history.truths[keep],
        ids=history.ids[keep] if history.ids is not None else None,
        entities=history.entities[keep] if history.entities is not None else None,
    )


def _promotions(history: History, known_ms: IntArray) -> tuple[Promotion, ...]:
    revisions, firsts = np.unique(history.revisions, return_index=True)
    found = []
    for first in sorted(firsts.tolist()):
        at_ms = int(history.times_ms[first])
        recent = history.revisions[max(0, first - _BEFORE_ROWS) : first]
        before = int(np.bincount(recent).argmax()) if len(recent) else -1
        # What was known by then came before; of the same moment, what stands before it in the file.
        place = min(first, int(np.searchsorted(known_ms, at_ms, side="right")))
        found.append(Promotion(int(history.revisions[first]), before, at_ms, place))
    assert len(found) == len(revisions)
    return tuple(found)


def _pairs(history: History) -> tuple[IntArray, int]:
    """Return the places of pairs, and how many would have been but for two true answers to one id."""
    none = np.zeros((0, 2), dtype=np.int64)
    if history.ids is None:
        return none, 0
    _, firsts = np.unique(history.revisions, return_index=True)
    rank = np.zeros(len(history.revision_names), dtype=np.int64)
    rank[history.revisions[np.sort(firsts)]] = np.arange(len(firsts))
    order = np.lexsort((rank[history.revisions], history.ids))
    found, contradicting = [none], 0
    for step in range(1, _PAIRED_WITH + 1):
        left, right = order[:-step], order[step:]
        same = (history.ids[left] == history.ids[right]) & (history.ids[left] != 0)
        left, right = left[same], right[same]
        agree = history.truths[left] == history.truths[right]
        contradicting += int((~agree).sum())
        left, right = left[agree], right[agree]
        found.append(np.column_stack((np.maximum(left, right), np.minimum(left, right))))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], contradicting

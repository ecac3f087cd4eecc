"""Which outcomes count where no single source may decide: whose they are, and how many of each there were.

A source is who reported an outcome, as the log has it. A share limit leaves out what one source brings beyond its share of
all that count; which outcome is left out follows from how many came before it, and from nothing that it says, so the
evidence of the others is what it would be. A quorum weighs all once more without each source (`evidence`, `quorum`).

Must not weigh anything, and must not know metrics or revisions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry

NAMED_MAX: Final = 7
"""Sources that are told apart, in the order in which they first appear; all that come later are one."""
REST: Final = "all other sources"
"""How those are called."""
FREE: Final = 20
"""Outcomes, and pairs, that a source may be ahead of its share: before others have begun a share says nothing."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many outcomes, and pairs, of each source count since the terms hold."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    """By source, in the order in which they appeared; all that are told apart are in it, with 0 where none counts yet."""
    pairs: Mapping[str, int] = field(default_factory=dict)

    def name(self, source: str) -> str:
        """Return how a source is called: by itself, or as one of the rest."""
        return source if source in self.outcomes or len(self.outcomes) < NAMED_MAX else REST

    def with_names(self, names: Iterable[str]) -> "Tally":
        """Return the tally in which these sources have appeared."""
        new = {name: 0 for name in names if name not in self.outcomes}
        return Tally({**self.outcomes, **new}, self.pairs) if new else self

    def counting(self, name: str, entry: Entry, most: float) -> "Tally | None":
        """Return the tally with one more outcome or pair of a source; None: it is beyond its share, and does not count.

        Args:
            name: Of the source.
            entry: Tells an outcome from a pair.
            most: Share of all that count, in (0, 1]; 0 or 1: no limit.
        """
        counts = self.pairs if isinstance(entry, PairEntry) else self.outcomes
        count = counts.get(name, 0)
        if 0 < most < 1 and count + 1 > most * (sum(counts.values()) + 1) + FREE:
            return None
        counts = {**counts, name: count + 1}
        return Tally(self.outcomes, counts) if isinstance(entry, PairEntry) else Tally(counts, self.pairs)


EMPTY: Final = Tally()


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that stand or fall together: the rows of one prediction, or one decision."""

    entries: tuple[Entry, ...]
    names: frozenset[str]
    """Sources of which some of them are; none: a decision."""


def parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut a log where other terms may begin to hold: each part ends with a decision about them, but for the last one."""
    part: list[Entry] = []
    for entry in entries:
        part.append(entry)
        if isinstance(entry, DecisionEntry) and entry.kind == "Terms":
            yield part
            part = []
    if part:
        yield part


def grouped(entries: Iterable[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut a log into what stands or falls together; rows whose last one is not there yet are left out."""
    rows: dict[type, list[Entry]] = {OutcomeEntry: [], PairEntry: []}
    for entry in entries:
        if isinstance(entry, DecisionEntry):
            yield [entry]
            continue
        rows[type(entry)].append(entry)
        if not entry.more:
            yield rows[type(entry)]
            rows[type(entry)] = []


def sources_of(group: Sequence[Entry]) -> list[str]:
    """Return who reported the rows of a group; nobody did of a decision, or of a pair whose original failed: pods saw that."""
    return [each.source for each in group if not isinstance(each, DecisionEntry) and _is_reported(each)]


def _is_reported(entry: OutcomeEntry | PairEntry) -> bool:
    return bool(entry.truth) or entry.correct is not None or entry.score is not None

"""Recompute evidence from a log, and find each entry at which it decided.

The same `fold` as in the operator, so that what it gives is what the operator had, to the last bit, in whatever stretches
the log is taken. Next step: `agreeing` holds the crossings against the decisions in the same log.

Must not judge the operator, and must not know files or clusters.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from leadline_operator.reconcile import quorum
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.streams import Compared, Own, Stream
from leadline_stats import intervals, verdicts
from leadline_wire.ledger import LABELLED, DecisionEntry, Entry

from leadline_cli import errors


class Kind(enum.Enum):
    """What evidence can decide."""

    WORSE = "worse"
    """A revision is worse than another on the same inputs."""
    BELOW = "below"
    """A revision is below its limit."""
    BELOW_TOO = "below too"
    """The revision that the traffic went back to provisionally is below the same limit."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Where the evidence of one series stands."""

    kind: Kind
    metric: str
    revision: str
    other: str
    """Of the comparison; of a limit, the revision whose outcomes it is made of."""
    number: int
    """Outcomes, or pairs, so far."""
    estimate: float
    """The metric of the revision, in its own units."""
    reference: float | None
    """The same of the other on the same inputs, or the limit; None: the limit is still being made."""
    worse: verdicts.Finding | None
    within: verdicts.Finding | None
    decided_seq: int
    """Entry at which it decided; 0: it did not."""

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """What is weighed: names that tell one series from another."""
        return self.kind.value, self.revision, self.other, self.metric

    @property
    def evidence(self) -> float:
        """Evidence against the revision; 1 before there is a limit."""
        return self.worse.evidence if self.worse is not None else 1.0

    @property
    def needed(self) -> float | None:
        """Evidence that decides; None before there is a limit."""
        return self.worse.needed if self.worse is not None else None


@dataclass(frozen=True, slots=True)
class Crossing:
    """An entry at which evidence decided."""

    seq: int
    came_at_ms: int
    weighed: Weighed
    """As it stood at this entry."""
    before: Evidence
    """Before it, by which it is told who served and what had been decided."""


class Walk:
    """A log that is taken stretch by stretch."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        self.crossings: list[Crossing] = []

    def take(self, entries: Iterable[Entry]) -> Iterator[tuple[DecisionEntry, Evidence]]:
        """Go on through more entries; yields each decision with the evidence that stood before it.

        Raises:
            Refused: Entries hold what cannot be weighed.
        """
        stretch: list[Entry] = []
        for entry in entries:
            if not isinstance(entry, DecisionEntry):
                stretch.append(entry)
                continue
            self._outcomes(stretch)
            stretch = []
            before, self.evidence = self.evidence, _folded(self.evidence, [entry])
            if entry.kind != LABELLED:
                yield entry, before
        self._outcomes(stretch)

    def _outcomes(self, stretch: Sequence[Entry]) -> None:
        """Go on through entries without a decision among them, so that no series begins anew."""
        if not stretch:
            return
        before, after = self.evidence, _folded(self.evidence, stretch)
        known = {each.subject for each in series(before) if each.decided_seq}
        decided = sorted(
            (each.decided_seq, each.subject) for each in series(after) if each.decided_seq and each.subject not in known
        )
        places = {entry.seq: place for place, entry in enumerate(stretch)}
        for seq, subject in decided:
            place = places[seq]
            # Again up to that entry: what is shown is what stood there, whatever came with it in one stretch.
            then = _folded(before, stretch[: place + 1])
            weighed = next(each for each in series(then) if each.subject == subject)
            entry = stretch[place]
            assert not isinstance(entry, DecisionEntry)
            self.crossings.append(Crossing(seq, entry.came_at_ms, weighed, before))
        self.evidence = after


def series(evidence: Evidence) -> list[Weighed]:
    """Return where each series stands, in an order that does not depend on when it began."""
    found: list[Weighed] = []
    for stream in quorum.view(evidence).streams.values():
        found += [_compared(stream, *subject, each) for subject, each in stream.pairs.items()]
        found += [_own(stream, Kind.BELOW, revision, own) for revision, own in stream.own.items()]
        found += [_own(stream, Kind.BELOW_TOO, revision, own) for revision, own in stream.fresh.items()]
    return sorted(
        (each for each in found if each.number),
        key=lambda each: (each.revision, each.kind.value, each.other, each.metric),
    )


def _compared(stream: Stream, revision: str, other: str, compared: Compared) -> Weighed:
    comparison = compared.comparison
    new, old = intervals.flipped(comparison.new).mean, intervals.flipped(comparison.old).mean
    return Weighed(
        kind=Kind.WORSE,
        metric=stream.terms.metric,
        revision=revision,
        other=other,
        number=comparison.pairs,
        estimate=stream.reading.value(new or 0.0),
        reference=stream.reading.value(old) if old is not None else None,
        worse=comparison.worse,
        within=comparison.within,
        decided_seq=compared.decided_seq,
    )


def _own(stream: Stream, kind: Kind, revision: str, own: Own) -> Weighed:
    watch = own.watch
    return Weighed(
        kind=kind,
        metric=stream.terms.metric,
        revision=revision,
        other=own.reference_of,
        number=own.outcomes,
        estimate=stream.reading.value(intervals.flipped(watch.all).mean or 0.0),
        reference=stream.reading.value(watch.reference.limit) if watch.reference is not None else None,
        worse=watch.worse,
        within=watch.within,
        decided_seq=own.decided_seq,
    )


def _folded(evidence: Evidence, entries: Sequence[Entry]) -> Evidence:
    try:
        return fold(evidence, entries)
    except (ValueError, ArithmeticError) as error:
        first, last = entries[0].seq, entries[-1].seq
        where = f"entry {first}" if first == last else f"entries {first} to {last}"
        raise errors.Refused(f"{where} of the log cannot be weighed: {error}") from error

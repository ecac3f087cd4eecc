"""What outcomes say of each revision by one metric, added up: against a limit of its own, and beside another revision.

A `Stream` is a value; `Gathering` takes what entries say, one by one, and adds it all at once, for many losses are folded
faster together. Whatever was gathered at a time, the stream is the same to the last bit. Errors wait until the first 500 have
made a scale, by which they, and all that come later, become losses.

Must not know which entry follows which, or what was decided: that is for `evidence`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from leadline_stats import budgets, classes, contrasts, deviations, limits, measures, pairs, references, verdicts
from leadline_wire.ledger import OutcomeEntry

from leadline_operator.reconcile import ranks, readings
from leadline_operator.reconcile.ranks import Ranks, Scored, Subject
from leadline_operator.reconcile.readings import MARGIN_MAX, Error, Pair
from leadline_operator.reconcile.terms import Terms

_WAITING_MAX: Final = 5_000
"""Errors, failures with them, that wait for a scale; what comes while there are so many is mostly failures, and forgotten."""


@dataclass(frozen=True, slots=True)
class Own:
    """Outcomes of one revision, held against its own limit."""

    watch: limits.Watch
    reference_of: str
    """Revision whose outcomes the reference is made of."""
    first_ms: int = 0
    last_ms: int = 0
    """When outcomes came; milliseconds since the epoch."""
    decided_seq: int = 0
    """Entry at which they were found to be below the limit; 0: none."""
    held: str = ""
    """Why a finding does not count yet, in `quorum.view`; never kept."""

    @property
    def outcomes(self) -> int:
        """Number of outcomes."""
        return self.watch.all.outcomes

    @property
    def has_decayed(self) -> bool:
        """Tell whether they were found to be below the limit."""
        return self.watch.worse is not None and self.watch.worse.crossed


@dataclass(frozen=True, slots=True)
class Compared:
    """Two revisions on the same inputs."""

    comparison: verdicts.Comparison
    since_seq: int
    """First entry that counts."""
    decided_seq: int = 0
    """Entry at which the first was found to be worse; 0: none."""
    held: str = ""
    """As in `Own`."""

    @property
    def is_worse(self) -> bool:
        """Tell whether the first was found to be worse by more than the margin."""
        return self.comparison.worse.crossed

    @property
    def is_within(self) -> bool:
        """Tell whether the first was shown to be within the margin."""
        return self.comparison.within.crossed and not self.is_worse


@dataclass(frozen=True, slots=True)
class Waiting:
    """An error that waits for a scale."""

    revision: str
    error: float
    truth: float
    seq: int
    """Of the outcome: rows of one request have the same."""
    came_ms: int


@dataclass(frozen=True, slots=True)
class Stream:
    """All that is known by one metric."""

    terms: Terms
    scale: deviations.Scale | None = None
    """Of errors; None: they wait for one, or it is no metric of errors."""
    waiting: tuple[Waiting, ...] = ()
    own: Mapping[str, Own] = field(default_factory=dict)
    fresh: Mapping[str, Own] = field(default_factory=dict)
    """Outcomes of a revision since the traffic went back to it provisionally, against the limit that decided."""
    pairs: Mapping[tuple[str, str], Compared] = field(default_factory=dict)
    """By the revision that is judged and the one that it is compared with."""
    ranks: Ranks = field(default_factory=dict)
    """Scores that wait to be ranked against others, for AUC."""

    @property
    def reading(self) -> measures.Reading:
        """Return how its losses are read."""
        return measures.Reading(self.terms.measures, self.terms.margin, self.scale)

    @property
    def missing(self) -> int:
        """Outcomes that errors still need for a scale."""
        if self.scale is not None or not self.terms.measures.is_of_errors:
            return 0
        return references.LEAST_OUTCOMES - _finite(self.waiting)

    def reference(self, name: str) -> references.Reference:
        """Return the limit that a revision's outcomes so far make for the next one.

        Raises:
            ValueError: There are too few, or nothing is left that could be lost or tolerated.
        """
        losses, terms = self.own[name].watch.all, self.terms
        margin = self.reading.tolerated(losses.mean or 0.0)
        return references.of_losses(losses, margin=margin, alpha=terms.limit_alpha, graded=terms.graded)


@dataclass(frozen=True, slots=True)
class Begun:
    """How often a revision's series began anew, so that the next one has a smaller level."""

    limit: int = 0
    comparison: int = 0


class Gathering:
    """What entries say by one metric, until it is added to the stream."""

    def __init__(self) -> None:
        self._own: dict[str, list[tuple[float, int, int]]] = {}
        """Losses by revision, each with its entry and the time at which it came."""
        self._errors: list[Waiting] = []
        self._pairs: dict[tuple[str, str], list[Pair]] = {}
        self._scored: dict[Subject, list[Scored]] = {}

    def outcome(self, entry: OutcomeEntry, said: Sequence[float | Error | Scored]) -> None:
        """Take what an outcome says, by each of its rows that count; `entry` is the last of them."""
        if isinstance(said[0], Scored):
            # Of the rows of one request, which depend on each other, one is ranked.
            self._scored.setdefault((entry.revision, ""), []).append(said[0])
            return
        losses = [each for each in said if isinstance(each, float)]
        if losses:
            self._own.setdefault(entry.revision, []).append((readings.mean(losses), entry.seq, entry.came_at_ms))
            return
        for each in said:
            if isinstance(each, Error):
                self._errors.append(Waiting(entry.revision, each.error, each.truth, entry.seq, entry.came_at_ms))

    def pair(self, revision: str, other: str, seq: int, said: Sequence[Pair | Scored]) -> None:
        """Take what a pair says of a revision beside another, by each of its rows that count; `seq` is its last entry."""
        if isinstance(said[0], Scored):
            self._scored.setdefault((revision, other), []).append(said[0])
            return
        rows = [each for each in said if isinstance(each, Pair)]
        if len(rows) > 1:
            rows = [replace(each, seq=seq) for each in rows]
        self._pairs.setdefault((revision, other), []).extend(rows)

    def added(self, stream: Stream, begun: Mapping[str, Begun]) -> Stream:
        """Return the stream with all that was gathered, and forget it."""
        stream = self._ranked(self._scaled(stream))
        self._pairs = {subject: readings.by_outcome(said) for subject, said in self._pairs.items()}
        if self._own:
            stream, self._own = _with_outcomes(stream, self._own, begun), {}
        if self._pairs:
            stream, self._pairs = _with_pairs(stream, self._pairs, begun), {}
        return stream

    def _ranked(self, stream: Stream) -> Stream:
        """Turn scores that could be ranked into losses; the others wait."""
        if not self._scored:
            return stream
        waiting, found = ranks.fold(stream.ranks, self._scored)
        self._scored = {}
        for (revision, other), ranked in found.items():
            for each in ranked:
                if other:
                    new, old = each.losses
                    self._pairs.setdefault((revision, other), []).append(Pair((new, new), (old, old), each.by.seq))
                else:
                    self._own.setdefault(revision, []).append((each.losses[0], each.by.seq, each.by.came_ms))
        return replace(stream, ranks=waiting)

    def _scaled(self, stream: Stream) -> Stream:
        """Turn errors into losses, or have them wait; pairs that come before there is a scale are lost.

        Which outcomes make the scale must not depend on how the log was cut, nor may a pair count that came before it.
        """
        errors, self._errors = self._errors, []
        if stream.scale is None and stream.terms.measures.is_of_errors:
            made_at = None
            for place, each in enumerate(errors):
                if len(stream.waiting) >= _WAITING_MAX and not math.isfinite(each.error):
                    continue
                stream = replace(stream, waiting=(*stream.waiting, each))
                if stream.missing > 0:
                    continue
                stream = _with_scale(stream)
                if stream.scale is not None:
                    errors, made_at = [*stream.waiting, *errors[place + 1 :]], each.seq
                    stream = replace(stream, waiting=())
                    break
            if made_at is None:
                self._pairs = {}
                return stream
            later = {subject: [each for each in said if each.seq > made_at] for subject, said in self._pairs.items()}
            self._pairs = {subject: said for subject, said in later.items() if said}
        if errors and stream.scale is not None:
            losses = _losses(stream.scale, [(each.error, each.truth) for each in errors])
            of_rows = zip(losses, errors, strict=True)
            for (revision, seq), rows in itertools.groupby(of_rows, lambda each: (each[1].revision, each[1].seq)):
                found = list(rows)
                loss = readings.mean([loss for loss, _ in found])
                self._own.setdefault(revision, []).append((loss, seq, found[0][1].came_ms))
        if stream.scale is not None:
            scale = stream.scale
            self._pairs = {subject: _paired(scale, said) for subject, said in self._pairs.items()}
        return stream


def against(reference: references.Reference, of: str) -> Own:
    """Return outcomes, none so far, that are held against a limit made of another revision's."""
    return Own(watch=limits.against(reference), reference_of=of)


def _with_scale(stream: Stream) -> Stream:
    """Return the stream with the scale that what waits makes; where it makes none, with nothing that waits."""
    finite = [each for each in stream.waiting if math.isfinite(each.error)]
    measure = deviations.Measure(stream.terms.measures.value)
    try:
        scale = deviations.of_first(measure, [each.error for each in finite], [each.truth for each in finite])
    except ValueError:
        return replace(stream, waiting=())  # such as 500 errors of 0: the next ones may do
    return replace(stream, scale=scale)


def _losses(scale: deviations.Scale, errors: Sequence[tuple[float, float]]) -> list[float]:
    columns = np.array(errors)
    losses: list[float] = deviations.losses(scale, columns[:, 0], columns[:, 1]).tolist()
    return losses


def _paired(scale: deviations.Scale, said: Sequence[Pair]) -> list[Pair]:
    """Return pairs of errors as pairs of losses."""
    judged = _losses(scale, [(each.judged[0], each.truth) for each in said])
    other = _losses(scale, [(each.other[0], each.truth) for each in said])
    return [Pair((new, new), (old, old), each.seq) for new, old, each in zip(judged, other, said, strict=True)]


def _with_outcomes(
    stream: Stream, gathered: Mapping[str, Sequence[tuple[float, int, int]]], begun: Mapping[str, Begun]
) -> Stream:
    own, fresh = dict(stream.own), dict(stream.fresh)
    for revision, came in gathered.items():
        known = own.get(revision) or _planned(stream.terms, revision, begun.get(revision, Begun()))
        own[revision] = _more_outcomes(stream.reading, known, came)
        if revision in fresh:
            fresh[revision] = _more_outcomes(stream.reading, fresh[revision], came)
    return replace(stream, own=own, fresh=fresh)


def _planned(terms: Terms, revision: str, begun: Begun) -> Own:
    margin = (
        terms.margin if not terms.measures.has_relative_margin else 0.0
    )  # what is tolerated follows from the losses
    plan = limits.Plan(margin=margin, alpha=_level(terms.limit_alpha, begun.limit), graded=terms.graded)
    return Own(watch=limits.planned(plan), reference_of=revision)


def _more_outcomes(reading: measures.Reading, own: Own, came: Sequence[tuple[float, int, int]]) -> Own:
    before = own.watch.worse
    held_before = before.outcomes if before is not None else 0
    watch = limits.fold(own.watch, [loss for loss, _, _ in came], reading.tolerated)
    after, decided = watch.worse, own.decided_seq
    if after is not None and after.crossed_at is not None and not (before is not None and before.crossed):
        # Outcomes that made the reference stand before those that are held against it.
        made = len(came) - (after.outcomes - held_before)
        decided = came[made + after.crossed_at - held_before - 1][1]
    return replace(
        own,
        watch=watch,
        first_ms=own.first_ms or came[0][2],
        last_ms=max(own.last_ms, *(came_ms for _, _, came_ms in came)),
        decided_seq=decided,
    )


def _with_pairs(
    stream: Stream, gathered: Mapping[tuple[str, str], Sequence[Pair]], begun: Mapping[str, Begun]
) -> Stream:
    compared = dict(stream.pairs)
    for subject, came in gathered.items():
        known = compared.get(subject) or _compared(stream, subject, begun.get(subject[0], Begun()), came[0].seq)
        if known is not None:
            compared[subject] = _more_pairs(known, came)
    return replace(stream, pairs=compared)


def _compared(stream: Stream, subject: tuple[str, str], begun: Begun, seq: int) -> Compared | None:
    """Return a comparison that has seen nothing; None: what is tolerated is not known yet."""
    terms, alpha = stream.terms, _level(stream.terms.comparison_alpha, begun.comparison)
    comparison: verdicts.Comparison
    if terms.measures.contrasts:
        measure = classes.Measure(terms.measures.value)
        comparison = contrasts.begin(measure, margin=min(terms.margin, MARGIN_MAX), alpha=alpha)
    else:
        margin = terms.margin
        if stream.scale is not None:
            known = stream.own.get(subject[1]) or stream.own.get(subject[0])
            if known is None or known.watch.all.mean is None:
                return None
            margin = stream.reading.tolerated(known.watch.all.mean)
        comparison = pairs.begin(margin=min(margin, MARGIN_MAX), alpha=alpha)
    return Compared(comparison=comparison, since_seq=seq)


def _more_pairs(compared: Compared, came: Sequence[Pair]) -> Compared:
    before = compared.comparison.worse
    comparison = _folded(compared.comparison, [each.judged[0] for each in came], [each.other[0] for each in came])
    if any(each.is_doubtful for each in came):
        against = _folded(compared.comparison, [each.judged[1] for each in came], [each.other[1] for each in came])
        comparison = _within_of(comparison, against)
    if any(each.shown is not None for each in came) and isinstance(comparison, pairs.Comparison):
        shown = [each.shown or (each.judged[0], each.other[0]) for each in came]
        means = _folded(compared.comparison, [new for new, _ in shown], [old for _, old in shown])
        comparison = replace(comparison, new=means.new, old=means.old)
    crossed_at, decided = comparison.worse.crossed_at, compared.decided_seq
    if crossed_at is not None and not before.crossed:
        decided = came[crossed_at - before.outcomes - 1].seq
    return replace(compared, comparison=comparison, decided_seq=decided)


def _folded(comparison: verdicts.Comparison, new: Any, old: Any) -> verdicts.Comparison:
    if isinstance(comparison, contrasts.Contrast):
        return contrasts.fold(comparison, new, old)
    return pairs.fold(comparison, new, old)


def _within_of(comparison: verdicts.Comparison, against: verdicts.Comparison) -> verdicts.Comparison:
    """Return a comparison whose opposite finding is that of the pairs as they speak against the judged revision."""
    if isinstance(comparison, pairs.Comparison) and isinstance(against, pairs.Comparison):
        return replace(comparison, within=against.within)
    return comparison


def _finite(waiting: Sequence[Waiting]) -> int:
    return sum(math.isfinite(each.error) for each in waiting)


def _level(alpha: float, begun_anew: int) -> float:
    """Return the level of a series: each that begins anew has a smaller one, so that all together spend a bounded sum."""
    return alpha if begun_anew == 0 else budgets.retest_alpha(alpha, begun_anew)

"""What the ledger's log says of one ModelDeployment's revisions: a pure function of its entries, in their order.

`fold` takes the next entries and returns the new Evidence; whatever stretches the log was read in, and however often the
operator was killed in between, the same entries give the same Evidence to the last bit. Outcomes of a revision are held
against its own limit, pairs of predictions for the same input against each other. Decisions stand in the same log: they
say which terms hold, who took over from whom, and when a comparison begins anew. `judging_outcomes` says what follows;
`evidence_state` turns it into a checkpoint and back.

Must not read the clock, and must not know what is running: what was predicted, what was true, what was decided.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from leadline_stats import budgets, intervals, limits, pairs, references
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry

_NEVER: Final = 1 << 62
_MARGIN_MAX: Final = 0.999
"""A spec may ask for all of it; a comparison needs something that can be lost beyond the margin."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What outcomes are judged by; other terms begin all evidence anew."""

    key: str
    """Hash of what follows."""
    metric: str
    graded: bool
    """Outcomes are scores in [0, 1]; false: right or wrong."""
    margin: float
    comparison_alpha: float
    """Probability, at most, with which a comparison on the same inputs condemns a revision within the margin."""
    limit_alpha: float
    """The same for the limit of its own; half of it is spent on an estimated reference."""
    positive: str = ""
    """The class whose recall is measured: outcomes with another truth, or none, say nothing of it. Empty: all say something."""


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

    comparison: pairs.Comparison
    since_seq: int
    """First entry that counts."""
    decided_seq: int = 0
    """Entry at which the first was found to be worse; 0: none."""

    @property
    def is_worse(self) -> bool:
        """Tell whether the first was found to be worse by more than the margin."""
        return self.comparison.worse.crossed

    @property
    def is_within(self) -> bool:
        """Tell whether the first was shown to be within the margin."""
        return self.comparison.within.crossed and not self.is_worse


@dataclass(frozen=True, slots=True)
class Memory:
    """What was decided about one revision, for ever."""

    promoted_seq: int = 0
    """When the spec last gave it the traffic; a rollback does not count. 0: never."""
    served: bool = False
    retries: int = 0
    """How often its series began anew by command."""
    verifications: int = 0
    """How often a decay was verified against the last good revision."""
    changes: int = 0
    """How often other terms began its evidence anew after answers had been seen."""
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that follows from the log so far."""

    cursor: int = 0
    """Newest entry that is in it."""
    terms: Terms | None = None
    serving: str = ""
    before: str = ""
    """Whom the serving revision took over from, by the log."""
    memory: Mapping[str, Memory] = field(default_factory=dict)
    own: Mapping[str, Own] = field(default_factory=dict)
    fresh: Mapping[str, Own] = field(default_factory=dict)
    """Outcomes of a revision since the traffic went back to it provisionally, against the limit that decided."""
    pairs: Mapping[tuple[str, str], Compared] = field(default_factory=dict)
    """By the revision that is judged and the one that it is compared with."""
    decisions: Mapping[str, DecisionEntry] = field(default_factory=dict)
    """By id, oldest first."""

    def remembered(self, revision: str) -> Memory:
        """Return what was decided about a revision."""
        return self.memory.get(revision, Memory())


def fold(evidence: Evidence, entries: Iterable[Entry]) -> Evidence:
    """Return the Evidence after more entries of the same ModelDeployment; those up to its cursor are passed over."""
    folding = _Folding(evidence)
    for entry in entries:
        if entry.seq <= folding.cursor:
            continue
        folding.cursor = entry.seq
        if isinstance(entry, OutcomeEntry):
            folding.outcome(entry)
        elif isinstance(entry, PairEntry):
            folding.pair(entry)
        else:
            folding.flush()
            folding.evidence = _decided(folding.evidence, entry)
    folding.flush()
    return replace(folding.evidence, cursor=folding.cursor)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Losses of the revision that is judged, and of the other: as they speak for the judged one, and against it.

    The two differ where an answer was only called wrong, and the other revision's is another one, right or wrong. Such a
    pair must neither be left out, for those where it was called right are in, nor decide anything.
    """

    judged: tuple[float, float]
    other: tuple[float, float]
    seq: int
    shown: tuple[float, float] | None = None
    """Losses that the means are of; None: as they speak for it."""

    @property
    def is_doubtful(self) -> bool:
        """Tell whether nobody knows what one of the answers was worth."""
        return self.judged[0] != self.judged[1] or self.other[0] != self.other[1]


class _Folding:
    """Collects losses of each stream, for many are folded faster at once than one by one."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.cursor = evidence.cursor
        self._own: dict[str, list[tuple[float, OutcomeEntry]]] = {}
        self._pairs: dict[tuple[str, str], list[_Pair]] = {}

    def outcome(self, entry: OutcomeEntry) -> None:
        terms = self.evidence.terms
        if terms is None or entry.wanted or not _is_about(terms, entry.truth):
            return  # what is asked for only where revisions differ is harder than the rest: it counts in pairs alone
        loss = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
        if loss is not None and _counts(terms, loss):
            self._own.setdefault(entry.revision, []).append((loss, entry))

    def pair(self, entry: PairEntry) -> None:
        losses, terms = pair_losses(entry), self.evidence.terms
        if terms is None or not _is_about(terms, entry.truth):
            return
        if losses is None or not all(_counts(terms, loss) for loss in losses if loss is not None):
            return
        served, other = losses
        if self._comes_later(entry.revision, entry.other):
            pair = _Pair((served, served), (other, other) if other is not None else (1.0, 0.0), entry.seq)
            subject = (entry.revision, entry.other)
        else:
            pair = _Pair((other, other) if other is not None else (0.0, 1.0), (served, served), entry.seq)
            subject = (entry.other, entry.revision)
        if entry.agreements > 0:
            pair = _among_agreements(pair, entry.agreements, min(terms.margin, _MARGIN_MAX))
        self._pairs.setdefault(subject, []).append(pair)

    def _comes_later(self, revision: str, other: str) -> bool:
        """Tell who of two is judged: the one that was promoted later; one that never was comes after all."""
        first = self.evidence.remembered(revision).promoted_seq or _NEVER
        return first >= (self.evidence.remembered(other).promoted_seq or _NEVER)

    def flush(self) -> None:
        """Fold what was collected."""
        terms = self.evidence.terms
        if terms is None:
            return
        if self._own:
            own, fresh = dict(self.evidence.own), dict(self.evidence.fresh)
            for revision, came in self._own.items():
                own[revision] = _more_outcomes(
                    own.get(revision) or _planned(terms, revision, self.evidence.remembered(revision)), came
                )
                if revision in fresh:
                    fresh[revision] = _more_outcomes(fresh[revision], came)
            self.evidence, self._own = replace(self.evidence, own=own, fresh=fresh), {}
        if self._pairs:
            compared = dict(self.evidence.pairs)
            for subject, came_pairs in self._pairs.items():
                begun = compared.get(subject) or _begun(terms, self.evidence.remembered(subject[0]), came_pairs[0].seq)
                compared[subject] = _more_pairs(begun, came_pairs)
            self.evidence, self._pairs = replace(self.evidence, pairs=compared), {}


def pair_losses(entry: PairEntry) -> tuple[float, float | None] | None:
    """Return the losses of the revision that answered the client and of the other; None where it cannot be told."""
    if predictions.is_failure(entry.prediction):
        return 1.0, float(predictions.is_failure(entry.other_prediction))
    served = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
    other = predictions.other_loss(
        entry.other_prediction, entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score
    )
    return None if served is None else (served, other)


def _among_agreements(pair: _Pair, agreements: float, margin: float) -> _Pair:
    """Return a pair that was asked for because both differ, as it weighs with the inputs on which they agree.

    A difference of `margin` over all inputs is one of margin x (1 + agreements) over those on which they differ. So the loss
    is scaled to that limit: its mean given the past is above the tolerated one exactly where that of all inputs would be, and
    each answer tells as much as it can. For being within the margin, and for the means, it is the mean of all inputs.
    """
    share = 1 / (1 + agreements)
    lost = (1 + pair.judged[0] - pair.other[0]) / 2 * (1 + margin) / (1 + margin / share)
    return _Pair(
        judged=(max(2 * lost - 1, 0.0), share * pair.judged[1]),
        other=(max(1 - 2 * lost, 0.0), share * pair.other[1]),
        seq=pair.seq,
        shown=(share * pair.judged[0], share * pair.other[0]),
    )


def _is_about(terms: Terms, truth: str) -> bool:
    """Tell whether the metric is about an outcome with this true answer; empty: only right or wrong was said."""
    return not terms.positive or predictions.is_class(truth, terms.positive)


def _counts(terms: Terms, loss: float) -> bool:
    """Tell whether an outcome is of the kind that the metric measures."""
    return terms.graded or loss in (0.0, 1.0)


def _planned(terms: Terms, revision: str, memory: Memory) -> Own:
    alpha = _level(terms.limit_alpha, memory.retries + memory.changes)
    plan = limits.Plan(margin=terms.margin, alpha=alpha, graded=terms.graded)
    return Own(watch=limits.planned(plan), reference_of=revision)


def _more_outcomes(own: Own, came: list[tuple[float, OutcomeEntry]]) -> Own:
    before = own.watch.worse
    held_before = before.outcomes if before is not None else 0
    watch = limits.fold(own.watch, [loss for loss, _ in came])
    after, decided = watch.worse, own.decided_seq
    if after is not None and after.crossed_at is not None and not (before is not None and before.crossed):
        # Outcomes that made the reference stand before those that are held against it.
        made = len(came) - (after.outcomes - held_before)
        decided = came[made + after.crossed_at - held_before - 1][1].seq
    return replace(
        own,
        watch=watch,
        first_ms=own.first_ms or came[0][1].came_at_ms,
        last_ms=max(own.last_ms, *(entry.came_at_ms for _, entry in came)),
        decided_seq=decided,
    )


def _begun(terms: Terms, memory: Memory, seq: int) -> Compared:
    alpha = _level(terms.comparison_alpha, memory.retries + memory.verifications + memory.changes)
    return Compared(comparison=pairs.begin(margin=min(terms.margin, _MARGIN_MAX), alpha=alpha), since_seq=seq)


def _level(alpha: float, begun_anew: int) -> float:
    """Return the level of a series: each that begins anew has a smaller one, so that all together spend a bounded sum."""
    return alpha if begun_anew == 0 else budgets.retest_alpha(alpha, begun_anew)


def _more_pairs(compared: Compared, came: list[_Pair]) -> Compared:
    before = compared.comparison.worse
    comparison = pairs.fold(compared.comparison, [each.judged[0] for each in came], [each.other[0] for each in came])
    if any(each.is_doubtful for each in came):
        against = pairs.fold(compared.comparison, [each.judged[1] for each in came], [each.other[1] for each in came])
        comparison = replace(comparison, within=against.within)
    if any(each.shown is not None for each in came):
        shown = [each.shown or (each.judged[0], each.other[0]) for each in came]
        means = pairs.fold(compared.comparison, [new for new, _ in shown], [old for _, old in shown])
        comparison = replace(comparison, new=means.new, old=means.old)
    crossed_at, decided = comparison.worse.crossed_at, compared.decided_seq
    if crossed_at is not None and not before.crossed:
        decided = came[crossed_at - before.outcomes - 1].seq
    return replace(compared, comparison=comparison, decided_seq=decided)


def _decided(evidence: Evidence, entry: DecisionEntry) -> Evidence:
    """Return the Evidence after a decision."""
    evidence = replace(evidence, decisions={**evidence.decisions, entry.id: entry})
    revision, memory = entry.revision, evidence.remembered(entry.revision)
    if entry.kind == "Terms":
        try:
            terms = terms_of(entry)
        except ValueError:  # of a version that writes them otherwise: nothing is judged until ours are told
            return replace(evidence, terms=None, own={}, fresh={}, pairs={})
        if evidence.terms is not None and evidence.terms.key == terms.key:
            return evidence
        for name in {*evidence.own, *(subject for subject, _ in evidence.pairs)}:
            known = evidence.remembered(name)
            evidence = _remember(evidence, name, replace(known, changes=known.changes + 1))
        return replace(evidence, terms=terms, own={}, fresh={}, pairs={})
    if entry.kind == "Promoted":
        evidence = _remember(evidence, revision, replace(memory, promoted_seq=entry.seq, served=True))
        # Whom a provisional rollback went to is no longer on trial.
        return replace(_inherited(evidence, revision, entry), serving=revision, before=entry.other, fresh={})
    if entry.kind == "RolledBack":
        evidence = _remember(evidence, entry.other, replace(evidence.remembered(entry.other), served=True))
        evidence = replace(evidence, serving=entry.other, before="")
        own = evidence.own.get(revision)
        if entry.data.get("provisional") and own is not None and own.watch.reference is not None:
            fresh = Own(watch=limits.against(own.watch.reference), reference_of=own.reference_of)
            return replace(evidence, fresh={**evidence.fresh, entry.other: fresh})
        return evidence
    if entry.kind == "Retried":
        return _anew(_remember(evidence, revision, replace(memory, retries=memory.retries + 1)), revision)
    if entry.kind == "Verifying":
        evidence = _remember(evidence, revision, replace(memory, verifications=memory.verifications + 1))
        kept = {subject: each for subject, each in evidence.pairs.items() if subject != (revision, entry.other)}
        return replace(evidence, pairs=kept)
    if entry.kind == "Withdrawn":
        return _remember(evidence, revision, replace(memory, withdrawn=True))
    return evidence


def _inherited(evidence: Evidence, revision: str, entry: DecisionEntry) -> Evidence:
    """Freeze the limit of a revision that takes over from the outcomes of the one before it, where there are enough."""
    before, terms = evidence.own.get(entry.other), evidence.terms
    if terms is None or before is None or before.outcomes < references.LEAST_OUTCOMES:
        return evidence
    begun = evidence.own.get(revision)
    if begun is not None and begun.watch.reference is not None:
        return (
            evidence  # of outcomes that came before the switch was told, too few for a limit: it is told late, at times
        )
    try:
        reference = _reference(before.watch.all, terms)
    except ValueError:
        return evidence  # nothing is left that could be lost or tolerated: its own outcomes have to do
    own = Own(watch=limits.against(reference), reference_of=entry.other)
    return replace(evidence, own={**evidence.own, revision: own})


def _reference(losses: intervals.Summary, terms: Terms) -> references.Reference:
    scores = intervals.flipped(losses)
    if terms.graded:
        return references.of_scores(scores, margin=terms.margin, alpha=terms.limit_alpha)
    right = round(scores.weights[-1])  # right and wrong are the ends of the grid
    return references.of_answers(right, scores.outcomes, margin=terms.margin, alpha=terms.limit_alpha)


def _anew(evidence: Evidence, revision: str) -> Evidence:
    return replace(
        evidence,
        own={name: own for name, own in evidence.own.items() if name != revision},
        pairs={subject: each for subject, each in evidence.pairs.items() if subject[0] != revision},
    )


def _remember(evidence: Evidence, revision: str, memory: Memory) -> Evidence:
    return replace(evidence, memory={**evidence.memory, revision: memory})


def terms_data(terms: Terms) -> dict[str, str]:
    """Return terms as a decision holds them."""
    return {
        "key": terms.key,
        "metric": terms.metric,
        "graded": str(terms.graded),
        "margin": repr(terms.margin),
        "comparisonAlpha": repr(terms.comparison_alpha),
        "limitAlpha": repr(terms.limit_alpha),
        **({"positive": terms.positive} if terms.positive else {}),
    }


def terms_of(entry: DecisionEntry) -> Terms:
    """Read terms back from a decision.

    Raises:
        ValueError: It holds no terms that this version can read.
    """
    try:
        return Terms(
            key=entry.data["key"],
            metric=entry.data["metric"],
            graded=entry.data["graded"] == "True",
            margin=float(entry.data["margin"]),
            comparison_alpha=float(entry.data["comparisonAlpha"]),
            limit_alpha=float(entry.data["limitAlpha"]),
            positive=entry.data.get("positive", ""),
        )
    except KeyError as error:
        raise ValueError(f"decision {entry.id}: expected {error} in terms") from error

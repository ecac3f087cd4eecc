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

from leadline_stats import betting, budgets, intervals, pairs, references
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry


@dataclass(frozen=True, slots=True)
class Terms:
    """What outcomes are judged by; other terms begin all evidence anew."""

    key: str
    """Hash of the gate."""
    metric: str
    margin: float
    comparison_alpha: float
    """Probability, at most, with which a comparison on the same inputs condemns a revision within the margin."""
    limit_alpha: float
    """The same for the limit of its own; half of it is spent on the estimated reference."""


@dataclass(frozen=True, slots=True)
class Series:
    """One stream of losses that is judged, and its mirror image, which can show that the loss is within the limit."""

    monitor: betting.Monitor
    mirror: betting.Monitor
    since_seq: int
    """Place in the log from which entries count."""
    decided_seq: int = 0
    """Entry that decided; 0: none."""

    @property
    def is_bad(self) -> bool:
        """Tell whether the losses were shown to be above the limit."""
        return self.monitor.crossed_at is not None

    @property
    def is_fine(self) -> bool:
        """Tell whether the losses were shown to be within the limit, and not before to be above it."""
        return self.mirror.crossed_at is not None and not self.is_bad


@dataclass(frozen=True, slots=True)
class Own:
    """Outcomes of one revision under today's terms."""

    losses: intervals.Summary = intervals.EMPTY
    first_ms: int = 0
    last_ms: int = 0
    """When outcomes came; milliseconds since the epoch."""
    reference: references.Reference | None = None
    reference_of: str = ""
    """Revision whose outcomes the reference was frozen from."""
    series: Series | None = None
    """Against the limit that follows from the reference."""


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
    pairs: Mapping[tuple[str, str], Series] = field(default_factory=dict)
    """By the revision that is judged and the one that it is compared with."""
    decisions: Mapping[str, DecisionEntry] = field(default_factory=dict)
    """By id, oldest first."""

    def remembered(self, revision: str) -> Memory:
        """Return what was decided about a revision."""
        return self.memory.get(revision, Memory())

    def of(self, revision: str) -> Own:
        """Return the outcomes of a revision."""
        return self.own.get(revision, Own())


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


class _Folding:
    """Collects losses of each stream, for many are folded faster at once than one by one."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.cursor = evidence.cursor
        self._own: dict[str, list[tuple[float, int, int]]] = {}
        self._pairs: dict[tuple[str, str], list[tuple[float, int]]] = {}

    def outcome(self, entry: OutcomeEntry) -> None:
        loss = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
        if loss is not None and self.evidence.terms is not None:
            self._own.setdefault(entry.revision, []).append((loss, entry.seq, entry.came_at_ms))

    def pair(self, entry: PairEntry) -> None:
        losses = pair_losses(entry)
        if losses is None or self.evidence.terms is None:
            return
        served, other = losses
        if self._is_judged_by(entry.revision, entry.other):
            subject, loss = (entry.revision, entry.other), pairs.loss(served, other)
        else:
            subject, loss = (entry.other, entry.revision), pairs.loss(other, served)
        self._pairs.setdefault(subject, []).append((loss, entry.seq))

    def _is_judged_by(self, revision: str, other: str) -> bool:
        """Tell which of two is judged: the one that came later; one that never served comes after all."""
        never = 1 << 62
        first = self.evidence.remembered(revision).promoted_seq or never
        return first >= (self.evidence.remembered(other).promoted_seq or never)

    def flush(self) -> None:
        """Fold what was collected."""
        terms = self.evidence.terms
        if terms is None:
            return
        if self._own:
            own = dict(self.evidence.own)
            for revision, came in self._own.items():
                own[revision] = _more_outcomes(own.get(revision, Own()), revision, came, terms)
            self.evidence, self._own = replace(self.evidence, own=own), {}
        if self._pairs:
            series = dict(self.evidence.pairs)
            for subject, losses in self._pairs.items():
                begun = series.get(subject) or _pair_series(terms, self.evidence.remembered(subject[0]), losses[0][1])
                series[subject] = _more(begun, losses)
            self.evidence, self._pairs = replace(self.evidence, pairs=series), {}


def pair_losses(entry: PairEntry) -> tuple[float, float] | None:
    """Return the losses of the revision that answered the client and of the other; None where one cannot be told."""
    if predictions.is_failure(entry.prediction):
        return 1.0, float(predictions.is_failure(entry.other_prediction))
    answer = {"truth": entry.truth, "correct": entry.correct, "score": entry.score}
    served = predictions.loss(entry.prediction, **answer)  # type: ignore[arg-type]
    other = predictions.other_loss(entry.other_prediction, entry.prediction, **answer)  # type: ignore[arg-type]
    return None if served is None or other is None else (served, other)


def _more(series: Series, losses: list[tuple[float, int]]) -> Series:
    values = [loss for loss, _ in losses]
    monitor = betting.fold(series.monitor, values)
    decided = series.decided_seq
    if monitor.crossed_at is not None and series.monitor.crossed_at is None:
        decided = losses[monitor.crossed_at - series.monitor.outcomes - 1][1]
    mirror = betting.fold(series.mirror, [1 - value for value in values])
    return replace(series, monitor=monitor, mirror=mirror, decided_seq=decided)


def _more_outcomes(own: Own, revision: str, came: list[tuple[float, int, int]], terms: Terms) -> Own:
    """Fold a revision's outcomes; the first ones become its reference where it has none from a predecessor."""
    if own.series is None and own.reference is None:
        missing = references.LEAST_OUTCOMES - own.losses.outcomes
        first, came = came[:missing], came[missing:]
        own = _counted(own, first)
        if len(first) == missing:
            own = _with_reference(own, own.losses, revision, terms, first[-1][1])
    if not came:
        return own
    own = _counted(own, came)
    if own.series is None:
        return own
    return replace(own, series=_more(own.series, [(loss, seq) for loss, seq, _ in came]))


def _counted(own: Own, came: list[tuple[float, int, int]]) -> Own:
    return replace(
        own,
        losses=intervals.fold(own.losses, [loss for loss, _, _ in came]),
        first_ms=own.first_ms or came[0][2],
        last_ms=max(own.last_ms, came[-1][2]),
    )


def _with_reference(own: Own, losses: intervals.Summary, revision: str, terms: Terms, seq: int) -> Own:
    reference = references.freeze(losses, margin=terms.margin)
    alpha = terms.limit_alpha / 2  # the other half is spent on the estimate
    series = Series(
        monitor=betting.begin(limit=reference.limit, alpha=alpha),
        mirror=betting.mirrored(limit=reference.limit, alpha=budgets.PROMOTION),
        since_seq=seq,
    )
    return replace(own, reference=reference, reference_of=revision, series=series)


def _pair_series(terms: Terms, memory: Memory, seq: int) -> Series:
    tries = memory.retries + memory.verifications
    alpha = terms.comparison_alpha if tries == 0 else budgets.retest_alpha(terms.comparison_alpha, tries)
    limit = pairs.limit(terms.margin)
    return Series(
        monitor=betting.begin(limit=limit, alpha=alpha),
        mirror=betting.mirrored(limit=limit, alpha=budgets.PROMOTION),
        since_seq=seq,
    )


def _decided(evidence: Evidence, entry: DecisionEntry) -> Evidence:
    """Return the Evidence after a decision."""
    evidence = replace(evidence, decisions={**evidence.decisions, entry.id: entry})
    revision, memory = entry.revision, evidence.remembered(entry.revision)
    if entry.kind == "Terms":
        terms = terms_of(entry)
        changed = evidence.terms is None or evidence.terms.key != terms.key
        return replace(evidence, terms=terms, own={}, pairs={}) if changed else evidence
    if entry.kind == "Promoted":
        evidence = _remember(evidence, revision, replace(memory, promoted_seq=entry.seq, served=True))
        return replace(_inherited(evidence, revision, entry), serving=revision, before=entry.other)
    if entry.kind == "RolledBack":
        evidence = _remember(evidence, entry.other, replace(evidence.remembered(entry.other), served=True))
        return replace(evidence, serving=entry.other, before="")
    if entry.kind == "Retried":
        return _anew(_remember(evidence, revision, replace(memory, retries=memory.retries + 1)), revision)
    if entry.kind == "Verifying":
        evidence = _remember(evidence, revision, replace(memory, verifications=memory.verifications + 1))
        kept = {subject: series for subject, series in evidence.pairs.items() if subject != (revision, entry.other)}
        return replace(evidence, pairs=kept)
    if entry.kind == "Withdrawn":
        # The world has moved: both are measured by what they do from here on.
        evidence = _remember(evidence, revision, replace(memory, withdrawn=True))
        return replace(
            evidence, own={name: own for name, own in evidence.own.items() if name not in (revision, entry.other)}
        )
    return evidence


def _inherited(evidence: Evidence, revision: str, entry: DecisionEntry) -> Evidence:
    """Freeze the limit of a revision that takes over from the outcomes of the one before it, where there are enough."""
    own, before = evidence.of(revision), evidence.of(entry.other)
    if evidence.terms is None or own.series is not None or before.losses.outcomes < references.LEAST_OUTCOMES:
        return evidence
    if own.losses.outcomes >= references.LEAST_OUTCOMES:
        return evidence
    own = _with_reference(own, before.losses, entry.other, evidence.terms, entry.seq)
    return replace(evidence, own={**evidence.own, revision: own})


def _anew(evidence: Evidence, revision: str) -> Evidence:
    return replace(
        evidence,
        own={name: own for name, own in evidence.own.items() if name != revision},
        pairs={subject: series for subject, series in evidence.pairs.items() if subject[0] != revision},
    )


def _remember(evidence: Evidence, revision: str, memory: Memory) -> Evidence:
    return replace(evidence, memory={**evidence.memory, revision: memory})


def terms_data(terms: Terms) -> dict[str, str]:
    """Return terms as a decision holds them."""
    return {
        "key": terms.key,
        "metric": terms.metric,
        "margin": repr(terms.margin),
        "comparisonAlpha": repr(terms.comparison_alpha),
        "limitAlpha": repr(terms.limit_alpha),
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
            margin=float(entry.data["margin"]),
            comparison_alpha=float(entry.data["comparisonAlpha"]),
            limit_alpha=float(entry.data["limitAlpha"]),
        )
    except KeyError as error:
        raise ValueError(f"decision {entry.id}: expected {error} in terms") from error

"""What the ledger's log says of one ModelDeployment's revisions: a pure function of its entries, in their order.

`fold` takes the next entries and returns the new Evidence; whatever stretches the log was read in, and however often the
operator was killed in between, the same entries give the same Evidence to the last bit. Outcomes of a revision are held
against its own limit, pairs of predictions for the same input against each other. Decisions stand in the same log: they
say which terms hold, who took over from whom, and when a comparison begins anew. `judging_outcomes` says what follows;
`evidence_state` turns it into a checkpoint and back.

Must not read the clock, and must not know what is running: what was predicted, what was true, what was decided.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from leadline_stats import references
from leadline_wire.ledger import LABELLED, DecisionEntry, Entry, OutcomeEntry, PairEntry

from leadline_operator.reconcile import ranks, readings, sources, streams, terms
from leadline_operator.reconcile.streams import Begun, Gathering, Own, Stream
from leadline_operator.reconcile.terms import Terms

REVISIONS_KEPT: Final = 20
"""Revisions, and pairs of them, whose evidence is kept: with eight metrics some 800 kB."""
REVISIONS_KEPT_BY_SOURCES: Final = (6, 2)
"""The same where all is weighed without each source as well: of all outcomes, and of each such view."""
_NEVER: Final = 1 << 62
_NOTHING: Final = Stream(Terms("", "", graded=False, margin=0.0, comparison_alpha=1.0, limit_alpha=1.0))


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

    @property
    def begun(self) -> Begun:
        """How often its series began anew."""
        return Begun(self.retries + self.changes, self.retries + self.verifications + self.changes)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that follows from the log so far."""

    cursor: int = 0
    """Newest entry that is in it."""
    serving: str = ""
    before: str = ""
    """Whom the serving revision took over from, by the log."""
    memory: Mapping[str, Memory] = field(default_factory=dict)
    streams: Mapping[str, Stream] = field(default_factory=dict)
    """By the name of the metric, in the order of the spec; none: there are no terms yet."""
    decisions: Mapping[str, DecisionEntry] = field(default_factory=dict)
    """By id, oldest first."""
    new_outcomes: int = 0
    """That came since the last training run began, or since one was asked for."""
    without: Mapping[str, Mapping[str, Stream]] = field(default_factory=dict)
    """By source and metric, where a quorum is asked for: what is known without the outcomes of that source."""
    tally: sources.Tally = sources.EMPTY
    """How many outcomes of each source count, where it matters."""

    @property
    def key(self) -> str:
        """Hash of the terms; empty: there are none yet."""
        return next((stream.terms.key for stream in self.streams.values()), "")

    @property
    def first(self) -> Stream:
        """What is known by the first metric; nothing where there are no terms yet."""
        return next(iter(self.streams.values()), _NOTHING)

    @property
    def owns(self) -> tuple[Own, ...]:
        """Outcomes of all revisions, by all metrics."""
        return tuple(own for stream in self.streams.values() for own in stream.own.values())

    def remembered(self, revision: str) -> Memory:
        """Return what was decided about a revision."""
        return self.memory.get(revision, Memory())


def begin(evidence: Evidence, several: tuple[Terms, ...]) -> Evidence:
    """Return Evidence whose metrics have seen nothing."""
    return replace(
        evidence, streams={terms.metric: Stream(terms) for terms in several}, without={}, tally=sources.EMPTY
    )


def fold(evidence: Evidence, entries: Iterable[Entry]) -> Evidence:
    """Return the Evidence after more entries of the same ModelDeployment; those up to its cursor are passed over.

    Rows of one prediction are one outcome: where the last of them are not there yet, the cursor stays before the first.
    """
    for part in sources.parts(entries):
        evidence = (_by_source if evidence.first.terms.weighs_sources else _folded)(evidence, part)
    return evidence


def _by_source(evidence: Evidence, entries: Iterable[Entry]) -> Evidence:
    """As `fold`, with what counts of each source, and once more without each; terms change with the last entry, if at all."""
    asked, tally = evidence.first.terms, evidence.tally
    waiting: list[sources.Group] = []
    last = evidence.cursor
    for entries_of_group in sources.grouped(entry for entry in entries if entry.seq > evidence.cursor):
        last = entries_of_group[-1].seq
        reported = sources.sources_of(entries_of_group)
        if not reported:
            waiting.append(sources.Group(tuple(entries_of_group), frozenset()))
            continue
        for source in reported:
            tally = tally.with_names([tally.name(source)])
        names = frozenset(tally.name(source) for source in reported)
        if asked.quorum > 1 and names - evidence.without.keys():
            # Until here all was without it.
            evidence, waiting = _weighed(evidence, waiting, tally, evidence.cursor), []
            new = dict.fromkeys(sorted(names - evidence.without.keys()), evidence.streams)
            evidence = replace(evidence, without={**evidence.without, **new})
        counted = tally.counting(tally.name(reported[0]), entries_of_group[0], asked.max_share)
        if counted is not None:
            tally = counted
            waiting.append(sources.Group(tuple(entries_of_group), names))
    return _weighed(evidence, waiting, tally, last)


def _weighed(evidence: Evidence, groups: list[sources.Group], tally: sources.Tally, cursor: int) -> Evidence:
    """Return the Evidence with what was gathered, and what it is without each source."""
    of_all, of_view = REVISIONS_KEPT_BY_SOURCES if evidence.first.terms.quorum > 1 else (REVISIONS_KEPT, 0)
    whole = _folded(evidence, (entry for group in groups for entry in group.entries), kept=of_all)
    cursor = max(cursor, whole.cursor)
    if whole.key != evidence.key:
        return replace(whole, cursor=cursor)  # other terms: everything begins anew, the tally too
    without = {}
    for name, known in evidence.without.items():
        others = (entry for group in groups if name not in group.names for entry in group.entries)
        without[name] = _folded(replace(evidence, streams=known, without={}), others, kept=of_view).streams
    return replace(whole, without=without, tally=tally, cursor=cursor)


def _folded(evidence: Evidence, entries: Iterable[Entry], *, kept: int = REVISIONS_KEPT) -> Evidence:
    folding = _Folding(evidence)
    for entry in entries:
        if entry.seq <= folding.cursor:
            continue
        if isinstance(entry, OutcomeEntry):
            folding.outcome(entry)
        elif isinstance(entry, PairEntry):
            folding.pair(entry)
        else:
            folding.flush()
            folding.evidence = _decided(folding.evidence, entry, kept=kept)
        if isinstance(entry, DecisionEntry) or not entry.more:
            folding.cursor = entry.seq
    folding.flush()
    return replace(folding.evidence, cursor=folding.cursor)


class _Folding:
    """Hands what entries say to each metric."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.cursor = evidence.cursor
        self._gathered: dict[str, Gathering] = {}
        self._rows: list[OutcomeEntry] = []
        self._new_outcomes = 0
        self._paired_rows: list[PairEntry] = []

    def outcome(self, entry: OutcomeEntry) -> None:
        self._rows.append(entry)
        if entry.more > 0:
            return  # one outcome with the rows that follow
        rows, self._rows = self._rows, []
        self._new_outcomes += len(rows)
        for name, stream in self.evidence.streams.items():
            said = [each for each in (readings.of_outcome(stream.terms, row) for row in rows) if each is not None]
            if said:
                self._gathered.setdefault(name, Gathering()).outcome(entry, said)

    def pair(self, entry: PairEntry) -> None:
        self._paired_rows.append(entry)
        if entry.more > 0:
            return
        rows, self._paired_rows = self._paired_rows, []
        judges_served = self._comes_later(entry.revision, entry.other)
        subject = (entry.revision, entry.other) if judges_served else (entry.other, entry.revision)
        of_errors = (each for each in self.evidence.streams.values() if each.terms.measures.is_of_errors)
        begins = any(subject not in stream.pairs for stream in of_errors)
        if begins:
            self.flush()  # what is tolerated follows from the outcomes up to here and no others, wherever the log was cut
        for name, stream in self.evidence.streams.items():
            read = (readings.of_pair(stream.terms, row, judges_served=judges_served) for row in rows)
            said = [each for each in read if each is not None]
            if said:
                self._gathered.setdefault(name, Gathering()).pair(*subject, entry.seq, said)
        if begins:
            self.flush()

    def _comes_later(self, revision: str, other: str) -> bool:
        """Tell who of two is judged: the one that was promoted later; one that never was comes after all."""
        first = self.evidence.remembered(revision).promoted_seq or _NEVER
        return first >= (self.evidence.remembered(other).promoted_seq or _NEVER)

    def flush(self) -> None:
        """Add what was gathered."""
        if self._new_outcomes:
            count, self._new_outcomes = self.evidence.new_outcomes + self._new_outcomes, 0
            self.evidence = replace(self.evidence, new_outcomes=count)
        if not self._gathered:
            return
        begun = {name: memory.begun for name, memory in self.evidence.memory.items()}
        streams = dict(self.evidence.streams)
        for name, gathered in self._gathered.items():
            streams[name] = gathered.added(streams[name], begun)
        self.evidence, self._gathered = replace(self.evidence, streams=streams), {}


def _decided(evidence: Evidence, entry: DecisionEntry, *, kept: int) -> Evidence:
    """Return the Evidence after a decision."""
    if entry.kind == LABELLED:
        return evidence
    evidence = replace(evidence, decisions={**evidence.decisions, entry.id: entry})
    revision, memory = entry.revision, evidence.remembered(entry.revision)
    if entry.kind == "Terms":
        return _on_terms(evidence, entry)
    if entry.kind == "Promoted":
        evidence = _remember(evidence, revision, replace(memory, promoted_seq=entry.seq, served=True))
        # Whom a provisional rollback went to is no longer on trial.
        evidence = _each(evidence, lambda stream: replace(_inherited(stream, revision, entry.other), fresh={}))
        evidence = _each(evidence, lambda stream: _without_old(stream, {revision, entry.other}, kept=kept))
        return replace(evidence, serving=revision, before=entry.other)
    if entry.kind == "RolledBack":
        evidence = _remember(evidence, entry.other, replace(evidence.remembered(entry.other), served=True))
        evidence = replace(evidence, serving=entry.other, before="")
        if not entry.data.get("provisional"):
            return evidence
        return _each(evidence, lambda stream: _on_trial(stream, revision, entry.other))
    if entry.kind == "Retried":
        evidence = _remember(evidence, revision, replace(memory, retries=memory.retries + 1))
        return _each(evidence, lambda stream: _anew(stream, revision))
    if entry.kind == "Verifying":
        evidence = _remember(evidence, revision, replace(memory, verifications=memory.verifications + 1))
        return _each(evidence, lambda stream: _verified(stream, revision, entry.other))
    if entry.kind in ("RetrainAsked", "RetrainStarted"):
        return replace(evidence, new_outcomes=0)
    if entry.kind == "Withdrawn":
        return _remember(evidence, revision, replace(memory, withdrawn=True))
    return evidence


def _on_terms(evidence: Evidence, entry: DecisionEntry) -> Evidence:
    """Begin all evidence anew, at smaller levels, where other terms hold from here on."""
    try:
        several = terms.read(entry)
    except ValueError:  # of a version that writes them otherwise: nothing is judged until ours are told
        return replace(evidence, streams={})
    if evidence.key == several[0].key:
        return evidence
    subjects = ({*stream.own, *(subject for subject, _ in stream.pairs)} for stream in evidence.streams.values())
    for name in sorted(set().union(*subjects)):
        known = evidence.remembered(name)
        evidence = _remember(evidence, name, replace(known, changes=known.changes + 1))
    return begin(evidence, several)


def _each(evidence: Evidence, change: Callable[[Stream], Stream]) -> Evidence:
    return replace(evidence, streams={name: change(stream) for name, stream in evidence.streams.items()})


def _inherited(stream: Stream, revision: str, other: str) -> Stream:
    """Freeze the limit of a revision that takes over from the outcomes of the one before it, where there are enough."""
    before = stream.own.get(other)
    if before is None or before.outcomes < references.LEAST_OUTCOMES:
        return stream
    begun = stream.own.get(revision)
    if begun is not None and begun.watch.reference is not None:
        return (
            stream  # of outcomes that came before the switch was told, too few for a limit: it is told late, at times
        )
    try:
        reference = stream.reference(other)
    except ValueError:
        return stream  # nothing is left that could be lost or tolerated: its own outcomes have to do
    return replace(stream, own={**stream.own, revision: streams.against(reference, other)})


def _without_old(stream: Stream, needed: set[str], *, kept: int) -> Stream:
    """Forget what outcomes said of revisions that had none for longest: a checkpoint has a limit, and a life has none."""
    own = sorted(stream.own, key=lambda name: (name in needed, stream.own[name].last_ms, name))[-kept:]
    pairs = sorted(stream.pairs, key=lambda subject: (needed >= set(subject), stream.pairs[subject].since_seq))
    return replace(
        stream,
        own={name: each for name, each in stream.own.items() if name in own},
        pairs={subject: each for subject, each in stream.pairs.items() if subject in pairs[-kept:]},
        ranks={subject: each for subject, each in stream.ranks.items() if subject[0] in own},
    )


def _on_trial(stream: Stream, revision: str, back: str) -> Stream:
    """Hold fresh outcomes of whom the traffic went back to against the limit by which the other was rejected."""
    own = stream.own.get(revision)
    if own is None or own.watch.reference is None or not own.has_decayed:
        return stream
    fresh = streams.against(own.watch.reference, own.reference_of)
    return replace(stream, fresh={**stream.fresh, back: fresh})


def _verified(stream: Stream, revision: str, other: str) -> Stream:
    """Forget a comparison that began before the revision was found to be below its limit: those pairs are not fresh."""
    own, compared = stream.own.get(revision), stream.pairs.get((revision, other))
    if own is None or compared is None or not own.has_decayed or compared.since_seq > own.decided_seq:
        return stream
    kept = {key: each for key, each in stream.pairs.items() if key != (revision, other)}
    return replace(stream, pairs=kept, ranks=ranks.without(stream.ranks, revision, other))


def _anew(stream: Stream, revision: str) -> Stream:
    return replace(
        stream,
        own={name: own for name, own in stream.own.items() if name != revision},
        pairs={subject: each for subject, each in stream.pairs.items() if subject[0] != revision},
        ranks=ranks.without(stream.ranks, revision),
    )


def _remember(evidence: Evidence, revision: str, memory: Memory) -> Evidence:
    return replace(evidence, memory={**evidence.memory, revision: memory})

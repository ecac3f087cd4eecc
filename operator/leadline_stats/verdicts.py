"""Say what the evidence of one metric means: who may say what.

A comparison on the same inputs may say Degraded: worse than the other revision. A fixed limit alone says Decayed, for a
world that moves at the moment of a switch would condemn an equal candidate. Only where nothing can be compared may a
fixed limit speak against a new revision, within its first outcomes, and then provisionally: `withdrawn` takes it back
when the last good one falls below the same limit on fresh outcomes, too. After Decayed, `verification` on fresh pairs
says whether going back would help. What is done about a verdict is the operator's.

Must not know of pods, traffic or time, and must not remember anything between calls.
"""

import enum
from dataclasses import dataclass
from typing import Final

from leadline_stats import betting, blocks, contrasts, intervals, limits, measures, pairs

Finding = betting.Monitor | contrasts.Finding
Comparison = pairs.Comparison | contrasts.Contrast

FIRST_OUTCOMES: Final = 1_000
"""Outcomes of a new revision within which a fixed limit may speak against it, where nothing can be compared. Later it is
no longer the switch that is to be suspected first."""


class Name(enum.StrEnum):
    """What can be said of a metric, from nothing to the worst."""

    COLLECTING = "Collecting"
    """Cannot judge yet; `Verdict.why` says what is missing."""
    WATCHING = "Watching"
    """Judged, and nothing found."""
    HEALTHY = "Healthy"
    """Shown to be within the margin."""
    DECAYED = "Decayed"
    """Below its own limit: the world may have moved."""
    DEGRADED = "Degraded"
    """Worse than the revision that it is compared with."""


class Verification(enum.StrEnum):
    """What fresh pairs say, after Decayed, of going back."""

    PENDING = "Pending"
    """Not decided yet: keep comparing."""
    GO_BACK = "GoBack"
    """The last good one is better on the same fresh inputs."""
    WOULD_NOT_HELP = "WouldNotHelp"
    """Shown to be no better than the margin."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that a verdict on one metric of one revision is made of."""

    metric: str
    """Name, for the message."""
    reading: measures.Reading
    """What is measured, and how much of it may be lost."""
    comparison: Comparison | None
    """Pairs with the other revision; also those of a comparison that is over. None: there were none."""
    watch: limits.Watch | None
    """Outcomes against a limit of its own. None: there is no such limit."""
    other: str = "last good"
    """How the message calls the revision of the comparison."""
    comparable: bool = True
    """Whether pairs can be had: another revision is there, warm, and gets the same inputs."""
    has_last_good: bool = True
    """Whether there is another revision that a new one can be worse than."""
    missing: int = 0
    """Outcomes that errors still need for a scale."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of one metric, with all that it rests on."""

    name: Name
    outcomes: int
    """Outcomes, or pairs, that the estimate is of."""
    estimate: float | None
    """The measure over them, as the metric counts it; None before the first outcome."""
    interval: tuple[float, float]
    """Of the measure, valid at any look; missed with probability at most .02."""
    reference: float | None
    """The measure of the other revision on the same inputs, or the floor or estimate of the fixed limit; None: not yet."""
    limit: float | None
    """The worst that is tolerated; None for a comparison, and before there is a reference."""
    evidence: float
    """Against the revision, and for it where it is Healthy; 1 before the first outcome."""
    needed: float
    """Evidence that decides."""
    alpha: float
    """Probability, at most, that such a decision is ever wrong."""
    decided_at: int | None
    """Number of the deciding outcome or pair, where the first is 1; None: nothing is decided."""
    since: int | None
    """Outcomes before those that are most clearly below the limit, to the hundred; None unless Decayed. Not a finding."""
    provisional: bool
    """Whether it is to be taken back if the last good revision falls below the limit, too."""
    why: str
    """What is missing, where it is Collecting; else empty."""
    message: str
    """For people: what was measured, against which limit, and what follows for the metric."""


def decide(case: Case) -> Verdict:
    """Return the verdict on one metric.

    The first that speaks wins: worse in pairs, below its own limit, shown to be good, nothing found, nothing known. Where
    nothing is found, pairs are shown for as long as they come; after that the limit, which every outcome is held against.
    """
    compared = case.comparison if case.comparison is not None and case.comparison.pairs else None
    watch, worse = case.watch, case.watch.worse if case.watch is not None else None
    if compared is not None and compared.worse.crossed:
        return _by_pairs(case, compared, Name.DEGRADED, compared.worse)
    if watch is not None and worse is not None and worse.crossed:
        provisional = _may_condemn(case, watch, worse)
        name = Name.DEGRADED if provisional else Name.DECAYED
        return _by_limit(case, watch, name, worse, provisional=provisional)
    watched = watch is not None and watch.all.outcomes > 0 and worse is not None
    if compared is not None and (case.comparable or not watched):
        return _by_pairs(case, compared, *_shown(compared.within, compared.worse))
    if watch is not None and watched and worse is not None and watch.within is not None:
        return _by_limit(case, watch, *_shown(watch.within, worse))
    return _collecting(case)


def withdrawn(last_good: limits.Watch) -> bool:
    """Tell whether a provisional verdict against a revision is to be taken back.

    Args:
        last_good: Fresh outcomes of the last good revision, since the rollback, against the same reference.
    """
    return last_good.worse is not None and last_good.worse.crossed


def verification(fresh: Comparison) -> Verification:
    """Return whether going back would help, by pairs that arrived after the verdict Decayed.

    The outcomes that fired must not be among them: they were chosen for being bad.
    """
    if fresh.worse.crossed:
        return Verification.GO_BACK
    return Verification.WOULD_NOT_HELP if fresh.within.crossed else Verification.PENDING


def _may_condemn(case: Case, watch: limits.Watch, monitor: betting.Monitor) -> bool:
    """Tell whether a fixed limit alone may speak against a revision: where it could not be compared, and is new.

    A reference made of its own outcomes shows a change since, not that it was worse from the start.
    """
    new = monitor.crossed_at is not None and monitor.crossed_at <= FIRST_OUTCOMES
    return not case.comparable and case.has_last_good and watch.plan is None and new


def _shown(within: Finding, worse: Finding) -> tuple[Name, Finding]:
    return (Name.HEALTHY, within) if within.crossed else (Name.WATCHING, worse)


def _by_pairs(case: Case, comparison: Comparison, name: Name, finding: Finding) -> Verdict:
    other = intervals.flipped(comparison.old).mean
    reference = case.reading.value(other) if other is not None else None
    return _verdict(
        case,
        name,
        scores=intervals.flipped(comparison.new),
        against=f"vs {case.other}" + (f" {case.reading.text(reference)}" if reference is not None else ""),
        terms=case.reading.terms,
        reference=reference,
        limit=None,
        finding=finding,
    )


def _by_limit(case: Case, watch: limits.Watch, name: Name, finding: Finding, *, provisional: bool = False) -> Verdict:
    reference, reading = watch.reference, case.reading
    if reference is None:
        raise AssertionError("a monitor without a reference")
    value, limit = reading.value(reference.value), reading.value(reference.limit)
    terms = f"{reference.kind.lower()} {reading.text(value)}"
    if reference.outcomes:
        terms += f" over {reference.outcomes} outcomes, {reading.terms}"
    return _verdict(
        case,
        name,
        scores=intervals.flipped(watch.all),
        against=f"vs limit {reading.text(limit)}",
        terms=terms,
        reference=value,
        limit=limit,
        finding=finding,
        since=blocks.since(watch.recent, reference.tolerated_loss) if name is Name.DECAYED else None,
        provisional=provisional,
    )


def _verdict(
    case: Case,
    name: Name,
    *,
    scores: intervals.Summary,
    against: str,
    terms: str,
    reference: float | None,
    limit: float | None,
    finding: Finding,
    since: int | None = None,
    provisional: bool = False,
) -> Verdict:
    said = {
        Name.DEGRADED: "degraded",
        Name.DECAYED: "decayed",
        Name.HEALTHY: "shown to be within the margin"
        if limit is None
        else f"shown to be {_good_side(case.reading)} it",
        Name.WATCHING: "nothing found",
    }[name]
    if since:
        said += f" since about outcome {since}"
    if provisional:
        said += " provisionally, for nothing can be compared"
    estimate, interval = _measured(case.reading, scores)
    return Verdict(
        name=name,
        outcomes=scores.outcomes,
        estimate=estimate,
        interval=interval,
        reference=reference,
        limit=limit,
        evidence=finding.evidence,
        needed=finding.needed,
        alpha=finding.alpha,
        decided_at=finding.crossed_at,
        since=since,
        provisional=provisional,
        why="",
        message=f"{_said(case, scores)} {against}: {said}"
        f" ({terms}, alpha {finding.alpha:.2g}; evidence {odds(finding.evidence)}, needs {odds(finding.needed)})",
    )


def _measured(reading: measures.Reading, scores: intervals.Summary) -> tuple[float | None, tuple[float, float]]:
    """Return the measure and its interval; before the first outcome, and before errors have a scale, nothing."""
    if scores.mean is None or (reading.measure.is_of_errors and reading.scale is None):
        return None, (0.0, 1.0)
    return reading.value(scores.mean), reading.values(*intervals.interval(scores))


def _good_side(reading: measures.Reading) -> str:
    return "below" if reading.measure.has_relative_margin else "above"


def _said(case: Case, scores: intervals.Summary) -> str:
    estimate, (low, high) = _measured(case.reading, scores)
    if estimate is None:
        return case.metric
    low_text, high_text = case.reading.text(low), case.reading.text(high)
    return f"{case.metric} {case.reading.text(estimate)} [{low_text}, {high_text}] over {scores.outcomes} outcomes"


def odds(evidence: float) -> str:
    """Return evidence as people read it, e.g. `0.4:1`, `250:1`, `2.8e7:1`."""
    if 0.05 <= evidence < 1e4:
        return f"{evidence:.3g}:1" if evidence < 1e3 else f"{evidence:.0f}:1"
    mantissa, _, exponent = f"{evidence:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}:1"


def _collecting(case: Case) -> Verdict:
    """Say what is missing before anything can be judged."""
    watch = case.watch
    scores = intervals.flipped(watch.all) if watch is not None else intervals.EMPTY
    if watch is not None and watch.flaw:
        why = watch.flaw
    elif case.missing:
        why = f"{case.missing} more outcomes make a scale for errors"
    elif watch is not None and watch.missing and scores.outcomes:
        why = f"{watch.missing} more outcomes make a reference"
    elif case.comparison is not None and case.comparable and scores.outcomes:
        why = f"no outcome yet of an input that {case.other} answered, too"
    elif watch is None and case.comparison is None:
        why = "neither a limit nor a revision to compare with"
    else:
        why = "no outcomes yet"
    # Whatever decides first when there is something to decide on.
    monitor = case.comparison.worse if case.comparison is not None else watch.worse if watch is not None else None
    alpha = monitor.alpha if monitor is not None else watch.plan.alpha / 2 if watch is not None and watch.plan else 1.0
    estimate, interval = _measured(case.reading, scores)
    return Verdict(
        name=Name.COLLECTING,
        outcomes=scores.outcomes,
        estimate=estimate,
        interval=interval,
        reference=None,
        limit=None,
        evidence=1.0,
        needed=1 / alpha,
        alpha=alpha,
        decided_at=None,
        since=None,
        provisional=False,
        why=why,
        message=f"{_said(case, scores)}: {why}",
    )

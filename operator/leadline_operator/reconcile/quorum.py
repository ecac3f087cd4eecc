"""What the evidence says that does not hang on one source: `view`, by which everything is decided.

Where a quorum is asked for, a finding needs the evidence of all outcomes and, besides, the evidence without each single source.
Whatever one source reports, what is weighed without it is what the others reported; for a good revision that crosses with
no more than the probability that was asked for, and so does what needs it and more. The numbers shown are of all outcomes, the
evidence is that of the view which says least, and `held` says whose outcomes it hangs on.

Must not change the evidence itself, which is carried on in `evidence`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from leadline_stats import betting, contrasts, limits, pairs, verdicts

from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.streams import Compared, Own, Stream

F = TypeVar("F", betting.Monitor, contrasts.Finding)


def view(evidence: Evidence) -> Evidence:
    """Return the evidence in which only that is found which is found without each single source, too."""
    if evidence.first.terms.quorum < 2:
        return evidence
    streams = {
        metric: _stream(
            stream, {name: streams[metric] for name, streams in evidence.without.items() if metric in streams}
        )
        for metric, stream in evidence.streams.items()
    }
    return replace(evidence, streams=streams)


def _stream(stream: Stream, without: Mapping[str, Stream]) -> Stream:
    return replace(
        stream,
        own={
            name: _own(own, {source: each.own.get(name) for source, each in without.items()})
            for name, own in stream.own.items()
        },
        fresh={
            name: _own(own, {source: each.fresh.get(name) for source, each in without.items()})
            for name, own in stream.fresh.items()
        },
        pairs={
            subject: _pairs(compared, {source: each.pairs.get(subject) for source, each in without.items()})
            for subject, compared in stream.pairs.items()
        },
    )


def _own(own: Own, without: Mapping[str, Own | None]) -> Own:
    watch = own.watch
    if watch.worse is None or watch.within is None or watch.reference is None:
        return own
    fresh = limits.against(watch.reference)
    assert fresh.worse is not None, "a watch with a reference has monitors"
    assert fresh.within is not None
    watches = {source: each.watch if each is not None else fresh for source, each in without.items()}
    worse, source = _least(watch.worse, {name: each.worse or fresh.worse for name, each in watches.items()})
    within, _ = _least(watch.within, {name: each.within or fresh.within for name, each in watches.items()})
    decided = [own.decided_seq, *(each.decided_seq for each in without.values() if each is not None)]
    return replace(
        own,
        watch=replace(watch, worse=worse, within=within),
        decided_seq=max(decided) if worse.crossed else 0,
        held=_held(watch.worse, worse, source),
    )


def _pairs(compared: Compared, without: Mapping[str, Compared | None]) -> Compared:
    comparison = compared.comparison
    fresh = _begun(comparison)
    several = {source: each.comparison if each is not None else fresh for source, each in without.items()}
    worse, source = _least(comparison.worse, _each(several, lambda each: each.worse))
    within, _ = _least(comparison.within, _each(several, lambda each: each.within))
    decided = [compared.decided_seq, *(each.decided_seq for each in without.values() if each is not None)]
    # Both of one kind: they are of the same metric.
    known: Any = comparison
    return replace(
        compared,
        comparison=replace(known, worse=worse, within=within),
        decided_seq=max(decided) if worse.crossed else 0,
        held=_held(comparison.worse, worse, source),
    )


def _begun(comparison: verdicts.Comparison) -> verdicts.Comparison:
    if isinstance(comparison, contrasts.Contrast):
        return contrasts.begin(comparison.measure, margin=comparison.margin, alpha=comparison.worse.alpha)
    return pairs.begin(margin=comparison.margin, alpha=comparison.worse.alpha)


def _each(several: Mapping[str, verdicts.Comparison], what: Callable[[Any], Any]) -> dict[str, Any]:
    return {source: what(comparison) for source, comparison in several.items()}


def _least(whole: F, without: Mapping[str, F]) -> tuple[F, str]:
    """Return the finding that says least, with the number of all outcomes, and without whom it says so; empty: of all."""
    open_ = [(each.evidence, source) for source, each in without.items() if not each.crossed]
    if not open_ or (not whole.crossed and whole.evidence <= min(open_)[0]):
        return whole, ""
    source = min(open_)[1]
    return replace(without[source], outcomes=whole.outcomes), source


def _held(whole: verdicts.Finding, said: verdicts.Finding, source: str) -> str:
    if not whole.crossed or said.crossed:
        return ""
    by = source or "who does not say who it is"
    return (
        f"evidence {verdicts.odds(whole.evidence)} with {by}, not enough without: no single source decides (quorum 2)"
    )


def held(held_by: Sequence[str]) -> str:
    """Return what a message goes on with where a finding is held back; empty: none is."""
    return "".join(f"; {each}" for each in held_by if each)

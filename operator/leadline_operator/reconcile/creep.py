"""What no single comparison sees: margins that add up over many revisions.

Each revision may be worse than the one before by the margin; after five of them that is five margins. So the serving revision is
also held against the best one that was accepted, on the same rows of the test set, and by its outcomes. What is found is an alert
and moves nothing. Only revisions that are still remembered are looked at.
"""

from typing import Final

from leadline_api.reasons import Reason
from leadline_stats import intervals, test_sets

from leadline_operator.reconcile import judging_outcomes
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.streams import Own, Stream
from leadline_operator.reconcile.testing import Judgement

MARGINS: Final = 2
"""That the serving revision may be below the best one."""
ALPHA: Final = 0.01
"""Probability, at most, with which rows of a test set say so of one that is not."""


def look(observed: Observed, decision: Decision) -> None:
    """Note what has crept in with the serving revision."""
    record = decision.records.get(decision.serving)
    if record is None or not decision.may_try(decision.serving):
        return
    decision.crept = _on_test_set(decision) or _by_outcomes(observed, decision)


def _accepted(decision: Decision) -> list[str]:
    """Return the revisions that served, and against which nothing was found."""
    return [
        name
        for name, record in decision.records.items()
        if name != decision.serving and record.serving_since is not None and not record.rejections
    ]


def _on_test_set(decision: Decision) -> Judgement | None:
    gate, test = decision.gate, decision.records[decision.serving].test
    if gate.test_set is None or test is None or test.key != gate.set_key:
        return None
    known = [
        (each.right_rows, name, each)
        for name in _accepted(decision)
        if (each := decision.records[name].test) is not None and (each.digest, each.rows) == (test.digest, test.rows)
    ]
    if not known:
        return None
    _, name, best = max(known, key=lambda each: each[:2])
    breaks, fixes = test_sets.breaks_and_fixes(best.bitmap, test.bitmap, test.rows)
    if (breaks - fixes) / test.rows <= MARGINS * gate.margin:
        return None
    risk = test_sets.churn_risk_for(ALPHA)
    p_value = test_sets.test_set_pvalue(breaks, fixes, test.rows, MARGINS * gate.margin, churn_risk=risk)
    if p_value > ALPHA:
        return None
    return _crept(
        f"{gate.metric} {test.estimate:.3f}", f"{best.estimate:.3f} of {name} on the same rows", f"{gate.margin:g}"
    )


def _by_outcomes(observed: Observed, decision: Decision) -> Judgement | None:
    evidence = judging_outcomes.evidence_of(observed)
    if evidence is None:
        return None
    for stream in evidence.streams.values():
        own = stream.own.get(decision.serving)
        known = [(each, name) for name in _accepted(decision) if (each := stream.own.get(name)) is not None]
        measured = [(each.watch.all.mean, name, each) for each, name in known if each.watch.all.mean is not None]
        if own is None or not measured:
            continue
        _, name, best = min(measured, key=lambda each: each[:2])
        if _is_far_below(stream, own, best):
            here, there = (_value(stream, each) for each in (own, best))
            return _crept(
                f"{stream.terms.metric} {here}",
                f"{there} of {name}, if the world has not moved",
                f"{stream.terms.margin:g}",
            )
    return None


def _is_far_below(stream: Stream, own: Own, best: Own) -> bool:
    """Tell whether the least loss that a revision may have is beyond twice the margin of the most that the best may have."""
    least, _ = intervals.interval(own.watch.all)
    _, most = intervals.interval(best.watch.all)
    return least > most + MARGINS * stream.reading.tolerated(most)


def _value(stream: Stream, own: Own) -> str:
    return stream.reading.text(stream.reading.value(1 - (own.watch.all.mean or 0.0)))


def _crept(here: str, there: str, margin: str) -> Judgement:
    return Judgement(Reason.QUALITY_CREEP, f"{here} is more than {MARGINS} margins of {margin} worse than the {there}")

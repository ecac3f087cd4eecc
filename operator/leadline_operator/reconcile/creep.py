"""Say where the serving revision has lost more than twice the margin against the best revision that was ever accepted.

Each successor was within the margin of the one before it, and margins add up. It is a finding about a series, not about the
revision: it is said (QualityOK=False, one Event), no traffic moves and nothing stalls. Accepted is who got the traffic and has
no finding against it. By the test set both answered the same rows; by outcomes each has its own, of its own time. What was
said once is in the record, so that it is not said again.
"""

from leadline_api.reasons import Reason
from leadline_stats import creep, measures, test_sets

from leadline_operator.reconcile import announcing, judging_outcomes, terms, testing
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.findings import Finding
from leadline_operator.reconcile.judging_outcomes import Known
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Record, TestResult

_FOLLOWS = "no traffic moves, for no single step was found worse"


def judge(observed: Observed, decision: Decision, now: float) -> None:
    """Fill in what is said of the whole series of accepted revisions: `Decision.creep`, and whose record must be kept."""
    name = decision.serving
    for other, known in decision.records.items():
        if other != name and known.crept:
            decision.records[other] = known.with_(crept="")
    decision.best = _best(observed, decision)
    record = decision.records.get(name)
    if name not in observed.by_name or record is None or not decision.may_try(name):
        return
    said = record.crept == decision.gate.key
    message = _by_test_set(observed, decision, record) or _by_outcomes(observed, decision, now, said=said)
    if message:
        decision.creep = Finding("False", Reason.QUALITY_CREEP, message)
        if not said:
            decision.records[name] = record.with_(crept=decision.gate.key)
            note = f"Revision {name} keeps serving: {message}"
            decision.events.append(Event("Warning", Reason.QUALITY_CREEP, note))
    elif record.crept and _is_measured(observed, decision, record):
        decision.records[name] = record.with_(crept="")


def _is_measured(observed: Observed, decision: Decision, record: Record) -> bool:
    """Tell whether all is known that could show it: what was said holds until then."""
    is_tested = decision.gate.test_set is None or _answers(decision, record) is not None
    is_judged = not terms.asked(observed.spec) or judging_outcomes.evidence_of(observed) is not None
    return is_tested and is_judged


def _is_accepted(decision: Decision, record: Record) -> bool:
    """Tell whether a revision got the traffic, and nothing was found against it since."""
    pardoned = max((each.at for each in record.pardoned), default=0.0)
    return record.serving_since is not None and record.serving_since > pardoned and decision.stands(record)


def _answers(decision: Decision, record: Record) -> TestResult | None:
    """Return what a revision answered to today's test set at admission; None: it did not, or nobody asks for it."""
    is_asked = decision.gate.test_set is not None and record.test is not None
    return record.test if is_asked and record.test is not None and record.test.key == decision.gate.set_key else None


def _best(observed: Observed, decision: Decision) -> str:
    """Return the accepted revision that has most rows of today's test set right, the first of them; empty: none has answered."""
    found = []
    for name, record in decision.records.items():
        test = _answers(decision, record)
        if test is not None and name in observed.by_name and _is_accepted(decision, record):
            found.append((-test.right_rows, _place(observed, name), name))
    return min(found)[2] if found else ""


def _place(observed: Observed, name: str) -> int:
    """Return a number that grows from revision to revision, from 1."""
    return max(1, observed.by_name[name].stored.number)


def _by_test_set(observed: Observed, decision: Decision, record: Record) -> str:
    """Say how far the serving revision's answers are below those of the best one to the same rows; empty: not too far."""
    name, best, gate = decision.serving, decision.best, decision.gate
    test = _answers(decision, record)
    reference = _answers(decision, decision.records[best]) if best else None
    if test is None or reference is None or (reference.digest, reference.rows) != (test.digest, test.rows):
        return ""
    places = _place(observed, name), _place(observed, best)
    if places[0] == places[1]:  # it is the best itself; or both were made by hand without a number
        return ""
    flips = test_sets.breaks_and_fixes(reference.bitmap, test.bitmap, test.rows)
    if flips.breaks - flips.fixes <= creep.MARGINS * gate.margin * test.rows:
        return ""  # the test need not be asked what the estimate does not show
    level = creep.test_set_level(gate.alpha, *places)
    p_value = creep.test_set_pvalue(flips, test.rows, gate.margin, level=level)
    if p_value > level:
        return ""
    return (
        f"{testing.describe(gate, test)} vs {reference.estimate:.3f} of {best}, the best accepted revision: more than twice the "
        f"margin {gate.margin:g} is lost (p {p_value:.2g}, limit {level:.2g}); {_FOLLOWS}"
    )


def _by_outcomes(observed: Observed, decision: Decision, now: float, *, said: bool) -> str:
    """Say the same by outcomes, by the first metric that shows it; what was said holds while the estimates show it."""
    found = judging_outcomes.known(observed, decision, now)
    places = _places(found[0].evidence) if found else {}
    if decision.serving not in places:
        return ""  # the ledger was not told yet that it serves
    for known in found:
        message = _by_metric(decision, known, places, said=said)
        if message:
            return message
    return ""


def _by_metric(decision: Decision, known: Known, places: dict[str, int], *, said: bool) -> str:
    name, own, stream = decision.serving, known.own, known.stream
    if own is None:
        return ""

    def accepted(revision: str) -> creep.Accepted:
        begun = known.evidence.remembered(revision).begun.limit
        alpha = creep.interval_level(stream.terms.limit_alpha, places[revision], begun=begun)
        return creep.Accepted(stream.own[revision].watch.all, alpha)

    others = {
        other: accepted(other)
        for other, each in stream.own.items()
        if other != name
        and other in places
        and creep.is_below(stream.reading, own.watch.all, each.watch.all)
        and _is_accepted(decision, _record(decision, known.evidence, other))
    }
    fall = creep.fall(stream.reading, accepted(name), others, by_estimates=said) if others else None
    return _said(known, fall, stream.own[fall.best].outcomes) if fall is not None else ""


def _said(known: Known, fall: creep.Fall, of_best: int) -> str:
    reading, own = known.stream.reading, known.own
    outcomes = own.outcomes if own is not None else 0
    return (
        f"{known.metric} {_with_interval(reading, fall.estimate, fall.interval)} over {outcomes} outcomes vs "
        f"{_with_interval(reading, fall.best_estimate, fall.best_interval)} over {of_best} of {fall.best}, the best accepted "
        f"revision: more than twice the {reading.terms} is lost, or the world has moved since; {_FOLLOWS}"
    )


def _with_interval(reading: measures.Reading, value: float, interval: tuple[float, float]) -> str:
    low, high = map(reading.text, interval)
    return f"{reading.text(value)} [{low}, {high}]"


def _places(evidence: Evidence) -> dict[str, int]:
    """Return the place of each promoted revision in the order in which they first got the traffic, from 1."""
    found: dict[str, int] = {}
    for entry in evidence.decisions.values():
        if entry.kind == "Promoted":
            found.setdefault(entry.revision, len(found) + 1)
    return found


def _record(decision: Decision, evidence: Evidence, revision: str) -> Record:
    """Return the record of a revision; of one that is no longer kept, what the log knows."""
    return decision.records.get(revision) or announcing.record_of(evidence, revision) or Record()

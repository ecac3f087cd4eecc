"""Say how good the serving revision is: entries of status.quality, and the conditions QualityOK and OutcomesFlowing.

Outcomes speak before the test set where there are any, for they are about today's world; the test set's p-value stays
beside them. Numbers that hardly moved are left as they were written, so that a status is not written for each outcome.
"""

import re
from dataclasses import replace
from typing import Any, Final

from leadline_api import reasons
from leadline_api.reasons import Reason
from leadline_api.status import ConditionType, Verdict
from leadline_stats import detectability, test_sets, verdicts
from leadline_stats.measures import Measure

from leadline_operator.reconcile import judging_outcomes, representing, testing
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.findings import Finding
from leadline_operator.reconcile.judging_outcomes import Known
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.records import Record, Unreadable
from leadline_operator.reconcile.streams import Own

DROP: Final = 0.05
"""Drop of the metric of which status.quality[].detectable speaks."""
GROWTH: Final = 1.1
"""Numbers are written anew when there are so many times the outcomes."""
MESSAGE_MAX: Final = 2048
"""Characters of a message that the CRD takes."""
SUMMARY_MAX: Final = 64
"""Characters of a column that the CRD takes."""
_RECEIPTS_EXPECTED: Final = 1_000
"""Answers after which a pod without a receipt has none to give, whatever share of them gets one."""
SILENCE_SECONDS: Final = 600.0
"""Without an outcome for so long, and for twenty times the usual pause, they have stopped."""
_NUMBER: Final = re.compile(r"(?<![\w-])[0-9][0-9.]*(e[+-]?[0-9]+)?(?![\w-])")
_SHARES: Final = (Measure.ACCURACY, Measure.PRECISION, Measure.RECALL)
"""Measures whose drop is one of a share of right answers."""
_DECAY: Final = (Reason.DECAYED, Reason.ROLLBACK_WOULD_NOT_HELP)


def entries(observed: Observed, decision: Decision, now: float) -> list[dict[str, Any]]:
    """Return status.quality, an entry for each metric in the order of the spec."""
    record, metrics = decision.records.get(decision.serving), observed.spec.quality.metrics
    if not metrics or record is None:
        return []
    found = {each.metric: each for each in judging_outcomes.known(observed, decision, now)}
    measured = [_entry(observed, decision, record, each.name, found.get(each.name)) for each in metrics]
    bad = _bad(decision)
    if bad is not None:
        _condemned(measured, bad)
    elif kept := _kept(observed):
        return kept
    said = {each.get("name"): each for each in observed.status.get("quality") or ()}
    before = [_steady(observed, entry, said.get(entry["name"])) for entry in measured]
    # Numbers of all metrics are written together, so that what stands side by side is of the same time.
    is_steady = all(
        each is not None or entry == said.get(entry["name"]) for each, entry in zip(before, measured, strict=True)
    )
    if is_steady:
        return [each or entry for each, entry in zip(before, measured, strict=True)]
    return [_detected(entry, found) for entry in measured]


def _entry(observed: Observed, decision: Decision, record: Record, name: str, found: Known | None) -> dict[str, Any]:
    """Return what is known by one metric: by outcomes, else by the test set where that measures it."""
    gate = decision.gate
    entry: dict[str, Any] = {"name": name, "verdict": Verdict.COLLECTING, "rows": 0}
    is_tested = gate.test_set is not None and gate.metric == name
    if is_tested and record.test is not None and record.test.key == gate.set_key:
        entry |= _by_test_set(decision, record)
    elif is_tested:
        entry["message"] = "The test set was not answered yet"
    if found is not None:
        entry |= _by_outcomes(found, over=entry)
    elif observed.spec.outcomes is not None and not is_tested:
        entry["message"] = "The ledger was not read yet"
    return entry


def _condemned(measured: list[dict[str, Any]], bad: Finding) -> None:
    """Say a finding against the revision by the metric that it names, else by the first."""
    verdict = Verdict.DECAYED if bad.reason in _DECAY else Verdict.DEGRADED
    named = next((each for each in measured if bad.message.startswith(f"{each['name']} ")), measured[0])
    named |= {"verdict": verdict, "message": bad.message[:MESSAGE_MAX]}


def _detected(entry: dict[str, Any], found: dict[str, Known]) -> dict[str, Any]:
    known = found.get(entry["name"])
    if known is not None and known.own is not None and "needed" in entry:
        entry["detectable"] = _detectable(known, known.own)
    return entry


def condition(
    observed: Observed, decision: Decision, now: float, *, measured: list[dict[str, Any]], because: str
) -> Finding:
    """Return QualityOK; in the words of before where only numbers differ and status.quality stays as it was.

    Args:
        observed: What there is.
        decision: What follows.
        now: Seconds since the epoch.
        measured: What `entries` returned.
        because: What holds a first measurement up, as the end of a sentence; empty: nothing known.
    """
    found = _condition(observed, decision, now, because=because)
    said: dict[str, Any] = next(
        (each for each in observed.status.get("conditions") or () if each.get("type") == ConditionType.QUALITY_OK), {}
    )
    stays = any(each.get("outcomes") for each in measured) and measured == observed.status.get("quality")
    if said and stays and _bad(decision) is None and _kept(observed):
        return Finding(said["status"], reasons.known(said["reason"]), said.get("message") or "")
    same = (said.get("status"), said.get("reason")) == (found.status, found.reason)
    return (
        replace(found, message=said.get("message") or "") if stays and same and _alike(found.message, said) else found
    )


def _condition(observed: Observed, decision: Decision, now: float, *, because: str) -> Finding:
    record = decision.records.get(decision.serving)
    if isinstance(record, Unreadable):
        return Finding("Unknown", Reason.UNREADABLE_RECORD, f"The record of {decision.serving} cannot be read")
    bad = _bad(decision)
    if bad is not None:
        return bad
    if decision.creep is not None:
        return decision.creep
    if record is None or not decision.gate.metric:
        asked = decision.gate.metric != ""
        return Finding("Unknown", Reason.NOT_MEASURED, "Nothing serves yet" if asked else "No metric is asked for")
    tested = record.test if record.test is not None and record.test.key == decision.gate.set_key else None
    if decision.gate.test_set is not None:
        if tested is None:
            return Finding("Unknown", Reason.NOT_MEASURED, f"The test set was not answered yet{because}")
        measured = testing.describe(decision.gate, tested)
        if decision.unmeasured is not None:
            trouble = f"{decision.unmeasured.reason}: {decision.unmeasured.message}"
            return Finding("Unknown", Reason.NOT_MEASURED, f"{measured}; the newest replay was not answered: {trouble}")
        return Finding("True", Reason.QUALITY_WATCHED, "; ".join([measured, *_notes(decision)]))
    found = judging_outcomes.known(observed, decision, now)
    collecting = next((each for each in found if each.verdict.name is verdicts.Name.COLLECTING), None)
    if not found or collecting is not None:
        why = collecting.verdict.why if collecting is not None else "the ledger was not read yet"
        which = f" by {collecting.metric}" if collecting is not None and len(found) > 1 else ""
        said = "; ".join([f"Outcomes cannot judge{which} yet: {why}", *_notes(decision)])
        return Finding("Unknown", Reason.NOT_MEASURED, said)
    return Finding("True", Reason.QUALITY_WATCHED, "; ".join([*map(_watched, found), *_notes(decision)]))


def _notes(decision: Decision) -> list[str]:
    return [f"{each.reason}: {each.message}" for each in decision.notes]


def _watched(found: Known) -> str:
    healthy = found.verdict.name is verdicts.Name.HEALTHY
    return f"{found.metric}: {'shown to be within the margin' if healthy else 'judged by outcomes, nothing found'}"


def _unreceipted(observed: Observed, decision: Decision) -> str:
    """Say that predictions get no receipts, where that is why no outcome comes."""
    reports = [pod.report for pod in observed.ready_pods(decision.serving) if pod.report is not None]
    answered = sum(report.requests for report in reports)
    receipts = sum(report.outcomes.receipts for report in reports if report.outcomes is not None)
    if answered < _RECEIPTS_EXPECTED or receipts:
        return ""
    return (
        ", for no answer had a receipt: it cannot be told which output is the prediction; name it in"
        " spec.model.predictions, or in the model's metadata as leadline.prediction (of a regression with leadline.task)"
    )


def outcomes_flowing(observed: Observed, decision: Decision, now: float) -> Finding:
    """Return OutcomesFlowing."""
    if observed.spec.outcomes is None:
        return Finding("Unknown", Reason.OUTCOMES_OFF, "spec.outcomes is not set")
    if not observed.settings.ledger_url:
        return Finding("False", Reason.LEDGER_UNREACHABLE, "The operator was installed without a ledger")
    if observed.ledger is None or observed.ledger.trouble:
        trouble = observed.ledger.trouble if observed.ledger is not None else "it was not read yet"
        return Finding("Unknown", Reason.LEDGER_UNREACHABLE, f"No verdict changes: {trouble}")
    for pod in observed.ready_pods(decision.serving):
        told = pod.report.outcomes if pod.report is not None else None
        if told is not None and told.trouble is not None:
            said = f"Pod {pod.name} cannot reach the ledger: {told.trouble.message}"
            return Finding("Unknown", Reason.LEDGER_UNREACHABLE, said)
    flows = [own for own in observed.ledger.evidence.owns if own.outcomes]
    if not flows:
        return Finding("Unknown", Reason.NO_OUTCOMES, f"No outcome came yet{_unreceipted(observed, decision)}")
    last, pause = max(own.last_ms for own in flows) / 1000, max(_pause_seconds(own) for own in flows)
    left = last + max(SILENCE_SECONDS, 20 * pause) - now
    if left <= 0:
        return Finding(
            "False", Reason.OUTCOMES_STOPPED, f"No outcome for more than {max(SILENCE_SECONDS, 20 * pause):.0f} s"
        )
    decision.wakes.append(left)
    reports = (pod.report.outcomes for pod in observed.ready_pods(decision.serving) if pod.report is not None)
    odd = representing.bias(report for report in reports if report is not None)
    if odd:
        return Finding(
            "True",
            Reason.SELECTION_BIAS,
            f"{odd}: report all, or a random share (spec.outcomes.percent); docs/pitfalls.md",
        )
    return Finding("True", Reason.OUTCOMES_JUDGED)


def summary(quality: list[dict[str, Any]], observed: Observed) -> dict[str, str]:
    """Return the strings of the columns of `kubectl get`."""
    measured = [f"{each['name']} {_short(each['estimate'])}" for each in quality if "estimate" in each]
    counts = [str(each.get("outcomes", 0)) for each in quality] if observed.spec.outcomes is not None else []
    return {
        "quality": ", ".join(measured)[:SUMMARY_MAX],
        "outcomes": _once(counts)[:SUMMARY_MAX],
        "verdict": _once([str(each["verdict"]) for each in quality])[:SUMMARY_MAX],
    }


def _once(words: list[str]) -> str:
    """Return words for a column; what all metrics have is said once."""
    return ", ".join(words[:1] if len(set(words)) == 1 else words)


def _kept(observed: Observed) -> list[dict[str, Any]]:
    """Return what was said of the same spec and revision, while the ledger was not read since the operator's start."""
    status = observed.status
    unread = observed.ledger is None and observed.settings.ledger_url and observed.spec.outcomes is not None
    same = (status.get("observedGeneration"), status.get("servingRevision")) == (observed.generation, observed.serving)
    said: list[dict[str, Any]] = status.get("quality") or []
    return said if unread and same and any(each.get("outcomes") for each in said) else []


def _alike(message: str, said: dict[str, Any]) -> bool:
    """Tell whether two messages differ in numbers at most."""
    return _NUMBER.sub("#", message) == _NUMBER.sub("#", said.get("message") or "")


def _bad(decision: Decision) -> Finding | None:
    """Return what was found against the serving revision."""
    if decision.finding is not None and decision.finding.reason is not None:
        return Finding("False", decision.finding.reason, decision.finding.message)
    record = decision.records.get(decision.serving)
    rejection = record.rejection(decision.gate.key) if record is not None else None
    return Finding("False", reasons.known(rejection.reason), rejection.message) if rejection is not None else None


def _by_test_set(decision: Decision, record: Record) -> dict[str, Any]:
    assert record.test is not None
    low, high = test_sets.accuracy_interval(record.test.right_rows, record.test.rows)
    entry: dict[str, Any] = {
        "verdict": Verdict.WATCHING,
        "estimate": f"{record.test.estimate:.4f}",
        "interval": [f"{low:.4f}", f"{high:.4f}"],
        "rows": record.test.rows,
        "message": testing.describe(decision.gate, record.test),
    }
    if record.reference is not None:
        entry["reference"] = f"{record.reference:.4f}"
    if record.p_value is not None:
        entry["pValue"] = f"{record.p_value:.2g}"
    return entry


def _by_outcomes(found: Known, *, over: dict[str, Any]) -> dict[str, Any]:
    verdict = found.verdict
    entry: dict[str, Any] = {"outcomes": found.own.outcomes if found.own is not None else 0}
    if found.compared is not None:
        entry["pairs"] = found.compared.comparison.pairs
    if verdict.name is verdicts.Name.COLLECTING:
        if over["verdict"] is Verdict.COLLECTING:
            entry["message"] = verdict.message[:1].upper() + verdict.message[1:]
            if verdict.estimate is not None:
                entry |= _measured(verdict)
        return entry
    entry |= _measured(verdict)
    entry |= {
        "verdict": Verdict(verdict.name.value),
        "evidence": f"{verdict.evidence:.4g}",
        "needed": f"{verdict.needed:.4g}",
        "message": verdict.message[:1].upper() + verdict.message[1:],
    }
    if verdict.reference is not None:
        entry["reference"] = _number(verdict.reference)
    return entry


def _measured(verdict: verdicts.Verdict) -> dict[str, Any]:
    return {"estimate": _number(verdict.estimate or 0.0), "interval": [_number(each) for each in verdict.interval]}


def _number(value: float) -> str:
    """Return a number for status: four places of a share, six digits of what is larger or much smaller."""
    return f"{value:.4f}" if 0.01 <= abs(value) <= 1 or value == 0 else f"{value:.6g}"


def _short(number: str) -> str:
    """Return the same for a column."""
    value = float(number)
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.4g}"


def _detectable(found: Known, own: Own) -> str:
    """Say how long a drop would take to be found at the rate at which outcomes come."""
    pause, terms = _pause_seconds(own), found.stream.terms
    if pause <= 0 or found.verdict.reference is None or terms.measures not in _SHARES:
        return ""
    try:
        return detectability.detectable(
            DROP,
            reference=found.verdict.reference,
            margin=terms.margin,
            alpha=found.verdict.alpha,
            per_day=86_400 / pause,
        ).short
    except ValueError:
        return ""


def _pause_seconds(own: Own) -> float:
    return (own.last_ms - own.first_ms) / 1000 / max(1, own.outcomes - 1)


def _steady(observed: Observed, entry: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the entry as it was written before, where only numbers differ and those have hardly moved; else None."""
    if before is None or before.get("verdict") != entry["verdict"] or not entry.get("outcomes"):
        return None
    same_measure = all(before.get(key) == entry.get(key) for key in ("rows", "pValue"))
    grew = any(entry.get(key, 0) >= GROWTH * max(1, before.get(key, 0)) for key in ("outcomes", "pairs"))
    fell = any(entry.get(key, 0) < before.get(key, 0) for key in ("outcomes", "pairs"))
    serves_on = observed.status.get("servingRevision") == observed.serving
    steady = same_measure and serves_on and not grew and not fell
    return before if steady and _alike(entry.get("message") or "", before) else None

"""Say what is: conditions for machines, phase and summary for people.

Ready: the URL answers with the serving revision. UpToDate: serving is desired. Stalled: serving is not desired and a
person is needed. QualityOK and OutcomesFlowing: see `quality`; ObjectivesMet: see `objectives`. RecordsReadable: what is remembered of each revision can
be read. Not known is Unknown, never bad.
"""

from datetime import UTC, datetime
from typing import Any

from leadline_api import names, quantities, reasons
from leadline_api.reasons import Reason
from leadline_api.status import ConditionType

from leadline_operator.reconcile import canary, capacity, objectives, quality, troubles
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.findings import Finding
from leadline_operator.reconcile.observed import Existing, Observed, Pod
from leadline_operator.reconcile.records import Unreadable

REJECTED_SHOWN = 5
_UNDECIDED = (
    "was compared on copies for as long as it was to be, without a verdict; it answers copies until outcomes decide, or until "
    "leadline.dev/action says promote@<now> or rollback@<now>"
)
_AGAIN = "tried again for as long as the spec asks"


def is_stuck(observed: Observed, decision: Decision, now: float) -> bool:
    """Tell whether a candidate has passed its deadline, or cannot start for a reason that only a person can remove."""
    return _stalled(observed, decision, now).status == "True"


def status(observed: Observed, decision: Decision, now: float) -> dict[str, Any]:
    """Return the whole status."""
    measured = quality.entries(observed, decision, now)
    because = _because(decision) if decision.desired == decision.serving else ""
    found = {
        ConditionType.READY: _ready(observed, decision),
        ConditionType.UP_TO_DATE: _up_to_date(decision),
        ConditionType.RECONCILING: _reconciling(observed, decision, now),
        ConditionType.STALLED: _stalled(observed, decision, now),
        ConditionType.QUALITY_OK: quality.condition(observed, decision, now, measured=measured, because=because),
        ConditionType.OUTCOMES_FLOWING: quality.outcomes_flowing(observed, decision, now),
        ConditionType.OBJECTIVES_MET: objectives.condition(observed, decision),
        ConditionType.RECORDS_READABLE: _records_readable(decision),
    }
    stalled, reconciling = found[ConditionType.STALLED], found[ConditionType.RECONCILING]
    bad = (
        found[kind]
        for kind in (ConditionType.QUALITY_OK, ConditionType.OBJECTIVES_MET)
        if found[kind].status == "False"
    )
    speaking = next(
        (each for each in (stalled, reconciling) if each.status == "True"), next(bad, found[ConditionType.READY])
    )
    result: dict[str, Any] = {
        "observedGeneration": observed.generation,
        "url": observed.owner.url,
        "desiredRevision": decision.desired,
        "servingRevision": decision.serving,
        "lastGoodRevision": decision.last_good,
        "phase": str(
            decision.phase if reconciling.status == "True" else (Reason.SERVING if decision.serving else stalled.reason)
        ),
        "replicas": len(observed.pods_of(decision.serving)) if decision.serving else 0,
        "selector": f"{names.DEPLOYMENT_LABEL}={observed.owner.name},{names.REVISION_LABEL}={decision.serving or 'none'}",
        "traffic": canary.traffic(observed, decision),
        "quality": measured,
        "rejected": _rejected(observed, decision),
        "handledAction": decision.command or observed.status.get("handledAction") or "",
        "summary": {**quality.summary(measured, observed), "message": speaking.message[:512]},
        "conditions": [_stamped(observed, kind, each, now) for kind, each in found.items()],
    }
    if decision.training is not None and decision.training.status is not None:
        result["retrain"] = decision.training.status
    return result


def status_of_invalid_spec(existing: Existing, problem: str, now: float) -> dict[str, Any]:
    """Return the whole status where the spec cannot be read: what is known of what serves stays, and is looked at."""
    name = existing.serving
    message = (
        f"This version of the operator cannot read the spec: {problem}; what exists is left as it is: correct the spec, "
        "or install the operator and the CRD of one version"
    )
    found = {
        ConditionType.READY: _answering(existing, name) if name else _nothing_serves(),
        ConditionType.UP_TO_DATE: Finding("Unknown", Reason.INVALID_SPEC, "Which revision is desired cannot be read"),
        ConditionType.RECONCILING: Finding("False", Reason.DONE),
        ConditionType.STALLED: Finding("True", Reason.INVALID_SPEC, message),
    }
    known = {each.get("type"): each for each in existing.status.get("conditions") or ()}
    unknown = Finding("Unknown", Reason.INVALID_SPEC)
    return existing.status | {
        "observedGeneration": existing.generation,
        "url": existing.owner.url,
        "servingRevision": name,
        "phase": str(Reason.SERVING if name else Reason.INVALID_SPEC),
        "replicas": len(existing.pods_of(name)) if name else 0,
        "traffic": [{"revision": name, "percent": 100}] if name and existing.ready_pods(name) else [],
        "summary": (existing.status.get("summary") or {"quality": ""}) | {"message": message[:512]},
        "conditions": [
            known[kind]
            if kind in known and kind not in found
            else _stamped(existing, kind, found.get(kind, unknown), now)
            for kind in ConditionType
        ],
    }


def _nothing_serves() -> Finding:
    return Finding("False", Reason.NO_REVISION_SERVES, "No revision was admitted yet")


def _ready(observed: Observed, decision: Decision) -> Finding:
    name = decision.serving
    if not name:
        return _nothing_serves()
    if decision.selected != name:
        return Finding("False", Reason.SWITCHING, f"The Service moves to {name}")
    if capacity.whole(observed, decision) == 0 and not observed.ready_pods(name):
        return Finding("False", Reason.SCALED_TO_ZERO, "spec.runtime.replicas is 0")
    return _answering(observed, name)


def _answering(existing: Existing, name: str) -> Finding:
    """Tell whether the revision that the Service selects answers."""
    trouble = troubles.trouble(existing, name)
    more = f"; {trouble.reason}: {trouble.message}" if trouble else ""
    more += "".join(_from_ledger(pod) for pod in existing.ready_pods(name))
    blind = troubles.of_autoscaler(existing)
    more += f"; the autoscaler does not scale: {blind}" if blind else ""
    if existing.ready_pods(name):
        return Finding("True", Reason.SERVING, f"{existing.owner.url} answers with {name}{more}")
    return Finding("False", Reason.NO_READY_PODS, f"No pod of {name} is ready{more}")


def _from_ledger(pod: Pod) -> str:
    """Say that a pod has its bytes from the ledger, and what is wrong with their URI."""
    trouble = pod.report.uri_trouble if pod.report is not None else None
    if trouble is None:
        return ""
    return f"; pod {pod.name} has the model from the ledger, for {trouble.reason}: {trouble.message}"


def _up_to_date(decision: Decision) -> Finding:
    if decision.serving == decision.desired:
        return Finding("True", Reason.SERVING_DESIRED, f"{decision.desired} serves")
    serves = f"{decision.serving} serves" if decision.serving else "nothing serves"
    return Finding(
        "False",
        Reason.SERVING_OTHER if decision.serving else Reason.NO_REVISION_SERVES,
        f"{decision.desired} is desired, {serves}",
    )


def _reconciling(observed: Observed, decision: Decision, now: float) -> Finding:
    if observed.refusal and _stalled(observed, decision, now).status != "True":
        return Finding("True", Reason.WRITE_REFUSED, f"{observed.refusal}; {_AGAIN}")
    if decision.serving and decision.selected != decision.serving:
        return Finding("True", Reason.SWITCHING, f"The Service moves to {decision.serving}")
    if decision.is_rejected(decision.serving) and decision.last_good:
        return Finding("True", Reason.ROLLING_BACK, f"Going back to {decision.last_good}{_because(decision)}")
    under_way = decision.desired != decision.serving and decision.may_try(decision.desired)
    if under_way and _stalled(observed, decision, now).status != "True":
        return Finding(
            "True",
            decision.phase,
            f"{decision.desired}: {decision.phase}{_progress(observed, decision)}{canary.said(observed, decision)}"
            f"{_because(decision)}",
        )
    if decision.handing_over:
        return Finding("True", Reason.SWITCHING, f"Pods of {decision.handing_over} still answer old connections")
    return Finding("False", Reason.DONE)


def _because(decision: Decision) -> str:
    return f"; {decision.trouble.reason}: {decision.trouble.message}" if decision.trouble else ""


def _progress(observed: Observed, decision: Decision) -> str:
    for pod in observed.pods_of(decision.desired):
        report = pod.report
        if report is not None and report.phase == "Fetching" and report.bytes_total:
            tenths = 10 * report.bytes_done // report.bytes_total
            return f", {10 * tenths} % of {report.bytes_total / 1e6:.1f} MB"
    return ""


def _stalled(observed: Observed, decision: Decision, now: float) -> Finding:
    if observed.conflicts:
        return Finding("True", Reason.NAME_CONFLICT, "; ".join(observed.conflicts))
    if decision.desired == decision.serving:
        return Finding("False", Reason.NOT_STALLED)
    record = decision.records[decision.desired]
    if isinstance(record, Unreadable):
        serves = f"{decision.serving} serves" if decision.serving else "nothing serves"
        return Finding("True", Reason.UNREADABLE_RECORD, f"{_cannot_be_read(decision)}; {serves}")
    rejection = record.rejection(decision.gate.key)
    if rejection is not None:
        if rejection.served and (decision.handing_over or decision.selected != decision.serving):
            return Finding("False", Reason.NOT_STALLED)  # the rollback is still under way: see Reconciling
        reason = Reason.ROLLED_BACK if rejection.served else reasons.known(rejection.reason)
        again = "to try it again annotate leadline.dev/action=retry@<now>"
        where = f"{decision.serving} serves" if decision.serving else "nothing serves"
        return Finding(
            "True", reason, f"{decision.desired} is rejected: {rejection.reason}: {rejection.message}; {where}; {again}"
        )
    deadline = quantities.seconds(observed.spec.rollout.progress_deadline)
    if decision.phase is Reason.UNDECIDED:
        return Finding("True", Reason.UNDECIDED, f"{decision.desired} {_UNDECIDED}")
    # It is for fetching, starting and testing; a comparison on copies, or a pause, takes as long as it is asked to, and pods
    # that came to be needed after it are not late.
    lasts = decision.phase in (Reason.SHADOWING, Reason.CANARY, Reason.PAUSED) or (
        decision.waits_for_pods and decision.trouble is None
    )
    if now - record.wanted_at < deadline or lasts:
        return Finding("False", Reason.NOT_STALLED)
    late = f"{decision.desired} is not there after {observed.spec.rollout.progress_deadline}"
    if observed.refusal:
        return Finding("True", Reason.WRITE_REFUSED, f"{late}: {observed.refusal}; {_AGAIN}")
    if decision.trouble is not None:
        reason = reasons.known(decision.trouble.reason)
        return Finding("True", reason, f"{late}: {decision.trouble.message}; {_AGAIN}")
    return Finding("True", Reason.PROGRESS_DEADLINE_EXCEEDED, f"{late}; it is in phase {decision.phase}")


def _records_readable(decision: Decision) -> Finding:
    if not any(map(decision.is_unreadable, decision.records)):
        return Finding("True", Reason.RECORDS_READ)
    return Finding("False", Reason.UNREADABLE_RECORD, _cannot_be_read(decision))


def _cannot_be_read(decision: Decision) -> str:
    found = [f"{name} ({each.problem})" for name, each in decision.records.items() if isinstance(each, Unreadable)]
    return (
        f"The annotation {names.RECORD_ANNOTATION} cannot be read on ControllerRevision {', '.join(found)}; it is left "
        "as it is, and the revision is neither tried nor judged nor deleted: go back to the version of the operator "
        "that wrote it, or remove the annotation so that the revision counts as new"
    )


def _rejected(observed: Observed, decision: Decision) -> list[dict[str, Any]]:
    found = []
    for name, record in decision.records.items():
        for rejection in record.rejections:
            revision = observed.by_name.get(name)
            entry = {
                "revision": name,
                "reason": rejection.reason,
                "at": _stamp(rejection.at),
                "message": rejection.message[:1024],
            }
            if revision is not None and revision.digest:
                entry["digest"] = revision.digest
            found.append((rejection.at, name, entry))
    return [entry for _, _, entry in sorted(found, key=lambda each: each[:2])][-REJECTED_SHOWN:]


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stamped(observed: Existing, kind: ConditionType, finding: Finding, now: float) -> dict[str, Any]:
    before = next((each for each in observed.status.get("conditions") or () if each.get("type") == kind), None)
    flipped = before is None or before.get("status") != finding.status
    return {
        "type": str(kind),
        "status": finding.status,
        "reason": str(finding.reason),
        "message": finding.message[:2048],
        "observedGeneration": observed.generation,
        "lastTransitionTime": _stamp(now) if flipped or before is None else before["lastTransitionTime"],
    }

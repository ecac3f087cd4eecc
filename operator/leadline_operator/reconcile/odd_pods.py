"""One pod answers the test set otherwise than at admission, and all others as then: it is restarted, and says nothing of the revision.

Bytes went wrong in a memory, a device computes otherwise: the model did not change. The pod goes once, and only while every pod
that should be there is ready. What comes back with the same answers is no pod's fault but its node's, and is left alone; so is
any after three in a week. Both are said, so that a broken node ends in a message and not in an endless loop.
"""

from typing import Final

from leadline_api.reasons import Reason
from leadline_wire.exchange import TestSetReport, TestSetRequest, Trouble

from leadline_operator.reconcile import capacity
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Pod
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import OddPod, Record, TestResult

PAUSE_SECONDS: Final = 3_600.0
"""From one restart to the next."""
WEEK_SECONDS: Final = 7 * 86_400.0
RESTARTS_MAX: Final = 3
"""In a week."""
KEPT: Final = 10
"""Restarted pods whose answers are remembered."""


def look(observed: Observed, decision: Decision, request: TestSetRequest, admitted: TestResult, now: float) -> None:
    """Have the odd one of the serving revision's pods deleted, where there is one and it may go; else note that it is there.

    Args:
        observed: What there is.
        decision: What follows; gets the pod, the Event and the record.
        request: The replay that has come to its end.
        admitted: What the revision answered at admission.
        now: Seconds since the epoch.
    """
    name = decision.serving
    record = decision.records[name]
    flips = _flips(observed, name, request, admitted)
    if flips is None:
        return
    odd = [pod for pod, rows in flips if rows > admitted.changed]
    if len(odd) != 1 or len(flips) == 1:
        if record.odd_pod is not None:
            decision.records[name] = record.with_(odd_pod=None)
        return
    (pod,) = odd
    mine = sum(_is_replaced(each, name) for each, _ in flips)
    is_whole = len(flips) == len(observed.pods_of(name)) and mine >= capacity.whole(observed, decision)
    if any(each.uid == pod.uid for each in record.restarted_pods):
        # Decided before, and it is still there: the operator or the API server went down between the two writes.
        decision.odd_pod = pod if is_whole else None
        return
    rows = next(each for whose, each in flips if whose is pod)
    answers = pod.report.test_set.answers if pod.report is not None and pod.report.test_set is not None else ""
    said = (
        f"pod {pod.name} answers {rows} of {admitted.rows} rows of the test set otherwise than {name} did at admission, "
        f"and no other of its {len(flips)} pods does"
    )
    found = OddPod(name=pod.name, uid=pod.uid, at=now, answers=answers, message=said)
    last = record.restarted_pods[-1].at if record.restarted_pods else None
    if why := _why_it_stays(record, answers, now) if _is_replaced(pod, name) else "its Deployment did not make it":
        found = found.with_(message=f"{said}; it is not restarted, for {why}", stays=True)
    elif last is not None and now - last < PAUSE_SECONDS:
        found = found.with_(message=f"{said}; it is restarted an hour after the one before it")
        decision.wakes.append(last + PAUSE_SECONDS - now)
    elif not is_whole:
        found = found.with_(message=f"{said}; it is restarted once all pods are ready")
    else:
        restarted = [*record.restarted_pods, found.with_(message="")][-KEPT:]
        decision.records[name] = record.with_(restarted_pods=restarted, odd_pod=None)
        decision.odd_pod = pod
        decision.events.append(Event("Warning", Reason.ODD_POD, f"Restarting it: {said}"))
        return
    before = record.odd_pod
    if before is not None and (before.uid, before.stays) == (found.uid, found.stays):
        return  # in the words of before: what a pod answers by chance would be another write at each replay
    decision.records[name] = record.with_(odd_pod=found)
    if found.stays:
        decision.events.append(Event("Warning", Reason.ODD_POD, found.message[:1].upper() + found.message[1:]))


def note(observed: Observed, decision: Decision) -> None:
    """Note an odd pod that is still there: until it is gone, or a replay shows that it is odd no more."""
    record = decision.records.get(decision.serving)
    found = record.odd_pod if record is not None else None
    if found is not None and any(pod.uid == found.uid for pod in observed.pods_of(decision.serving)):
        decision.notes.append(Trouble(Reason.ODD_POD, found.message, "surroundings"))


def _is_replaced(pod: Pod, revision: str) -> bool:
    """Tell whether a pod is of the revision's Deployment; labels alone prove nothing, and nobody would bring it back."""
    return pod.controller.rpartition("-")[0] == revision


def _why_it_stays(record: Record, answers: str, now: float) -> str:
    """Return why another restart is of no use, as the end of a sentence; empty: it may help."""
    alike = next((each for each in record.restarted_pods if answers and each.answers == answers), None)
    if alike is not None:
        return f"{alike.name}, which was, answered the same: look at what their nodes have in common"
    lately = sum(now - each.at < WEEK_SECONDS for each in record.restarted_pods)
    return f"{lately} were within a week: look at their nodes" if lately >= RESTARTS_MAX else ""


def _flips(
    observed: Observed, revision: str, request: TestSetRequest, admitted: TestResult
) -> list[tuple[Pod, int]] | None:
    """Return each ready pod with its rows that are right now and were not at admission, or the other way.

    None: a pod has not answered this replay, or answered other rows.
    """
    found = []
    for pod in observed.ready_pods(revision):
        report = pod.report.test_set if pod.report is not None else None
        if report is None or not _is_comparable(report, request, admitted):
            return None
        flipped = int.from_bytes(report.right, "big") ^ int.from_bytes(admitted.bitmap, "big")
        found.append((pod, flipped.bit_count()))
    return found or None


def _is_comparable(report: TestSetReport, request: TestSetRequest, admitted: TestResult) -> bool:
    return (
        report.run == request.run
        and report.state == "Done"
        and report.digest == admitted.digest
        and len(report.right) == len(admitted.bitmap)
    )

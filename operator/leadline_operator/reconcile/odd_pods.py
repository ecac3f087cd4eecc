"""One pod answers the test set otherwise than at admission, and all others as then: it is restarted, and says nothing of the revision.

Bytes went wrong in a memory, a device computes otherwise: the model did not change. A pod goes only while every pod that should be
there is ready, one an hour and three a day, so that a broken node ends in a message and not in an endless loop.
"""

from typing import Final

from leadline_api.reasons import Reason
from leadline_wire.exchange import TestSetReport, TestSetRequest, Trouble

from leadline_operator.reconcile import capacity
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Pod
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import TestResult

PAUSE_SECONDS: Final = 3_600.0
"""From one restart to the next."""
DAY_SECONDS: Final = 86_400.0
RESTARTS_MAX: Final = 3
"""In a day."""


def restart(observed: Observed, decision: Decision, request: TestSetRequest, admitted: TestResult, now: float) -> None:
    """Have the odd one of the serving revision's pods deleted, where there is one and it may go; else say that it is there."""
    name = decision.serving
    found = _odd(observed, name, request, admitted)
    if found is None:
        return
    pod, flips = found
    others = len(observed.ready_pods(name)) - 1
    said = (
        f"pod {pod.name} answers {flips} of {admitted.rows} rows of the test set otherwise than at admission, and {others} other "
        f"pods of {name} do not"
    )
    record = decision.records[name]
    lately = [at for at in record.odd_pods if now - at < DAY_SECONDS]
    is_whole = len(observed.ready_pods(name)) == len(observed.pods_of(name)) >= capacity.whole(observed, decision)
    rests = bool(lately) and now - lately[-1] < PAUSE_SECONDS
    if len(lately) >= RESTARTS_MAX or rests or not is_whole:
        why = f"{len(lately)} were restarted within a day" if lately else "not all pods are ready"
        decision.notes.append(Trouble(Reason.ODD_POD, f"{said}; it is not restarted now, for {why}", "surroundings"))
        return
    decision.records[name] = record.with_(odd_pods=[*lately, now])
    decision.odd_pod = pod
    decision.events.append(Event("Warning", Reason.ODD_POD, f"Restarted: {said}"))


def _odd(observed: Observed, revision: str, request: TestSetRequest, admitted: TestResult) -> tuple[Pod, int] | None:
    """Return the only pod whose answers flipped, and how many; None: there is none, or not all have answered yet."""
    ready = observed.ready_pods(revision)
    reports = [pod.report.test_set if pod.report is not None else None for pod in ready]
    flips = [_flips(report, request, admitted) for report in reports]
    known = [each for each in flips if each is not None]
    odd = [(pod, each) for pod, each in zip(ready, flips, strict=True) if each is not None and each > admitted.changed]
    return odd[0] if len(known) == len(ready) >= 2 and len(odd) == 1 else None


def _flips(report: TestSetReport | None, request: TestSetRequest, admitted: TestResult) -> int | None:
    """Return how many rows are right now and were not at admission, or the other way; None: it cannot be told."""
    if report is None or report.run != request.run or report.state != "Done":
        return None
    if report.digest != admitted.digest or len(report.right) != len(admitted.bitmap):
        return None
    return (int.from_bytes(report.right, "big") ^ int.from_bytes(admitted.bitmap, "big")).bit_count()

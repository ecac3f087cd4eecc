"""Labelled rows that wait in the ledger: who answers them, so that they judge as outcomes of copied requests do.

The serving revision does, and beside it the candidate while requests are copied to it, else the last good one, which gets
pods for as long as rows wait. Each row is answered once in all. So rows wait where the other revision is not ready, and
while the traffic moves: one that is answered by the serving revision alone tells nothing of which is better.

Must not know the rows.
"""

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Pod


def plan(observed: Observed, decision: Decision) -> None:
    """Say who answers labelled rows beside the serving revision, and see to it that it has pods."""
    if observed.ledger is None or not observed.ledger.labels_waiting:
        return
    if observed.spec.outcomes is None or not observed.settings.ledger_url:
        return
    serving = decision.serving
    is_settled = decision.target in ("", serving) and decision.selected == serving
    if not serving or not is_settled or not decision.may_try(serving):
        return
    is_compared = decision.desired in decision.copies and decision.desired != serving
    other = decision.desired if is_compared else decision.last_good
    if other and other == decision.last_good:
        decision.to_measure = other
    if not other or (observed.ready_pods(other) and observed.address(other)):
        decision.labels = other


def pod(observed: Observed, decision: Decision) -> Pod | None:
    """Return the pod that answers labelled rows; None: none does.

    One that knows the rows of the test set, which it has to leave out.
    """
    if decision.labels is None:
        return None
    for each in sorted(observed.ready_pods(decision.serving), key=lambda each: each.name):
        report = each.report
        if not each.ip or report is None or report.phase != "Ready":
            continue
        test_set = report.test_set
        is_read = test_set is not None and test_set.state in ("Running", "Done")
        if is_read or observed.spec.quality.test_set is None:
            return each
    return None

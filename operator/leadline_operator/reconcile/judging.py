"""Judge revisions by the test set: a candidate before it gets traffic, the serving one for as long as it serves.

Asks for the runs that are due (`Decision.requests`) and writes what was found into the records; where the traffic goes
is decided in `rollout`.
"""

from dataclasses import replace
from typing import Any

from leadline_api import quantities, reasons
from leadline_api.reasons import Reason
from leadline_wire.exchange import Trouble

from leadline_operator.reconcile import growing, odd_pods, testing, troubles, wear
from leadline_operator.reconcile import measured as measured_by
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Revision
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Rejection, TestResult, WayBack


def judge_serving(observed: Observed, decision: Decision, now: float) -> None:
    """Ask the serving revision's pods for what is due, and judge what they answered."""
    gate, name = decision.gate, decision.serving
    revision = observed.by_name.get(name)
    if revision is None or gate.test_set is None or not decision.may_try(name):
        return
    record = decision.records[name]
    if record.test is None or record.test.key != gate.set_key:
        request = testing.admission_request(gate, revision)
        if request is None:
            return
        decision.requests[name] = request
        answered = testing.result(observed, name, request, now=now)
        if growing.does_not_fit(decision, answered):
            return
        if not isinstance(answered, TestResult):
            decision.trouble = answered or testing.unheard(observed, name)
            return
        decision.records[name] = record.with_(test=answered, admitted_gate="", odd_pod=None)
        wear.count(decision, name, answered)
        record = decision.records[name]
    judgement = (
        _admit_serving(observed, decision, name)
        if record.admitted_gate != gate.key
        else _replay(observed, decision, now)
    )
    if judgement is not None and judgement.reason is not None:
        _condemn(observed, decision, judgement, now)


def _admit_serving(observed: Observed, decision: Decision, name: str) -> testing.Judgement | None:
    """Judge a revision that serves and was never judged by this gate (RollingUpdate, or the gate changed)."""
    gate, record = decision.gate, decision.records[name]
    assert record.test is not None
    below = testing.below_floor(gate, record.test)
    if below is not None:
        return below
    reference_name = decision.last_good
    reference = _reference(observed, decision, reference_name, record.test)
    if reference is None and reference_name and observed.ready_pods(reference_name):
        return None
    judgement = testing.judge(
        gate, record.test, reference, reference_name=reference_name, alpha=gate.alpha_of_try(record.retries)
    )
    if judgement.reason is None:
        decision.records[name] = record.with_(
            admitted_gate=gate.key,
            p_value=judgement.p_value,
            compared_with=reference_name,
            reference=judgement.reference,
            way_back=None,
        )
    return judgement


def _reference(observed: Observed, decision: Decision, name: str, test: TestResult) -> TestResult | None:
    """Return another revision's answers to the same rows; ask its pods where they are not known."""
    revision = observed.by_name.get(name)
    if revision is None:
        return None
    known = decision.records[name].test
    if known is not None and known.key == test.key and known.digest == test.digest:
        return known
    request = testing.admission_request(decision.gate, revision, digest=test.digest)
    if request is None:
        return None
    decision.requests[name] = request
    answered = testing.result(observed, name, request, now=test.at)
    if isinstance(answered, TestResult):
        decision.records[name] = decision.records[name].with_(test=answered)
        return answered
    decision.trouble = answered or testing.unheard(observed, name) or decision.trouble
    return None


def _replay(observed: Observed, decision: Decision, now: float) -> testing.Judgement | None:
    """Hold the replay that is due against the revision's own answers."""
    revision = observed.by_name[decision.serving]
    record = decision.records[decision.serving]
    requests = testing.replay_requests(decision.gate, observed, replace(revision, record=record), now)
    if requests is None or record.test is None:
        return None
    decision.requests[decision.serving], to_judge = requests
    decision.wakes.append(testing.next_replay_seconds(decision.gate, record.test, now))
    replayed = testing.result(observed, decision.serving, to_judge, now=now)
    if isinstance(replayed, Trouble):
        decision.trouble = decision.unmeasured = replayed
        return None
    if replayed is None:
        decision.finding = _said_before(observed, decision)
        return None
    odd_pods.look(observed, decision, to_judge, record.test, now)
    return testing.judge_replay(decision.gate, record.test, replayed)


def _said_before(observed: Observed, decision: Decision) -> testing.Judgement | None:
    """Return what was found against a revision that keeps serving: it holds until the next replay has come to its end."""
    alerted = decision.records[decision.serving].alerted == decision.gate.key
    if not alerted or observed.status.get("servingRevision") != decision.serving:
        return None
    said: dict[str, Any] = next(
        (each for each in observed.status.get("conditions") or () if each.get("type") == "QualityOK"), {}
    )
    if said.get("status") != "False" or said["reason"] == Reason.QUALITY_CREEP:
        return None
    return testing.Judgement(reasons.known(said["reason"]), said.get("message") or "")


def _condemn(observed: Observed, decision: Decision, judgement: testing.Judgement, now: float) -> None:
    """Remember a finding against the serving revision where it leads back; else only say it."""
    name, record = decision.serving, decision.records[decision.serving]
    back = decision.last_good if observed.spec.quality.on_degraded == "Rollback" else ""
    if back and judgement.reason is Reason.BELOW_FLOOR:
        assert record.test is not None
        measured = _reference(observed, decision, back, record.test)
        if measured is None:
            _measure_way_back(observed, decision, judgement, now)
            return
        below = testing.below_floor(decision.gate, measured)
        if below is not None:
            judgement = replace(judgement, message=f"{judgement.message}; so is {back}: {below.message}")
            back = ""
    if not back:
        alert(observed, decision, judgement)
        return
    reason = Reason.BELOW_FLOOR if judgement.reason is Reason.BELOW_FLOOR else Reason.DEGRADED
    numbers = {}
    if record.test is not None:
        numbers = measured_by.by_test_set(
            decision.gate,
            record.test,
            reference=judgement.reference,
            p_value=judgement.p_value,
            alpha=decision.gate.alpha_of_try(record.retries),
        )
    finding = Rejection(
        gate=decision.gate.key, reason=reason, message=judgement.message, at=now, served=True, measured=numbers
    )
    # What its own answers were at admission is no longer what it answers: another try asks anew.
    test = None if judgement.reason is Reason.DEGRADED else record.test
    decision.records[name] = record.rejected(finding).with_(
        test=test,
        admitted_gate="",
        p_value=judgement.p_value,
        compared_with=back,
        reference=judgement.reference,
        way_back=None,
    )


def _measure_way_back(observed: Observed, decision: Decision, judgement: testing.Judgement, now: float) -> None:
    """Have the last good revision answer the test set before the traffic goes back to it for the floor.

    It gets pods for that (`rollout`). Where it does not answer, the serving revision keeps serving: to change one that
    is below the floor for one that nobody has measured is no way back.
    """
    back = decision.to_measure = decision.last_good
    record, gate = decision.records[decision.serving], decision.gate
    begun = record.way_back
    if begun is None or (begun.gate, begun.revision) != (gate.key, back):
        begun = WayBack(gate=gate.key, revision=back, since=now)
        decision.records[decision.serving] = record.with_(way_back=begun)
    trouble = decision.trouble or troubles.trouble(observed, back)
    because = f": {trouble.reason}: {trouble.message}" if trouble else ""
    limit = observed.spec.rollout.progress_deadline
    left = begun.since + quantities.seconds(limit) - now
    if left > 0:
        decision.wakes.append(left)
        said = (
            f"{judgement.message}; before the traffic goes back to {back}, {back} answers the test set first{because}"
        )
        decision.finding = replace(judgement, message=said)
        return
    said = f"{judgement.message}; {back} did not answer the test set within {limit}{because}; it is still asked to"
    alert(observed, decision, replace(judgement, message=said))


def alert(observed: Observed, decision: Decision, judgement: testing.Judgement) -> None:
    """Say a finding against a revision that keeps serving."""
    name, record = decision.serving, decision.records[decision.serving]
    decision.finding = judgement
    if record.alerted != decision.gate.key:
        decision.records[name] = record.with_(alerted=decision.gate.key)
        alert = observed.spec.quality.on_degraded == "Alert"
        reason = Reason.ALERT if alert else Reason.NO_ROLLBACK_TARGET
        decision.events.append(Event("Warning", reason, f"Revision {name} keeps serving: {judgement.message}"))


def passes(observed: Observed, decision: Decision, revision: Revision, now: float) -> bool:
    """Judge a candidate that gets no traffic yet by the test set; True where it is admitted."""
    gate, name = decision.gate, revision.name
    record = decision.records[name]
    if gate.test_set is None or record.admitted_gate == gate.key:
        return True
    if record.test is None or record.test.key != gate.set_key:
        request = testing.admission_request(gate, replace(revision, record=record))
        if request is None:
            decision.trouble = growing.trouble(observed)
            return not gate.is_awaited
        decision.requests[name] = request
        answered = testing.result(observed, name, request, now=now)
        if growing.does_not_fit(decision, answered):
            return True
        if not isinstance(answered, TestResult):
            decision.trouble = answered or testing.unheard(observed, name)
            return False
        decision.records[name] = record.with_(test=answered)
        wear.count(decision, name, answered)
        record = decision.records[name]
    assert record.test is not None
    # A bad stable revision is no measure, and one without pods cannot be asked: the floor alone decides then.
    rival = "" if decision.is_rejected(decision.serving) else decision.serving
    reference = _reference(observed, decision, rival, record.test)
    if reference is None and rival and observed.ready_pods(rival):
        return False
    judgement = testing.judge(
        gate, record.test, reference, reference_name=rival, alpha=gate.alpha_of_try(record.retries)
    )
    measured = {"p_value": judgement.p_value, "compared_with": rival, "reference": judgement.reference}
    if judgement.reason is not None:
        decision.records[name] = record.with_(**measured)
        numbers = measured_by.by_test_set(
            gate,
            record.test,
            reference=judgement.reference,
            p_value=judgement.p_value,
            alpha=gate.alpha_of_try(record.retries),
        )
        decision.reject(name, judgement.reason, judgement.message, now, gate=gate.key, measured=numbers)
        return False
    decision.records[name] = record.with_(admitted_gate=gate.key, **measured)
    return True

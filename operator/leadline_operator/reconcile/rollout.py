"""Who should serve: the state machine of a rollout, as one pure step.

The records on the ControllerRevisions are the truth: who serves is the revision whose record says so, and the Service
follows. Each step reads what is there and says what should be; none remembers the last one, so it can be cut at any
instant and goes on where the world stands. `decide` returns a Decision; `children` turns it into writes, `conditions`
into words.
"""

from typing import Final

from leadline_api import quantities, reasons
from leadline_api.reasons import Reason

from leadline_operator.reconcile import (
    announcing,
    canary,
    capacity,
    commands,
    creep,
    growing,
    judging,
    judging_outcomes,
    labelling,
    objectives,
    odd_pods,
    troubles,
    wear,
)
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Pod
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Record, Unreadable

ROLE_WAIT_SECONDS: Final = 5.0
"""How long a switch waits for the target's pods to take up the role serving; a pod that cannot be reached must not
hold a rollback up, and its own standby expires."""
MEMORY_SECONDS: Final = 30.0
"""How long a ModelDeployment that seems to be new waits for a ledger that does not answer."""
DEMOTED_KEEP_SECONDS: Final = 10.0
"""How long a switch waits for the pods that lost the traffic to acknowledge that they forward; those of a rejected
revision are kept for as long."""


def decide(observed: Observed, now: float) -> Decision:
    """Take one step."""
    decision = Decision(
        gate=growing.gate_now(observed), desired=observed.desired, serving="", selected=observed.serving
    )
    decision.records = _records(observed, decision)
    decision.waits_for_memory = _waits_for_memory(observed, now)
    decision.serving = _serving(observed, decision)
    if decision.waits_for_memory:
        decision.wakes.append(MEMORY_SECONDS)
    _want(decision, now)
    decision.last_good = _last_good(decision)
    commands.obey(observed, decision, now)
    judging.judge_serving(observed, decision, now)
    judging_outcomes.judge_serving(observed, decision, now)
    objectives.judge_serving(observed, decision, now)
    decision.last_good = _last_good(decision)
    _choose_target(observed, decision, now)
    _switch(observed, decision, now)
    creep.judge(observed, decision, now)
    labelling.plan(observed, decision)
    _keep(observed, decision, now)
    odd_pods.note(observed, decision)
    wear.note(decision)
    growing.note(observed, decision)
    return decision


def _records(observed: Observed, decision: Decision) -> dict[str, Record]:
    """Return the records of all revisions; of one that was deleted with its ModelDeployment, what the ledger knows."""
    found = {revision.name: revision.record for revision in observed.revisions}
    if observed.ledger is None:
        return found
    known = announcing.remembered(observed.ledger.evidence, decision.desired, decision.gate.key)
    desired = found.get(decision.desired)
    if desired is not None and not isinstance(desired, Unreadable) and not desired.was_tried:
        # It was made before the ledger could be read.
        told = known.get(decision.desired, desired)
        found[decision.desired] = desired.with_(
            rejections=told.rejections, pardoned=told.pardoned, withdrawn_at=told.withdrawn_at
        )
    return {**known, **found}


def _waits_for_memory(observed: Observed, now: float) -> bool:
    """Tell whether a ModelDeployment that seems to be new must wait for the ledger, which may remember one of its name."""
    is_new = observed.settings.ledger_url and observed.ledger is None and not observed.revisions
    return bool(is_new) and now - observed.created_at < MEMORY_SECONDS


def _serving(observed: Observed, decision: Decision) -> str:
    """Return who serves by the records; where none says so (records lost) or one cannot be read, by the Service."""
    selected = observed.by_name.get(observed.serving)
    if selected is not None and isinstance(selected.record, Unreadable):
        return selected.name
    having = [
        (record.serving_since, name)
        for name, record in decision.records.items()
        if record.serving_since is not None and record.served_until is None
    ]
    if having:
        return max(having)[1]
    return selected.name if selected is not None else ""


def _last_good(decision: Decision) -> str:
    """Return the revision that served last, is not the serving one, and has no finding against it."""
    served = [
        (record.served_until or record.serving_since, name)
        for name, record in decision.records.items()
        if name != decision.serving and record.serving_since is not None and decision.stands(record)
    ]
    return max(served)[1] if served else ""


def _want(decision: Decision, now: float) -> None:
    """Start the clock of the desired revision when it is wanted anew."""
    record = decision.records.setdefault(decision.desired, Record())
    newest = max((each.wanted_at for each in decision.records.values()), default=0.0)
    if record.wanted_at == 0.0 or record.wanted_at < newest:
        decision.records[decision.desired] = record.with_(
            wanted_at=max(now, newest), shadow_since=None, canary_since=None, canary_step=0
        )


def _choose_target(observed: Observed, decision: Decision, now: float) -> None:
    """Say where the traffic should go: back, where the serving revision was found bad; else to an admitted candidate."""
    if decision.serving and decision.is_rejected(decision.serving) and decision.last_good:
        decision.phase = Reason.ROLLING_BACK
        is_down = not observed.ready_pods(decision.serving) and bool(observed.ready_pods(decision.last_good))
        if _has_capacity(observed, decision, decision.last_good) or is_down:
            decision.target = decision.last_good
        else:
            _roll_forward(observed, decision, now)
        return
    if decision.desired != decision.serving and decision.may_try(decision.desired):
        _advance(observed, decision, now)


def _roll_forward(observed: Observed, decision: Decision, now: float) -> None:
    """While the way back has no pods, a good candidate need not wait for it."""
    if decision.desired not in (decision.serving, decision.last_good) and decision.may_try(decision.desired):
        _advance(observed, decision, now)
    if not decision.target:
        decision.phase = Reason.ROLLING_BACK
        decision.trouble = troubles.trouble(observed, decision.last_good)


def _advance(observed: Observed, decision: Decision, now: float) -> None:
    """Take the candidate one step further."""
    name = decision.desired
    revision = observed.by_name.get(name)
    decision.phase = Reason.FETCHING
    record = decision.records[name]
    deadline = record.wanted_at + quantities.seconds(observed.spec.rollout.progress_deadline)
    if deadline > now:
        decision.wakes.append(deadline - now)
    if revision is None:
        return
    against = troubles.finding(observed, name)
    if against is not None:
        decision.reject(name, reasons.known(against.reason), against.message, now, gate="")
        return
    if not _has_served_well(record) and (
        judging_outcomes.is_found_worse(observed, decision, name, now)
        or objectives.is_missed(observed, decision, name, now)
    ):
        return
    decision.trouble = troubles.unchecked(observed, name) or troubles.trouble(observed, name)
    if decision.trouble is not None and decision.trouble.reason == Reason.SIGNATURE_NOT_CHECKED:
        return
    reports = [pod.report for pod in observed.pods_of(name) if pod.report is not None]
    if not revision.digest:
        is_signed = observed.spec.model.signature is not None
        learned = next((each.digest for each in reports if each.digest and (each.signature or not is_signed)), "")
        if learned:
            decision.digests[name] = learned
        return
    if not observed.ready_pods(name) and all(report.phase in ("Waiting", "Fetching") for report in reports):
        return
    decision.phase = Reason.STARTING
    if len(observed.ready_pods(name)) < capacity.least(observed):
        return
    if observed.spec.rollout.strategy != "RollingUpdate" and not _has_served_well(record):
        decision.phase = Reason.TESTING
        if not judging.passes(observed, decision, revision, now):
            return
        decision.phase = Reason.SHADOWING
        if not judging_outcomes.passes(observed, decision, name, now):
            return
        if not canary.passes(observed, decision, name, now, has_capacity=_has_capacity(observed, decision, name)):
            return
    if observed.spec.rollout.paused and not decision.records[name].is_promoted:
        decision.phase = Reason.PAUSED
        return
    if not _has_capacity(observed, decision, name):
        decision.phase, decision.waits_for_pods = Reason.STARTING, True
        return
    decision.phase = Reason.SWITCHING
    decision.target = name


def _has_served_well(record: Record) -> bool:
    """Tell whether going back to a revision needs no new test: it served, and nothing was ever found against it."""
    return record.serving_since is not None and not record.rejections and not record.pardoned


def _has_capacity(observed: Observed, decision: Decision, name: str) -> bool:
    return len(observed.ready_pods(name)) >= capacity.enough(observed, decision)


def _forwards(pod: Pod) -> bool:
    return pod.report is None or pod.report.role == "standby"


def _switch(observed: Observed, decision: Decision, now: float) -> None:
    """Move the traffic in the records; the Service follows in the same Plan."""
    if decision.target and decision.target != decision.serving and _may_switch(observed, decision, now):
        before, decision.serving = decision.serving, decision.target
        decision.finding = None  # it was against the one before
        goes_back = decision.records[decision.serving].serving_since is not None
        decision.records[decision.serving] = decision.records[decision.serving].with_(
            serving_since=now, served_until=None
        )
        finding = decision.records[before].rejection(decision.gate.key) if before else None
        if finding is not None and goes_back:
            note = f"Serving {decision.serving} again: {before} is {finding.reason}: {finding.message}"
            decision.events.append(Event("Warning", Reason.ROLLED_BACK, note))
        else:
            decision.events.append(
                Event(
                    "Normal",
                    Reason.PROMOTED,
                    f"Serving {decision.serving}" + (f" instead of {before}" if before else ""),
                )
            )
        decision.phase = Reason.SWITCHING
    for name, record in decision.records.items():
        if name == decision.serving:
            if record.serving_since is None:  # the records were lost, and the Service told
                decision.records[name] = record.with_(serving_since=now)
        elif record.serving_since is not None and record.served_until is None:
            decision.records[name] = record.with_(served_until=now)
    decision.last_good = _last_good(decision)


def _may_switch(observed: Observed, decision: Decision, now: float) -> bool:
    """Tell whether the target's pods answer themselves: before the selector moves, none may forward any more."""
    name = decision.target
    record = decision.records[name]
    if record.serving_since is None:
        return True  # never demoted, so its pods answer themselves
    finding = decision.records[decision.serving].rejection(decision.gate.key) if decision.serving else None
    since = finding.at if finding is not None else record.wanted_at
    behind = [pod for pod in observed.ready_pods(name) if _forwards(pod)]
    if not behind or (now - since >= ROLE_WAIT_SECONDS and all(pod.report is None for pod in behind)):
        return True
    decision.wakes.append(ROLE_WAIT_SECONDS)
    return False


def _keep(observed: Observed, decision: Decision, now: float) -> None:
    """Say how many pods each revision keeps; a revision that is not named loses its children."""
    wanted = capacity.whole(observed, decision)
    if decision.serving:
        decision.replicas[decision.serving] = wanted
    if decision.desired != decision.serving and decision.may_try(decision.desired):
        known = (
            decision.desired in observed.by_name and observed.by_name[decision.desired].digest
        ) or decision.desired in decision.digests
        decision.replicas[decision.desired] = max(1, wanted) if known else 1
    if decision.last_good and decision.last_good not in decision.replicas:
        decision.replicas[decision.last_good] = _warm(observed, decision, wanted, now)
    if decision.target and decision.target != decision.serving:
        decision.replicas[decision.target] = max(1, wanted)
    for name in decision.records:
        if decision.is_unreadable(name) and name not in decision.replicas and name in observed.deployments:
            decision.replicas[name] = capacity.live(observed, name)
    _hand_over(observed, decision, now)
    scaled = capacity.left_alone(observed)
    if scaled in decision.replicas:
        decision.replicas[scaled] = capacity.live(observed, scaled)


def _hand_over(observed: Observed, decision: Decision, now: float) -> None:
    """Keep the pods of a revision that lost the traffic until all have acknowledged that they forward."""
    for name, record in decision.records.items():
        if name in (decision.serving, decision.target) or record.served_until is None:
            continue
        if name not in observed.deployments:
            continue  # its pods are gone already
        left = record.served_until + DEMOTED_KEEP_SECONDS - now
        acknowledged = all(pod.report is not None and pod.report.forwarding for pod in observed.ready_pods(name))
        if left <= 0 or (acknowledged and decision.selected == decision.serving):
            continue
        decision.handing_over = name
        decision.wakes.append(left)
        if decision.phase is Reason.SERVING:
            decision.phase = Reason.SWITCHING
        if name not in decision.replicas:
            decision.replicas[name] = capacity.live(observed, name)


def _warm(observed: Observed, decision: Decision, wanted: int, now: float) -> int:
    """Return the pods that the last good revision keeps."""
    last_good = observed.spec.rollout.last_good
    if decision.is_rejected(decision.serving) or decision.to_measure == decision.last_good:
        return max(1, wanted)
    until = (decision.records[decision.last_good].served_until or now) + quantities.seconds(last_good.for_)
    if until <= now:
        return 0
    decision.wakes.append(until - now)
    return quantities.pods(last_good.replicas, of=wanted)

"""A canary: the candidate answers a share of the requests, step by step, before it gets the traffic.

The serving pods pass the share on, so that it is exact with one pod, too, and no Service moves. Each step lasts until as many of
the candidate's outcomes have come, or for a time. Where it is in that is in its record; evidence against it ends it at any step,
and then nobody passes anything on. Copies of requests go to it as well, so that outcomes judge both on the same inputs.

Must not judge: see `judging_outcomes`.
"""

from typing import Any

from leadline_api import quantities
from leadline_api.reasons import Reason
from leadline_api.rollout import Step

from leadline_operator.reconcile import judging_outcomes
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.records import Record

_PERCENT = judging_outcomes.WHOLE_SHARE // 100


def passes(observed: Observed, decision: Decision, name: str, now: float, *, has_capacity: bool) -> bool:
    """Tell whether a candidate is through all steps, or has none to go; else have the serving pods pass its share on."""
    rollout, record = observed.spec.rollout, decision.records[name]
    if rollout.strategy != "Canary" or not decision.serving or decision.is_rejected(decision.serving):
        return True
    if record.is_promoted:
        return True
    if rollout.paused:
        decision.phase = Reason.PAUSED
        if record.canary_since is not None:
            _send(observed, decision, name, rollout.steps[min(record.canary_step, len(rollout.steps) - 1)])
        return False
    decision.phase = Reason.CANARY
    heard = _outcomes(observed, name)
    if record.canary_since is None:
        if not has_capacity:
            decision.phase, decision.waits_for_pods = Reason.STARTING, True
            return False
        record = _entered(decision, name, 0, heard, now)
    while record.canary_step < len(rollout.steps):
        step = rollout.steps[record.canary_step]
        if not _is_over(step, record, heard, now):
            _send(observed, decision, name, step)
            if step.until.duration is not None:
                decision.wakes.append((record.canary_since or now) + quantities.seconds(step.until.duration) - now)
            return False
        record = _entered(decision, name, record.canary_step + 1, heard, now)
    return True


def said(observed: Observed, decision: Decision) -> str:
    """Return where a canary is, as the end of a sentence."""
    record, steps = decision.records[decision.desired], observed.spec.rollout.steps
    if decision.phase is not Reason.CANARY or record.canary_since is None or record.canary_step >= len(steps):
        return ""
    step = steps[record.canary_step]
    until = f"for {step.until.duration}" if step.until.duration is not None else ""
    if step.until.outcomes is not None:
        until = f"until {step.until.outcomes} of its outcomes have come"
    return f", step {record.canary_step + 1} of {len(steps)}: {step.weight} % {until}"


def traffic(observed: Observed, decision: Decision) -> list[dict[str, Any]]:
    """Return who answers which share: what the serving pods have confirmed, not what they were asked for."""
    serves = decision.selected if decision.selected == decision.serving else ""
    ready = observed.ready_pods(serves) if serves else ()
    if not ready:
        return []
    shares = [pod.report.split_share for pod in ready if pod.report is not None]
    percent = min(100, round(sum(shares) / len(shares) / _PERCENT)) if shares else 0
    if not percent or decision.desired == serves:
        return [{"revision": serves, "percent": 100}]
    return [{"revision": serves, "percent": 100 - percent}, {"revision": decision.desired, "percent": percent}]


def _entered(decision: Decision, name: str, step: int, heard: int, now: float) -> Record:
    """Return the record of a candidate that has entered a step."""
    record = decision.records[name].with_(canary_step=step, canary_since=now, canary_from=heard)
    decision.records[name] = record
    return record


def _is_over(step: Step, record: Record, heard: int, now: float) -> bool:
    if step.until.duration is not None:
        return now - (record.canary_since or now) >= quantities.seconds(step.until.duration)
    since = heard - record.canary_from if heard >= record.canary_from else heard  # other terms begin all evidence anew
    return since >= (step.until.outcomes or 0)


def _send(observed: Observed, decision: Decision, name: str, step: Step) -> None:
    decision.splits[name] = step.weight * _PERCENT
    if observed.spec.outcomes is not None:
        shadow = observed.spec.rollout.shadow
        decision.copies[name] = max(step.weight, shadow.percent if shadow is not None else 0) * _PERCENT


def _outcomes(observed: Observed, name: str) -> int:
    """Return how many outcomes of a revision have come, by the metric that most of them are about."""
    evidence = judging_outcomes.evidence_of(observed)
    if evidence is None:
        return 0
    owns = (stream.own.get(name) for stream in evidence.streams.values())
    return max((own.outcomes for own in owns if own is not None), default=0)

"""Decide what to do about one ModelDeployment.

Takes what exists and the time, and returns a Plan. The loop calls it for every key that is due and carries the Plan
out; what must survive a restart is in the records on the ControllerRevisions.

Must not read the clock, touch the network, log, or remember anything between calls.
"""

from typing import Any

from leadline_api.reasons import Reason

from leadline_operator.reconcile import (
    addressing,
    announcing,
    children,
    conditions,
    growing,
    retraining,
    rollout,
    training_status,
)
from leadline_operator.reconcile.observed import Existing, Observed
from leadline_operator.reconcile.plan import Event, Plan


def reconcile(observed: Observed, now: float) -> Plan:
    """Return the Plan that follows from what was observed at `now` (seconds since the epoch)."""
    observed = retraining.with_product(observed)
    decision = rollout.decide(observed, now)
    retraining.step(observed, decision, now)
    stuck = conditions.is_stuck(observed, decision, now)
    status = conditions.status(observed, decision, now)
    return Plan(
        writes=children.writes(observed, decision),
        status=None if status == observed.status else status,
        events=tuple(decision.events),
        status_events=_transitions(observed, status),
        soundings=addressing.soundings(observed, decision, now, stuck=stuck),
        told=announcing.announcements(observed, decision, now),
        notices=announcing.notices(observed, decision, now),
        grow=growing.wanted(observed, decision),
        wake_after_seconds=min(decision.wakes, default=None),
    )


def refuse(existing: Existing, problem: str, now: float) -> Plan:
    """Return the Plan for a spec that cannot be read: it is said, and nothing that exists is touched."""
    status = conditions.status_of_invalid_spec(existing, problem, now)
    return Plan(
        status=None if status == existing.status else status,
        status_events=_transitions(existing, status),
    )


def _transitions(observed: Existing, status: dict[str, Any]) -> tuple[Event, ...]:
    """Return the Events that follow from conditions alone: trouble that made the rollout stall, objectives, records."""
    found = []
    for kind, bad in _TOLD:
        before, after = _condition(observed.status, kind), _condition(status, kind)
        if after.get("status") != bad or (before.get("status"), before.get("reason")) == (bad, after["reason"]):
            continue
        if kind == "Stalled" and after["reason"] in _SAID_ALREADY:
            continue
        found.append(Event("Warning", after["reason"], after["message"]))
    found += training_status.events(observed.status.get("retrain") or {}, status.get("retrain") or {})
    return tuple(found)


_TOLD = (("Stalled", "True"), ("ObjectivesMet", "False"), ("RecordsReadable", "False"))
"""Conditions, and when they are bad."""

_SAID_ALREADY = (
    Reason.ROLLED_BACK,
    Reason.DIGEST_MISMATCH,
    Reason.INVALID_MODEL,
    Reason.BELOW_FLOOR,
    Reason.TEST_DEGRADED,
    Reason.DEGRADED,
    Reason.OBJECTIVES_MISSED,
    Reason.ROLLED_BACK_BY_COMMAND,
    Reason.UNREADABLE_RECORD,
)
"""Findings are said when they were made, an unreadable record with its own condition."""


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})

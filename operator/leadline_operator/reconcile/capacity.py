"""How many pods answer for the whole traffic: what the spec says, or what an autoscaler has made of it by now.

The autoscaler works on the revision that has the traffic; all others follow its number, so that a candidate starts with
it and a rollback finds it. What the autoscaler owns is left to it.
"""

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed
from leadline_operator.specs import autoscalers


def whole(observed: Observed, decision: Decision) -> int:
    """Return the pods that a revision with all of the traffic is to have at present; 0: none is wanted."""
    asked = observed.spec.runtime
    if asked.autoscaling is None:
        return asked.replicas
    carrying = _carrying(observed, decision)
    number = live(observed, carrying) or _recommended(observed, carrying)
    return min(max(number, asked.autoscaling.min_replicas), asked.autoscaling.max_replicas)


def enough(observed: Observed, decision: Decision) -> int:
    """Return the ready pods with which a revision may get the traffic: at least 1.

    Under an autoscaler that is what answers now. More may have been asked for that find no room, and a way back must
    not wait for what the revision that it leads away from does not have either.
    """
    asked = observed.spec.runtime
    if asked.autoscaling is None:
        return max(1, asked.replicas)
    ready = len(observed.ready_pods(_carrying(observed, decision)))
    return max(asked.autoscaling.min_replicas, min(ready, whole(observed, decision)))


def least(observed: Observed) -> int:
    """Return the ready pods with which a candidate is tested and compared: at least 1.

    Under an autoscaler that is what it would have at rest: a comparison of hours does not begin anew, nor is held up, each
    time that the load adds a pod.
    """
    asked = observed.spec.runtime
    return max(1, asked.replicas) if asked.autoscaling is None else asked.autoscaling.min_replicas


def left_alone(observed: Observed) -> str:
    """Return the revision whose number of pods an autoscaler of ours owns; empty: none.

    One that was scaled to 0 is none: an autoscaler does not touch it, and would never bring it back.
    """
    autoscaler = observed.autoscalers.get(observed.owner.name)
    name = autoscalers.scaled_revision(autoscaler) if autoscaler is not None else ""
    return name if live(observed, name) else ""


def live(observed: Observed, name: str) -> int:
    """Return the pods that a revision's Deployment asks for."""
    return int(observed.deployments.get(name, {}).get("spec", {}).get("replicas") or 0)


def _carrying(observed: Observed, decision: Decision) -> str:
    """Return the revision that has the traffic: by the Service, or by the records where that names none of ours."""
    return decision.selected if decision.selected in observed.deployments else decision.serving


def _recommended(observed: Observed, name: str) -> int:
    """Return what the autoscaler last wanted for a revision, whose Deployment somebody has deleted."""
    autoscaler = observed.autoscalers.get(observed.owner.name) or {}
    if not name or autoscalers.scaled_revision(autoscaler) != name:
        return 0
    return int((autoscaler.get("status") or {}).get("desiredReplicas") or 0)

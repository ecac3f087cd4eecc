"""The HorizontalPodAutoscaler of the revision that has the traffic."""

from typing import Any

from leadline_api.autoscaling import CPU_UTILIZATION, Autoscaling, ScalingMetric

from leadline_operator.specs.metadata import Manifest, Owner, child


def autoscaler(owner: Owner, revision: str, *, autoscaling: Autoscaling) -> Manifest:
    """Return the one autoscaler of a ModelDeployment, aimed at a revision's Deployment; defaults are written out.

    It has the ModelDeployment's name: it is the same object whichever revision serves, so two are never scaled at once,
    and it takes its memory of what the load needed along in a switch.
    """
    metrics = [_metric(each) for each in autoscaling.metrics] or [_utilization("cpu", CPU_UTILIZATION)]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child(owner, owner.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": revision},
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": metrics,
        },
    }


def scaled_revision(autoscaler: Manifest) -> str:
    """Return the revision whose Deployment an autoscaler is aimed at; empty for none."""
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    name: str = target.get("name", "") if target.get("kind") == "Deployment" else ""
    return name


def _metric(metric: ScalingMetric) -> dict[str, Any]:
    if metric.pods is not None:
        target = {"type": "AverageValue", "averageValue": str(metric.pods.target.average_value)}
        return {"type": "Pods", "pods": {"metric": {"name": metric.pods.metric.name}, "target": target}}
    assert metric.resource is not None, "the spec's rule"
    target_of = metric.resource.target
    if target_of.average_utilization is not None:
        return _utilization(metric.resource.name, target_of.average_utilization)
    value = {"type": "AverageValue", "averageValue": str(target_of.average_value)}
    return {"type": "Resource", "resource": {"name": metric.resource.name, "target": value}}


def _utilization(resource: str, percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": resource, "target": target}}

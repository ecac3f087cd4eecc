"""How many pods the serving revision has by its load: `spec.runtime.autoscaling`.

Metrics are written as in a HorizontalPodAutoscaler (autoscaling/v2), so that what people have can be pasted; of its kinds
there are the two that a model's pods can be scaled by.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from leadline_api.fields import INT_OR_STRING, Part, is_quantity
from leadline_api.rules import Rule

CPU_UTILIZATION: Final = 80
"""Percent of the requested CPU that is aimed at where no metric is named; Kubernetes' own default."""


def _is_positive(amount: str | int) -> bool:
    return is_quantity(amount) and re.match(r"\+?[0.]*[1-9]", str(amount)) is not None


AverageValue = Annotated[
    str | int,
    Field(json_schema_extra=INT_OR_STRING),
    Rule(
        cel="type(self) == int ? self > 0 : isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
        message="must be a quantity above 0, such as 500m, 16 or 1Gi",
        holds=_is_positive,
    ),
]


class ResourceTarget(Part):
    """How much of a resource each pod should use."""

    type: Literal["Utilization", "AverageValue"]
    """Utilization: a share of what a pod requests. AverageValue: an amount."""
    average_utilization: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Percent of the requested amount, on average over the pods."""
    average_value: AverageValue | None = None
    """Amount, on average over the pods."""


_OneValue = Rule(
    cel="(self.type == 'Utilization') == has(self.averageUtilization) && "
    "(self.type == 'AverageValue') == has(self.averageValue)",
    message="type: Utilization needs averageUtilization (percent of the request), type: AverageValue needs averageValue "
    "(an amount), and neither has the other's",
    holds=lambda target: (
        (target.type == "Utilization") == (target.average_utilization is not None)
        and (target.type == "AverageValue") == (target.average_value is not None)
    ),
    shows_value=False,
)


class ResourceMetric(Part):
    """What pods use of a resource, as metrics-server reports it."""

    name: Literal["cpu", "memory"]
    """Which resource."""
    target: Annotated[ResourceTarget, _OneValue]
    """How much of it each pod should use."""


class MetricName(Part):
    """A metric of pods."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name in the custom metrics API, such as leadline_queue_rows."""


class PodsTarget(Part):
    """What a metric should be per pod."""

    type: Literal["AverageValue"] = "AverageValue"
    """An amount."""
    average_value: AverageValue
    """Amount, on average over the pods."""


class PodsMetric(Part):
    """A metric of each pod that an adapter (of Prometheus, for one) brings into the custom metrics API."""

    metric: MetricName
    """Which metric."""
    target: PodsTarget
    """What it should be per pod."""


class ScalingMetric(Part):
    """Something that is measured, and what it should be."""

    type: Literal["Resource", "Pods"]
    """Resource: CPU or memory. Pods: a metric of the runtime (docs/metrics.md)."""
    resource: ResourceMetric | None = None
    """With type: Resource."""
    pods: PodsMetric | None = None
    """With type: Pods."""


_OneKind = Rule(
    cel="(self.type == 'Resource') == has(self.resource) && (self.type == 'Pods') == has(self.pods)",
    message="type: Resource needs resource, type: Pods needs pods, and neither has the other's",
    holds=lambda metric: (
        (metric.type == "Resource") == (metric.resource is not None)
        and (metric.type == "Pods") == (metric.pods is not None)
    ),
    shows_value=False,
)


class Autoscaling(Part):
    """How many pods the serving revision has, by its load."""

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Fewest pods."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Most pods."""
    metrics: Annotated[list[Annotated[ScalingMetric, _OneKind]], Field(max_length=8)] = []
    """What is aimed at; the one that asks for the most pods wins. Left out: 80 % of the requested CPU."""


MAX_COVERS_MIN: Final = Rule(
    cel="self.maxReplicas >= self.minReplicas",
    message="spec.runtime.autoscaling.maxReplicas must be at least minReplicas",
    holds=lambda autoscaling: autoscaling.max_replicas >= autoscaling.min_replicas,
    shows_value=False,
)


def shares_of(autoscaling: Autoscaling) -> set[str]:
    """Return the resources of which a share of the request is aimed at."""
    if not autoscaling.metrics:
        return {"cpu"}
    resources = [each.resource for each in autoscaling.metrics if each.resource is not None]
    return {each.name for each in resources if each.target.type == "Utilization"}

"""What a spec asks of its pods: `spec.runtime`.

What changes answers (image, execution providers) makes another revision; the rest is laid over the pods of all.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final

from pydantic import Field

from leadline_api.autoscaling import MAX_COVERS_MIN, Autoscaling, shares_of
from leadline_api.fields import Part, Quantities
from leadline_api.pod_template import PodTemplate
from leadline_api.rules import Rule, matches
from leadline_api.volumes import MOUNTS_HAVE_VOLUMES


class Batching(Part):
    """How requests that arrive together share one run of the model."""

    max_rows: Annotated[int, Field(ge=1, le=4096)] = 64
    """Most rows in one run."""


class Resources(Part):
    """Compute resources of each runtime pod, as in a container."""

    requests: Quantities = {}
    """What a node must have free for the pod, such as cpu: 500m and memory: 256Mi."""
    limits: Quantities = {}
    """What the pod may use at most."""


ExecutionProvider = Annotated[
    str,
    Field(max_length=512),
    matches(
        r"[A-Za-z]{1,48}ExecutionProvider(:[A-Za-z0-9_]{1,64}=[^,: ]{1,256})*",
        "must be an execution provider of onnxruntime, such as CUDAExecutionProvider, with options such as :device_id=0",
    ),
]


class Runtime(Part):
    """The pods that answer."""

    image: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            matches(r"[a-zA-Z0-9][-a-zA-Z0-9._/:@]*", "must be the name of an image, best by its digest"),
        ]
        | None
    ) = None
    """Image of the runtime, such as one with onnxruntime for a GPU. Left out: the chart's."""
    execution_providers: Annotated[list[ExecutionProvider], Field(max_length=8)] = []
    """What runs the model, in the order of preference, such as [CUDAExecutionProvider, CPUExecutionProvider]. Left out:
    the CPU. One that is not in the image or does not start is an error, not a slow service."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods of the serving revision."""
    autoscaling: Annotated[Autoscaling, MAX_COVERS_MIN] | None = None
    """Has the load say how many pods there are, instead of replicas."""
    resources: Resources = Resources()
    """Compute resources of each pod, as in a container."""
    batching: Batching = Batching()
    """How requests that arrive together share one run of the model."""
    pod_template: Annotated[PodTemplate, MOUNTS_HAVE_VOLUMES] | None = None
    """What each pod is given beside its model: where it runs, labels, variables (docs/pods.md)."""


def _is_requested(resource: str) -> str:
    return (
        f"(has(self.resources) && (has(self.resources.requests) && {resource} in self.resources.requests || "
        f"has(self.resources.limits) && {resource} in self.resources.limits))"
    )


REPLICAS_OR_AUTOSCALING: Final = Rule(
    cel="!has(self.autoscaling) || !has(self.replicas) || self.replicas == 1",
    message="spec.runtime.autoscaling needs spec.runtime.replicas to be left out: the load says how many pods there are, "
    "from minReplicas to maxReplicas",
    holds=lambda runtime: runtime.autoscaling is None or runtime.replicas == 1,
    shows_value=False,
)
"""The default counts as left out: the API server has filled it in before it looks, and `kubectl scale` reads it."""
SHARES_NEED_REQUESTS: Final = Rule(
    cel="!has(self.autoscaling) || (!has(self.autoscaling.metrics) || size(self.autoscaling.metrics) == 0 ? "
    + _is_requested("'cpu'")
    + " : self.autoscaling.metrics.all(m, !has(m.resource) || m.resource.target.type != 'Utilization' || "
    + _is_requested("m.resource.name")
    + "))",
    message="spec.runtime.autoscaling by Utilization (of cpu, where metrics are left out) needs spec.runtime.resources.requests "
    "of that resource: utilization is a share of what a pod requests",
    holds=lambda runtime: (
        runtime.autoscaling is None
        or shares_of(runtime.autoscaling) <= runtime.resources.requests.keys() | runtime.resources.limits.keys()
    ),
    shows_value=False,
)
"""A limit counts as a request: Kubernetes fills one in from the other."""

"""What a spec asks of its pods: `spec.runtime`.

What changes answers (image, execution providers) makes another revision; the rest is laid over the pods of all.

Must not have a field that does not work yet.
"""

from typing import Annotated

from pydantic import Field

from leadline_api.fields import Part, Quantities
from leadline_api.rules import matches


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
    resources: Resources = Resources()
    """Compute resources of each pod, as in a container."""
    batching: Batching = Batching()
    """How requests that arrive together share one run of the model."""

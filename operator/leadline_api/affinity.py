"""Near which nodes and pods a pod is placed: `spec.runtime.podTemplate.affinity`, as in a pod.

Typed, so that a slip is refused when it is applied, and no later. Of Kubernetes' fields these are left out: matchFields,
namespaceSelector, matchLabelKeys and mismatchLabelKeys.
"""

from typing import Annotated, Literal

from pydantic import Field

from leadline_api.fields import LabelValue, Part

_Key = Annotated[str, Field(min_length=1, max_length=317)]
_Values = Annotated[list[LabelValue], Field(max_length=32)]
_Weight = Annotated[int, Field(ge=1, le=100)]


class NodeRequirement(Part):
    """What a label of a node must be."""

    key: _Key
    """Name of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How it is compared."""
    values: _Values | None = None
    """What with."""


class NodeTerm(Part):
    """Requirements that a node must meet all of."""

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=8)]
    """The requirements."""


class NodeTerms(Part):
    """Nodes on which a pod may be."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=8)]
    """Terms of which a node must meet one."""


class PreferredNodes(Part):
    """Nodes on which a pod should rather be."""

    weight: _Weight
    """How much, beside other preferences."""
    preference: NodeTerm
    """Which nodes."""


class NodeAffinity(Part):
    """On which nodes a pod is placed."""

    required_during_scheduling_ignored_during_execution: NodeTerms | None = None
    """Where it may be."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(max_length=8)] | None
    ) = None
    """Where it should rather be."""


class LabelRequirement(Part):
    """What a label of a pod must be."""

    key: _Key
    """Name of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: _Values | None = None
    """What with."""


class LabelSelector(Part):
    """Pods by their labels."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=8)] | None = None
    """Labels that they must have."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=8)] | None = None
    """Requirements that they must meet."""


class PodTerm(Part):
    """Pods that a pod is near to or far from."""

    topology_key: _Key
    """Label of nodes; those with the same value are one place, such as kubernetes.io/hostname."""
    label_selector: LabelSelector | None = None
    """Which pods: of all revisions app.kubernetes.io/instance is the ModelDeployment's name."""
    namespaces: Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], Field(max_length=8)] | None = None
    """Where they are. Left out: in the same namespace."""


class PreferredPods(Part):
    """Pods that a pod should rather be near to or far from."""

    weight: _Weight
    """How much, beside other preferences."""
    pod_affinity_term: PodTerm
    """Which pods."""


class PodAffinity(Part):
    """Which pods a pod is placed near to, or far from."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodTerm], Field(max_length=8)] | None = None
    """Which it must be."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], Field(max_length=8)] | None = (
        None
    )
    """Which it should rather be."""


class Affinity(Part):
    """Near which nodes and pods a pod is placed."""

    node_affinity: NodeAffinity | None = None
    """On which nodes it is placed."""
    pod_affinity: PodAffinity | None = None
    """Which pods it is placed near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Which pods it is placed far from."""

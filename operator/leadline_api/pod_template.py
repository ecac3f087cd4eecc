"""What a spec says of each pod beside its model: `spec.runtime.podTemplate`, laid over the pods of all revisions.

It holds what cannot weaken a pod: where it runs, under whose name, what it is labelled and given. There is no field for
privileges, host paths or further containers, so that pods stay within the restricted pod security standard.

Must not have a field that changes answers.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from leadline_api import names
from leadline_api.affinity import Affinity
from leadline_api.fields import LabelValue, Part, name_of
from leadline_api.rules import Rule, matches
from leadline_api.volumes import ONE_KIND, Volume, VolumeMount

OWN_LABELS: Final = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    names.MANAGED_BY_LABEL,
    "pod-template-hash",
)
"""Labels of pods by which Services, Deployments and we find them, beside those with our prefix."""
OWN_PREFIX: Final = f"{names.GROUP}/"
ENVIRONMENT_PREFIX: Final = "LEADLINE_"
SETTINGS: Final = (
    "LEADLINE_ACCESS_LOG",
    "LEADLINE_LOG_FORMAT",
    "LEADLINE_LOG_LEVEL",
    "LEADLINE_WORKERS",
    "LEADLINE_MAX_BODY_BYTES",
    "LEADLINE_MAX_CONNECTIONS",
    "LEADLINE_MAX_QUEUE_ROWS",
    "LEADLINE_QUEUE_TIMEOUT_SECONDS",
    "LEADLINE_SILENT_WORKER_SECONDS",
    "LEADLINE_HEAD_TIMEOUT_SECONDS",
    "LEADLINE_BODY_TIMEOUT_SECONDS",
    "LEADLINE_IDLE_TIMEOUT_SECONDS",
)
"""Variables of the runtime that are the user's to set; the others with this prefix are ours."""
LEAST_GRACE_SECONDS: Final = 35
"""preStop (5 s) and the runtime's own limit for draining (20 s), with some to spare."""

_BY_PATH: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"]}
_BY_NAME: Final[dict[str, Any]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def _listed(texts: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{each}'" for each in texts) + "]"


OWN_LABELS_RULE: Final = Rule(
    cel=f"self.all(k, !k.startsWith('{OWN_PREFIX}') && !(k in {_listed(OWN_LABELS)}))",
    message=f"must be labels of your own: {OWN_PREFIX}... and {', '.join(OWN_LABELS)} say which pods belong to what",
    holds=lambda labels: not any(key.startswith(OWN_PREFIX) or key in OWN_LABELS for key in labels),
    shows_value=False,
)
OWN_ANNOTATIONS: Final = Rule(
    cel=f"self.all(k, !k.startsWith('{OWN_PREFIX}'))",
    message=f"must be annotations of your own: {OWN_PREFIX}... are Leadline's",
    holds=lambda annotations: not any(key.startswith(OWN_PREFIX) for key in annotations),
    shows_value=False,
)
_OWN_VARIABLE: Final = Rule(
    cel=f"self != 'TMPDIR' && (!self.startsWith('{ENVIRONMENT_PREFIX}') || self in {_listed(SETTINGS)})",
    message=f"must be a variable of your own, or a setting of the runtime that docs/pods.md names: the other {ENVIRONMENT_PREFIX} "
    "variables and TMPDIR are set by Leadline",
    holds=lambda name: name != "TMPDIR" and (not name.startswith(ENVIRONMENT_PREFIX) or name in SETTINGS),
)


class Toleration(Part):
    """A taint of nodes that a pod does not mind."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Which taint. Left out, with operator: Exists: all."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether the value matters. Left out: Equal."""
    value: LabelValue | None = None
    """With operator: Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Which effect. Left out: all."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """With effect: NoExecute, how long. Left out: for ever."""


class TopologySpread(Part):
    """How a revision's pods are spread over places; whose pods are counted is filled in."""

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """By how many pods two places may differ."""
    topology_key: Annotated[str, Field(min_length=1, max_length=317)]
    """Label of nodes; those with the same value are one place, such as topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What becomes of a pod that no place is right for."""
    min_domains: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Fewest places, with whenUnsatisfiable: DoNotSchedule."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes count that affinity allows. Left out: Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes count whose taints are tolerated. Left out: Ignore."""


class ImagePullSecret(Part):
    """A Secret by which images are pulled."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "registry")]
    """Secret in the same namespace."""


_Key = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(r"[-._a-zA-Z0-9]+", "must be a key of it: letters, digits, -, _ and ., such as proxy.url"),
]


class SecretKey(Part):
    """A key of a Secret."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "proxy")]
    """Secret in the same namespace."""
    key: _Key
    """Its key."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class ConfigMapKey(Part):
    """A key of a ConfigMap."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("ConfigMap", "proxy")]
    """ConfigMap in the same namespace."""
    key: _Key
    """Its key."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class ValueFrom(Part):
    """Where the value of a variable is."""

    secret_key_ref: SecretKey | None = None
    """A key of a Secret."""
    config_map_key_ref: ConfigMapKey | None = None
    """A key of a ConfigMap."""


_OneSource = Rule(
    cel="has(self.secretKeyRef) != has(self.configMapKeyRef)",
    message="valueFrom needs either secretKeyRef or configMapKeyRef",
    holds=lambda source: (source.secret_key_ref is None) != (source.config_map_key_ref is None),
    shows_value=False,
)


class Variable(Part):
    """A variable of the runtime's environment."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=256),
        matches(
            r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of a variable: letters, digits and _, such as HTTPS_PROXY"
        ),
        _OWN_VARIABLE,
    ]
    """Its name."""
    value: Annotated[str, Field(max_length=8192)] | None = None
    """Its value."""
    value_from: Annotated[ValueFrom, _OneSource] | None = None
    """Where its value is."""


_OneValue = Rule(
    cel="has(self.value) != has(self.valueFrom)",
    message="a variable needs either value or valueFrom",
    holds=lambda variable: (variable.value is None) != (variable.value_from is None),
    shows_value=False,
)


class PodTemplate(Part):
    """What each pod is given beside its model. No field here makes a new revision; a change restarts pods one by one."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=32), OWN_LABELS_RULE] = {}
    """Labels of the pods, beside Leadline's."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), OWN_ANNOTATIONS
    ] = {}
    """Annotations of the pods."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints of nodes that the pods do not mind."""
    affinity: Affinity | None = None
    """Near which nodes and pods they are placed."""
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=8)] = []
    """How each revision's pods are spread over zones and nodes."""
    priority_class_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("PriorityClass", "serving", namespaced=False)]
        | None
    ) = None
    """PriorityClass of the pods."""
    service_account_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("ServiceAccount", "model-reader")] | None
    ) = None
    """ServiceAccount of the pods, for workload identity; its own token is not mounted. Left out: default."""
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=16, json_schema_extra=_BY_NAME)] = []
    """Secrets by which the runtime's image is pulled."""
    runtime_class_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("RuntimeClass", "nvidia", namespaced=False)] | None
    ) = None
    """RuntimeClass of the pods."""
    termination_grace_period_seconds: Annotated[int, Field(ge=LEAST_GRACE_SECONDS, le=3600)] = LEAST_GRACE_SECONDS
    """How long a pod that ends has; all but 15 s of it is for requests that still run."""
    env: Annotated[list[Annotated[Variable, _OneValue]], Field(max_length=64, json_schema_extra=_BY_NAME)] = []
    """Variables of the runtime, beside Leadline's."""
    volumes: Annotated[list[Annotated[Volume, ONE_KIND]], Field(max_length=16, json_schema_extra=_BY_NAME)] = []
    """Files that the pods are given."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16, json_schema_extra=_BY_PATH)] = []
    """Where they are in the runtime's container."""

"""When and how a model is trained anew: `spec.retrain`.

The Job is the user's own: any image, which trains, or submits what trains and waits for it. It is laid out here with what
cannot weaken a pod, as `pod_template` is, so that training stays within the restricted pod security standard.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue

from leadline_api.fields import AT_LEAST_ONE_SECOND, NOT_NEGATIVE, Duration, LabelValue, Part, name_of
from leadline_api.pod_template import OWN_ANNOTATIONS, OWN_LABELS_RULE, ImagePullSecret, Toleration, Variable
from leadline_api.pods import Resources
from leadline_api.rules import Rule, matches
from leadline_api.volumes import ONE_KIND, Volume, VolumeMount

_BY_PATH: Final[dict[str, JsonValue]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["mountPath"]}
_BY_NAME: Final[dict[str, JsonValue]] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_USER: Final = 65532


def _cron_field(number: str) -> str:
    item = rf"(\*|{number}(-{number})?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY = (
    "[1-5]?[0-9]",
    "(1?[0-9]|2[0-3])",
    "([1-9]|[12][0-9]|3[01])",
    "([1-9]|1[0-2])",
    "[0-7]",
)
Schedule = Annotated[
    str,
    Field(max_length=64),
    matches(
        " ".join(map(_cron_field, (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY))),
        "must be a cron schedule of five fields in numbers, in UTC: minute, hour, day, month and day of the week, such as "
        "0 3 * * 1 (Mondays at 3)",
    ),
]
"""When, as in a CronJob, without names and without macros."""


class SecretVariables(Part):
    """A Secret whose keys become variables."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "training")]
    """Secret in the same namespace."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class ConfigMapVariables(Part):
    """A ConfigMap whose keys become variables."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("ConfigMap", "training")]
    """ConfigMap in the same namespace."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class VariablesFrom(Part):
    """Where several variables are at once."""

    secret_ref: SecretVariables | None = None
    """The keys of a Secret."""
    config_map_ref: ConfigMapVariables | None = None
    """The keys of a ConfigMap."""


_ONE_REFERENCE: Final = Rule(
    cel="has(self.secretRef) != has(self.configMapRef)",
    message="envFrom needs either secretRef or configMapRef",
    holds=lambda source: (source.secret_ref is None) != (source.config_map_ref is None),
    shows_value=False,
)


class JobVariable(Variable):
    """A variable of the training container's environment."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=256),
        matches(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of a variable: letters, digits and _, such as EPOCHS"),
        Rule(
            cel="!self.startsWith('LEADLINE_')",
            message="must be a variable of your own: the LEADLINE_ variables are set by Leadline (docs/retraining.md)",
            holds=lambda name: not name.startswith("LEADLINE_"),
        ),
    ]
    """Its name."""


_ONE_VALUE: Final = Rule(
    cel="has(self.value) != has(self.valueFrom)",
    message="a variable needs either value or valueFrom",
    holds=lambda variable: (variable.value is None) != (variable.value_from is None),
    shows_value=False,
)


class JobTemplate(Part):
    """The Job that trains: one container, which writes its product to /dev/termination-log (docs/retraining.md)."""

    image: Annotated[
        str,
        Field(min_length=1, max_length=512),
        matches(r"[a-zA-Z0-9][-a-zA-Z0-9._/:@]*", "must be the name of an image, best by its digest"),
    ]
    """Image that trains, or that submits what trains and waits for it."""
    command: Annotated[list[Annotated[str, Field(max_length=32768)]], Field(max_length=64)] = []
    """What is run. Left out: the image's own."""
    args: Annotated[list[Annotated[str, Field(max_length=32768)]], Field(max_length=64)] = []
    """Its arguments. Left out: the image's own."""
    env: Annotated[list[Annotated[JobVariable, _ONE_VALUE]], Field(max_length=64, json_schema_extra=_BY_NAME)] = []
    """Variables, beside Leadline's."""
    env_from: Annotated[list[Annotated[VariablesFrom, _ONE_REFERENCE]], Field(max_length=16)] = []
    """Secrets and ConfigMaps whose keys become variables, such as credentials of a store."""
    resources: Resources = Resources()
    """Compute resources of the container."""
    run_as_user: Annotated[int, Field(ge=1, le=2_147_483_647)] = _USER
    """User and group that it runs as; never root."""
    read_only_root_filesystem: bool = True
    """Whether only /tmp and mounted volumes can be written to."""
    service_account_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("ServiceAccount", "trainer")] | None
    ) = None
    """ServiceAccount of the pod, for workload identity, or to submit jobs of other kinds. Left out: default."""
    automount_service_account_token: bool = False
    """Whether its token for the API server is mounted, as a submitter needs it."""
    labels: Annotated[dict[str, LabelValue], Field(max_length=32), OWN_LABELS_RULE] = {}
    """Labels of the pod, beside Leadline's."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=32), OWN_ANNOTATIONS
    ] = {}
    """Annotations of the pod."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    """Taints of nodes that the pod does not mind."""
    priority_class_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("PriorityClass", "batch", namespaced=False)] | None
    ) = None
    """PriorityClass of the pod."""
    image_pull_secrets: Annotated[list[ImagePullSecret], Field(max_length=16, json_schema_extra=_BY_NAME)] = []
    """Secrets by which the image is pulled."""
    runtime_class_name: (
        Annotated[str, Field(min_length=1, max_length=253), name_of("RuntimeClass", "nvidia", namespaced=False)] | None
    ) = None
    """RuntimeClass of the pod."""
    volumes: Annotated[list[Annotated[Volume, ONE_KIND]], Field(max_length=16, json_schema_extra=_BY_NAME)] = []
    """Files that the pod is given."""
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=16, json_schema_extra=_BY_PATH)] = []
    """Where they are in the container."""


JOB_MOUNTS_HAVE_VOLUMES: Final = Rule(
    cel="!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
    message="each of spec.retrain.jobTemplate.volumeMounts needs a volume of its name in spec.retrain.jobTemplate.volumes",
    holds=lambda template: {each.name for each in template.volume_mounts} <= {each.name for each in template.volumes},
    shows_value=False,
)
ROOM_FOR_TEMPORARY_FILES: Final = Rule(
    cel="!has(self.volumeMounts) || self.volumeMounts.all(m, m.mountPath != '/tmp')",
    message="spec.retrain.jobTemplate.volumeMounts: /tmp is mounted by Leadline, as scratch space; choose another place",
    holds=lambda template: all(each.mount_path != "/tmp" for each in template.volume_mounts),  # noqa: S108 - a mount
    shows_value=False,
)


class When(Part):
    """What starts a run; several may. Left out: only the command leadline.dev/action: retrain@<now>."""

    verdicts: Annotated[list[Literal["Decayed", "Degraded"]], Field(max_length=2)] = []
    """Verdicts on a serving revision that start a run, once each."""
    new_outcomes: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """So many outcomes since the last run began, or since this was asked for, start a run."""
    schedule: Schedule | None = None
    """When a run starts, in UTC, as in a CronJob. Of those that were missed, the newest is made up for."""


class Retrain(Part):
    """Trains the model anew by a Job of your own, and takes or proposes what comes of it."""

    when: When = When()
    """What starts a run."""
    mode: Literal["Propose", "Auto"] = "Propose"
    """Propose: say what came of it, for a change of spec.model by you. Auto: try it as a candidate, through the same gate; spec
    stays as it is."""
    job_template: Annotated[JobTemplate, JOB_MOUNTS_HAVE_VOLUMES, ROOM_FOR_TEMPORARY_FILES]
    """The Job that trains."""
    deadline: Annotated[Duration, AT_LEAST_ONE_SECOND] = "2h"
    """Longest run; what takes longer is ended and has failed."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a run that failed is tried again."""
    backoff: Annotated[Duration, AT_LEAST_ONE_SECOND] = "5m"
    """Pause before the first of these tries; it doubles from try to try, up to a day."""
    cooldown: Annotated[Duration, NOT_NEGATIVE] = "1h"
    """Least time between the starts of two runs; commands and retries do not wait for it."""

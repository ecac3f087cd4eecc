"""What a user asks for: the spec of a ModelDeployment.

The CRD is generated from these models (`leadline_api.crd`), so the API server has already refused what is malformed;
parsing here tolerates fields of a newer CRD. Decimals arrive as strings and durations as in Kubernetes (`90s`, `24h`,
`7d`); `leadline_api.quantities` turns them into numbers.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Decimal = Annotated[str, Field(pattern=r"^(0(\.[0-9]{1,9})?|1(\.0{1,9})?)$", max_length=11)]
"""A number from 0 to 1 as a string, so that no float is rounded on its way through YAML and JSON."""
Duration = Annotated[
    str,
    Field(
        pattern=r"^(([0-9]{1,9}(ms|s|m|h)){1,4}|[0-9]{1,5}(d|w))$",
        max_length=32,
        json_schema_extra={"format": "duration"},
    ),
]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Uri = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^(file|http|https|s3)://.+$")]
"""file, http, https or s3; more schemes follow as the runtime learns them."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Credentials(_Model):
    """Where the runtime finds credentials for the model's and the test set's store."""

    secret_name: ObjectName
    """Secret in the same namespace; its keys become environment variables of the runtime (AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP)."""


class Prediction(_Model):
    """Which output of the model is the prediction."""

    output: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the output that holds the predicted class."""


class Model(_Model):
    """The model to serve."""

    uri: Uri
    """Where its bytes are: file://, http://, https:// or s3://bucket/key, an ONNX file."""
    digest: Digest | None = None
    """`sha256:` and 64 hexadecimal digits of the bytes. Left out: learned at first load and held from then on."""
    predictions: Annotated[list[Prediction], Field(max_length=1)] = []
    """Needed only where the model's metadata does not say which output is the prediction."""
    credentials: Credentials | None = None


class Batching(_Model):
    """How requests that arrive together share one run of the model."""

    max_rows: Annotated[int, Field(ge=1, le=4096)] = 64
    """Most rows in one run."""


class Resources(_Model):
    """Compute resources of each runtime pod, as in a container."""

    requests: Annotated[dict[str, str | int], Field(max_length=16)] = {}
    limits: Annotated[dict[str, str | int], Field(max_length=16)] = {}


class Runtime(_Model):
    """The pods that answer."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods of the serving revision."""
    resources: Resources = Resources()
    batching: Batching = Batching()


class LastGood(_Model):
    """What is kept of the last good revision after a switch."""

    replicas: Annotated[str | int, Field(json_schema_extra={"x-kubernetes-int-or-string": True})] = "Same"
    """A number, a percentage such as `50%`, or `Same` (as many as the serving revision)."""
    for_: Annotated[Duration, Field(alias="for")] = "24h"
    """How long it is kept warm after a switch; then it is scaled to 0."""


class Rollout(_Model):
    """How a new revision takes over."""

    strategy: Literal["BlueGreen", "RollingUpdate"] = "BlueGreen"
    """BlueGreen verifies a candidate dark, then switches. RollingUpdate switches first and watches while it serves."""
    progress_deadline: Duration = "10m"
    """Time for fetching, starting and testing; after that the rollout is Stalled (and still retried)."""
    last_good: LastGood = LastGood()


class Metric(_Model):
    """One measure of quality and what is tolerated."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
    metric: Literal["accuracy"]
    margin: Decimal = "0.02"
    """How much worse than the last good revision a revision may be and still count as good."""
    floor: Decimal | None = None
    """Lowest accuracy on the test set with which a revision is admitted."""


class TestSet(_Model):
    """Labelled examples that every revision answers at admission and again at each interval."""

    uri: Uri
    """A Parquet file: one column per model input, one column with the true answers."""
    digest: Digest | None = None
    truth: Annotated[str, Field(min_length=1, max_length=256)]
    """Column that holds the true answers."""
    interval: Duration = "10m"


class Quality(_Model):
    """How good the model must be, and what happens when it is not."""

    metrics: Annotated[list[Metric], Field(max_length=1)] = []
    false_rollback_probability: Decimal = "0.01"
    """Probability of ever rolling back a revision that is as good as the last good one."""
    test_set: TestSet | None = None
    on_degraded: Literal["Rollback", "Alert"] = "Rollback"


class ModelDeploymentSpec(_Model):
    """What a ModelDeployment asks for."""

    model: Model
    runtime: Runtime = Runtime()
    rollout: Rollout = Rollout()
    quality: Quality = Quality()

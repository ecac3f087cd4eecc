"""What Leadline reports: the status of a ModelDeployment.

Written whole by server-side apply. Machines read conditions; `phase` and the strings in `summary` are for people.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Message = Annotated[str, Field(max_length=2048)]
Name = Annotated[str, Field(max_length=63)]
Time = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
Number = Annotated[str, Field(max_length=32)]
"""A decimal as a string."""


class ConditionType(StrEnum):
    """The conditions of a ModelDeployment; all are present from the first pass, as Unknown where not measured."""

    READY = "Ready"
    UP_TO_DATE = "UpToDate"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    QUALITY_OK = "QualityOK"


class Verdict(StrEnum):
    """What the soundings say of the serving revision."""

    COLLECTING = "Collecting"
    WATCHING = "Watching"
    DEGRADED = "Degraded"


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(_Model):
    """A condition as in metav1.Condition."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=64)]
    message: Message = ""
    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    last_transition_time: Time


class Traffic(_Model):
    """Which share of the requests a revision answers: what is, not what was asked for."""

    revision: Name
    percent: Annotated[int, Field(ge=0, le=100)]


class MetricQuality(_Model):
    """What is known of one metric of the serving revision."""

    name: Name
    verdict: Verdict
    estimate: Number | None = None
    interval: Annotated[list[Number], Field(max_length=2)] = []
    """Lower and upper bound (98 %, exact) of the accuracy on inputs like the test set's."""
    reference: Number | None = None
    """The same metric of the revision it is compared with, on the same rows."""
    rows: Annotated[int, Field(ge=0)] = 0
    """Rows of the test set behind the estimate."""
    p_value: Number | None = None
    """Of the exact one-look test against the reference; small means worse by more than the margin."""
    message: Message = ""


class Rejection(_Model):
    """A revision that was found bad, and why."""

    revision: Name
    digest: Annotated[str, Field(max_length=71)] = ""
    reason: Annotated[str, Field(max_length=64)]
    at: Time
    message: Message = ""


class Summary(_Model):
    """Plain strings for the columns of `kubectl get`."""

    quality: Annotated[str, Field(max_length=64)] = ""
    message: Message = ""


class ModelDeploymentStatus(_Model):
    """What is known of a ModelDeployment."""

    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})] = -1
    url: Annotated[str, Field(max_length=256)] = ""
    desired_revision: Name = ""
    serving_revision: Name = ""
    last_good_revision: Name = ""
    phase: Annotated[str, Field(max_length=32)] = ""
    replicas: Annotated[int, Field(ge=0)] = 0
    selector: Annotated[str, Field(max_length=256)] = ""
    traffic: Annotated[list[Traffic], Field(max_length=8)] = []
    quality: Annotated[list[MetricQuality], Field(max_length=8)] = []
    rejected: Annotated[list[Rejection], Field(max_length=5)] = []
    handled_action: Annotated[str, Field(max_length=64)] = ""
    """The newest command that was carried out, as written in the annotation."""
    summary: Summary = Summary()
    conditions: Annotated[list[Condition], Field(max_length=16)] = []

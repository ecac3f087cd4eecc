"""What Leadline reports: the status of a ModelDeployment.

Written whole by server-side apply. Machines read conditions; `phase` and the strings in `summary` are for people.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
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
    OUTCOMES_FLOWING = "OutcomesFlowing"
    OBJECTIVES_MET = "ObjectivesMet"
    RECORDS_READABLE = "RecordsReadable"


class Verdict(StrEnum):
    """What the soundings say of the serving revision."""

    COLLECTING = "Collecting"
    WATCHING = "Watching"
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    DECAYED = "Decayed"


def _keyed(key: str) -> dict[str, JsonValue]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


class Condition(_Model):
    """A condition as in metav1.Condition."""

    type: Annotated[str, Field(max_length=64)]
    """One of the condition types, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """True, False, or Unknown where it is not measured."""
    reason: Annotated[str, Field(max_length=64)]
    """Why, in one UpperCamelCase word that scripts may compare."""
    message: Message = ""
    """Why, for people: what, where, and what happens next."""
    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    """The generation of the spec that this was found for."""
    last_transition_time: Time
    """When the status last changed."""


class Traffic(_Model):
    """Which share of the requests a revision answers: what is, not what was asked for."""

    revision: Name
    """Name of the revision."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """Share of the requests."""


class MetricQuality(_Model):
    """What is known of one metric of the serving revision."""

    name: Name
    """Name of the metric, as in spec.quality.metrics."""
    verdict: Verdict
    """Collecting (cannot judge yet), Watching (nothing found), Healthy (shown to be within the margin), Degraded (worse
    than the last good revision) or Decayed (below its own limit)."""
    estimate: Number | None = None
    """The metric over the outcomes that were judged; where there are none, on the newest answers to the test set."""
    interval: Annotated[list[Number], Field(max_length=2)] = []
    """Lower and upper bound (98 %): over outcomes of the kind that holds however often one looks, on a test set exact."""
    outcomes: Annotated[int, Field(ge=0)] = 0
    """Outcomes behind the estimate."""
    pairs: Annotated[int, Field(ge=0)] = 0
    """Outcomes that judged this and the compared revision on the same input."""
    evidence: Number | None = None
    """Against the revision, as a bettor's winnings: 1 is nothing, `needed` is enough."""
    needed: Number | None = None
    """Evidence at which the revision is found bad."""
    detectable: Annotated[str, Field(max_length=256)] = ""
    """What a drop in accuracy would take to be found, at the rate at which outcomes come."""
    reference: Number | None = None
    """The same metric of the revision it is compared with, on the same rows."""
    rows: Annotated[int, Field(ge=0)] = 0
    """Rows of the test set behind the estimate."""
    p_value: Number | None = None
    """Of the exact one-look test against the reference; small means worse by more than the margin."""
    message: Message = ""
    """The same in a sentence."""


class Rejection(_Model):
    """A revision that was found bad, and why."""

    revision: Name
    """Name of the revision."""
    digest: Annotated[str, Field(max_length=71)] = ""
    """Digest of its model, where it got as far as that."""
    reason: Annotated[str, Field(max_length=64)]
    """Why, in one UpperCamelCase word that scripts may compare."""
    at: Time
    """When it was rejected."""
    message: Message = ""
    """Why, for people, and how to try again."""


class Summary(_Model):
    """Plain strings for the columns of `kubectl get`."""

    outcomes: Annotated[str, Field(max_length=64)] = ""
    """Outcomes of the serving revision that were judged, such as `2210`; empty: none are taken."""
    verdict: Annotated[str, Field(max_length=64)] = ""
    """The verdict on the serving revision."""
    quality: Annotated[str, Field(max_length=64)] = ""
    """The newest measurement, such as accuracy 0.953."""
    message: Message = ""
    """The message of the condition that matters most."""


class RetrainProduct(_Model):
    """What a training run brought that stands in for spec.model, with mode: Auto."""

    id: Annotated[str, Field(max_length=16)]
    """The run that brought it."""
    revision: Name
    """The revision that it is."""
    uri: Annotated[str, Field(max_length=1024)]
    """Where it is."""
    digest: Annotated[str, Field(max_length=71)]
    """Digest of its bytes."""


class RetrainStatus(_Model):
    """The newest training run, and what came of it."""

    phase: Literal["Waiting", "Running", "Failed", "Proposed", "Candidate", "Serving", "Rejected", "Superseded"]
    """Where it is: Candidate, Serving, Rejected and Superseded with mode: Auto."""
    id: Annotated[str, Field(max_length=16)] = ""
    """Its id, in the name of its Job, in Events and in what is posted."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Which try it is; the first is 1."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """What started it."""
    started_at: Time | None = None
    """When it began."""
    ended_at: Time | None = None
    """When it ended."""
    uri: Annotated[str, Field(max_length=1024)] = ""
    """What it brought."""
    digest: Annotated[str, Field(max_length=71)] = ""
    """Digest of the bytes of what it brought."""
    product: RetrainProduct | None = None
    """What stands in for spec.model; left out: nothing does."""
    message: Message = ""
    """What it does, or why it failed and what happens next."""


class ModelDeploymentStatus(_Model):
    """What is known of a ModelDeployment."""

    observed_generation: Annotated[int, Field(json_schema_extra={"format": "int64"})] = -1
    """The generation of the spec that this status is about; -1 until the operator has seen it."""
    url: Annotated[str, Field(max_length=256)] = ""
    """The model's address inside the cluster."""
    desired_revision: Name = ""
    """The revision that the spec asks for."""
    serving_revision: Name = ""
    """The revision that gets the traffic."""
    last_good_revision: Name = ""
    """The revision that a rollback would go to."""
    phase: Annotated[str, Field(max_length=32)] = ""
    """Where the rollout is; for people, machines read conditions."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Pods of the serving revision."""
    selector: Annotated[str, Field(max_length=256)] = ""
    """Label selector of the pods of the serving revision."""
    traffic: Annotated[list[Traffic], Field(max_length=8)] = []
    """Which share of the requests each revision answers."""
    quality: Annotated[
        list[MetricQuality],
        Field(max_length=8, json_schema_extra=_keyed("name")),
    ] = []
    """What is known of each metric of the serving revision."""
    rejected: Annotated[list[Rejection], Field(max_length=5)] = []
    """The last five rejected revisions; all are remembered."""
    handled_action: Annotated[str, Field(max_length=64)] = ""
    """The newest command that was carried out, as written in the annotation."""
    retrain: RetrainStatus | None = None
    """The newest training run; left out where spec.retrain is."""
    summary: Summary = Summary()
    """Plain strings for the columns of `kubectl get`."""
    conditions: Annotated[
        list[Condition],
        Field(max_length=16, json_schema_extra=_keyed("type")),
    ] = []
    """Ready, UpToDate, Reconciling, Stalled, QualityOK, OutcomesFlowing and RecordsReadable."""

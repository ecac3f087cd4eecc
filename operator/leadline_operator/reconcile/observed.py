"""What exists, as the loop gathered it: the input of every decision.

Plain values, read from the cache and from the pods' newest reports. `None` for a report means not asked or not
reached yet: no answer is not a bad answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec
from leadline_wire.exchange import ExchangeReport

from leadline_operator.reconcile import records
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.gate import Grown
from leadline_operator.reconcile.service_levels import ServiceLevel
from leadline_operator.specs import revisions, services
from leadline_operator.specs.metadata import Manifest, Owner


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator was installed with."""

    runtime_image: str
    exchange_key: bytes
    """Of this ModelDeployment."""
    ledger_url: str = ""
    """Where pods report outcomes; empty: there is no ledger."""


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What is known from the ledger about one ModelDeployment."""

    evidence: Evidence
    trouble: str = ""
    """Why the ledger cannot be asked at present; empty: it answers."""
    answers_since: float = 0.0
    """Seconds since the epoch; when it began to answer again. A silence of outcomes counts from here at the earliest."""
    labels_waiting: int = 0
    """Labelled rows that are to be answered."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a revision, and what it last said."""

    name: str
    uid: str
    ip: str
    revision: str
    ready: bool
    terminating: bool
    waiting: tuple[str, str]
    """Reason and message of a container that does not run, or of a pod that is not scheduled; empty where neither."""
    report: ExchangeReport | None
    controller: str = ""
    """The ReplicaSet that brings another one when it is deleted; empty: none does."""


@dataclass(frozen=True)
class Revision:
    """A stored revision with its record read."""

    stored: revisions.Stored
    record: records.Record

    @property
    def name(self) -> str:
        """Name of the revision and of its children."""
        return self.stored.name

    @property
    def digest(self) -> str:
        """Trusted digest; empty: not known yet."""
        return self.stored.digest


@dataclass(frozen=True, kw_only=True)
class Existing:
    """A ModelDeployment and everything that belongs to it, at one instant, but for what its spec asks for."""

    owner: Owner
    generation: int
    created_at: float
    """Seconds since the epoch, by the API server's clock."""
    action: str
    """The annotation with a command; empty: none."""
    status: dict[str, Any]
    """As it is at the API server."""
    settings: Settings
    revisions: tuple[Revision, ...] = ()
    deployments: dict[str, Manifest] = field(default_factory=dict)
    """By name."""
    services: dict[str, Manifest] = field(default_factory=dict)
    autoscalers: dict[str, Manifest] = field(default_factory=dict)
    disruption_budgets: dict[str, Manifest] = field(default_factory=dict)
    pods: tuple[Pod, ...] = ()
    """Of revisions."""
    jobs: dict[str, Manifest] = field(default_factory=dict)
    """Of training runs, by name."""
    trainers: tuple[Manifest, ...] = ()
    """Pods of those Jobs."""
    ledger: LedgerView | None = None
    """None: the ledger was not read yet, or there is none."""
    conflicts: tuple[str, ...] = ()
    """Sentences on objects that have our names and are not ours."""
    grown: Grown | None = None
    """The newest test set out of outcomes that was asked for; None: none was, or it is being made."""
    refusal: str = ""
    """A sentence on a write that the API server refused at the last pass; empty: none."""

    @cached_property
    def by_name(self) -> dict[str, Revision]:
        """The revisions by name."""
        return {revision.name: revision for revision in self.revisions}

    @property
    def serving(self) -> str:
        """Name of the revision that the stable Service selects; empty: none."""
        service = self.services.get(self.owner.name)
        return services.selected_revision(service) if service else ""

    def pods_of(self, revision: str) -> tuple[Pod, ...]:
        """Return the pods of a revision that are not on their way out."""
        return tuple(pod for pod in self.pods if pod.revision == revision and not pod.terminating)

    def ready_pods(self, revision: str) -> tuple[Pod, ...]:
        """Return the pods of a revision that the kubelet calls ready."""
        return tuple(pod for pod in self.pods_of(revision) if pod.ready)

    def address(self, revision: str) -> str:
        """Return the cluster IP of a revision's own Service; empty: none yet."""
        service = self.services.get(revision) or {}
        address: str = (service.get("spec") or {}).get("clusterIP") or ""
        return "" if address == "None" else address


@dataclass(frozen=True, kw_only=True)
class Observed(Existing):
    """The same with the spec: the input of every decision."""

    spec: ModelDeploymentSpec
    product: records.Trained | None = None
    """What a training run brought that stands in for the model in `spec`; None: nothing does."""
    own_spec: ModelDeploymentSpec | None = None
    """The spec as it is written, where a product stands in for its model; None: `spec`."""
    service_levels: Mapping[str, ServiceLevel] = field(default_factory=dict)
    """How the pods of revisions that get requests answer; by revision."""

    @property
    def desired(self) -> str:
        """Name of the revision that the spec asks for."""
        return revisions.name_of(self.owner.name, self.spec)


def pod_of(live: Manifest, report: ExchangeReport | None) -> Pod:
    """Read a Pod object."""
    metadata, status = live["metadata"], live.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        ip=status.get("podIP") or "",
        revision=(metadata.get("labels") or {}).get(names.REVISION_LABEL, ""),
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        terminating=bool(metadata.get("deletionTimestamp")),
        waiting=waiting_of(live),
        report=report,
        controller=next(
            (
                each["name"]
                for each in metadata.get("ownerReferences") or ()
                if each.get("controller") and each.get("kind") == "ReplicaSet"
            ),
            "",
        ),
    )


def waiting_of(live: Manifest) -> tuple[str, str]:
    """Return why a pod's container does not run. What alternates while the kubelet tries again is said in one way."""
    status = live.get("status") or {}
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in ("ErrImagePull", "ImagePullBackOff"):
            return "ImagePullBackOff", f"image {container.get('image')}: {message.rpartition('ErrImagePull: ')[2]}"
        ended = (
            (container.get("lastState") or {}).get("terminated")
            or (container.get("state") or {}).get("terminated")
            or {}
        )
        if reason == "CrashLoopBackOff" or (ended.get("exitCode") and not container.get("ready")):
            said = (ended.get("message") or "").strip()[-300:]
            return (
                "CrashLoopBackOff",
                f"container {container.get('name')} ended with status {ended.get('exitCode')}: {said}",
            )
        if reason not in ("", "ContainerCreating", "PodInitializing"):
            return reason, message
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return scheduled.get("reason") or "Unschedulable", scheduled.get("message") or ""
    return "", ""

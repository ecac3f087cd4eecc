"""Gather what is observed of one ModelDeployment into the value that `reconcile` decides on."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime

import pydantic
from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec, problems
from leadline_wire.exchange import ExchangeReport

from leadline_operator.loop.cache import Cache, Key, is_owned
from leadline_operator.reconcile import records
from leadline_operator.reconcile.gate import Grown
from leadline_operator.reconcile.observed import Existing, LedgerView, Observed, Revision, Settings, pod_of
from leadline_operator.specs import revisions
from leadline_operator.specs.metadata import Manifest, Owner


class InvalidSpec(Exception):  # noqa: N818 - what was found
    """The spec is not one that this version understands.

    Args:
        existing: Everything else.
        problem: What is wrong in which field, and what was expected.
    """

    def __init__(self, existing: Existing, problem: str) -> None:
        self.existing, self.problem = existing, problem
        super().__init__(problem)


def observed(
    cache: Cache,
    key: Key,
    *,
    settings: Settings,
    report_of: Callable[[str], ExchangeReport | None],
    conflicts: tuple[str, ...],
    ledger: LedgerView | None = None,
    refusal: str = "",
    grown: Grown | None = None,
) -> Observed | None:
    """Return what is known of a ModelDeployment; None where it is gone or on its way out.

    Raises:
        InvalidSpec: The spec is not one that this version understands.
    """
    live = cache.get(names.KIND, key)
    if live is None or live["metadata"].get("deletionTimestamp"):
        return None
    metadata = live["metadata"]
    uid = metadata["uid"]

    def owned(kind: str) -> dict[str, Manifest]:
        return {each["metadata"]["name"]: each for each in cache.children(key, kind) if is_owned(each, uid)}

    pods = tuple(cache.children(key, "Pod"))
    stored = sorted(
        (revisions.stored(each) for each in owned("ControllerRevision").values()), key=lambda each: each.number
    )
    existing = Existing(
        owner=Owner(key.namespace, key.name, uid),
        generation=metadata.get("generation") or 0,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]).timestamp(),
        action=(metadata.get("annotations") or {}).get(names.ACTION_ANNOTATION, ""),
        status=live.get("status") or {},
        settings=settings,
        revisions=tuple(Revision(each, records.read(each.record)) for each in stored),
        deployments=owned("Deployment"),
        services=owned("Service"),
        autoscalers=owned("HorizontalPodAutoscaler"),
        disruption_budgets=owned("PodDisruptionBudget"),
        pods=tuple(
            sorted(
                (pod_of(each, report_of(each["metadata"]["uid"])) for each in pods if not _trains(each)),
                key=lambda pod: pod.name,
            )
        ),
        jobs=owned("Job"),
        trainers=tuple(each for each in pods if _trains(each)),
        conflicts=conflicts,
        ledger=ledger,
        refusal=refusal,
        grown=grown,
    )
    try:
        spec = ModelDeploymentSpec.model_validate(live.get("spec") or {})
    except pydantic.ValidationError as error:
        raise InvalidSpec(existing, problems(error)) from error
    return Observed(spec=spec, **{each.name: getattr(existing, each.name) for each in fields(existing)})


def _trains(pod: Manifest) -> bool:
    """Tell whether a pod is of a training run and of no revision."""
    return names.RETRAIN_LABEL in (pod["metadata"].get("labels") or {})

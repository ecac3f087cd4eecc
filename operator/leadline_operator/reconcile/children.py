"""Turn a Decision into writes: what is missing is created, what differs is put back, what is no longer kept is deleted.

The order matters, for a pass can be cut at any point: revisions (the memory) first, then what pods need, the pods,
and the stable Service, which is the switch, last.
"""

import copy
from typing import Any, Final

from leadline_operator.reconcile import announcing, records
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Create, Delete, Replace, Write
from leadline_operator.specs import autoscalers, configuration, disruption, pods, revisions, services, workloads
from leadline_operator.specs.metadata import Manifest

HISTORY_KEPT: Final = 10
"""Revisions without a finding that are kept beside the ones in use; those with one are memory, and stay, and so do
those whose memory cannot be read."""
_ASSIGNED: Final = {"Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")}
"""Fields of a spec that the API server assigns and that a replacement must keep."""


def writes(observed: Observed, decision: Decision) -> tuple[Write, ...]:
    """Return what has to be written so that the world is as decided."""
    owner = observed.owner
    result: list[Write] = [*_revisions(observed, decision)]
    result.append(Create(configuration.keys_secret(owner, exchange_key=observed.settings.exchange_key), quiet=True))
    for name, replicas in decision.replicas.items():
        revision = observed.by_name.get(name)
        if revision is None:
            continue  # its ControllerRevision is created in this pass; the pods follow when it is seen
        digest = revision.digest or decision.digests.get(name, "")
        if digest:
            result.append(Create(configuration.digest_config_map(owner, name, digest=digest), quiet=True))
        result += _put(observed.services.get(name), services.revision_service(owner, name))
        template = pods.overlaid_template(revision.stored.template, spec=observed.spec)
        result += _put(
            observed.deployments.get(name), workloads.deployment(owner, name, template=template, replicas=replicas)
        )
    for name in _protected(observed, decision):
        result += _put(observed.disruption_budgets.get(name), disruption.disruption_budget(owner, name))
    stable = services.stable_service(owner, serving=decision.serving)
    result += _put(observed.services.get(owner.name), stable)
    scaled, autoscaling = _scaled(observed, decision), observed.spec.runtime.autoscaling
    if scaled and autoscaling is not None:
        # After the Service: load that has not moved yet is not to be looked for on pods that do not have it.
        wanted = autoscalers.autoscaler(owner, scaled, autoscaling=autoscaling)
        result += _put(observed.autoscalers.get(owner.name), wanted)
    result += _deletions(observed, decision)
    if decision.training is not None:
        result += [_deletion("Job", live) for live in decision.training.delete]
        # Last: where it is refused, as by a quota, all that serves was seen to.
        result += [Create(decision.training.create)] if decision.training.create is not None else []
    return tuple(result)


def _protected(observed: Observed, decision: Decision) -> list[str]:
    """Return the revisions whose pods node drains may take one at a time only: what answers, and where a rollback goes."""
    named = dict.fromkeys((decision.serving, decision.last_good))
    return [name for name in named if name in observed.by_name and decision.replicas.get(name, 0) > 0]


def _scaled(observed: Observed, decision: Decision) -> str:
    """Return the revision that an autoscaler is to work on; empty: none."""
    wanted = observed.spec.runtime.autoscaling is not None and decision.serving in observed.by_name
    return decision.serving if wanted else ""


def _revisions(observed: Observed, decision: Decision) -> list[Write]:
    result: list[Write] = []
    number = max((revision.stored.number for revision in observed.revisions), default=0)
    missing = [each for each in decision.records if each not in observed.by_name and not decision.waits_for_memory]
    for name in missing:
        made = _made(observed, name, number=number + 1, record=records.write(decision.records[name]))
        if made is not None:
            number += 1
            result.append(Create(made))
    changed = [
        revision
        for revision in observed.revisions
        if not decision.is_unreadable(revision.name)
        and (decision.records[revision.name] != revision.record or decision.digests.get(revision.name))
    ]
    # Who gains the traffic is written before who loses it: between the two, the newest one counts.
    for revision in sorted(changed, key=lambda each: each.name != decision.serving):
        body = revisions.annotated(
            revision.stored,
            record=records.write(decision.records[revision.name]),
            digest=decision.digests.get(revision.name, ""),
            owner=observed.owner,
        )
        result.append(Replace(body, "record"))
    return result


def _made(observed: Observed, name: str, *, number: int, record: str) -> Manifest | None:
    """Return the ControllerRevision of the desired revision, or of one that served before the object was made again."""
    evidence = observed.ledger.evidence if observed.ledger is not None else Evidence()
    if name == observed.desired:
        image = observed.settings.runtime_image
        return revisions.controller_revision(
            observed.owner,
            spec=observed.spec,
            image=image,
            number=number,
            record=record,
            ledger_url=observed.settings.ledger_url,
            digest=announcing.digest_of(evidence, name),
        )
    known = announcing.template_of(evidence, name)
    return revisions.restored(observed.owner, name, known, number=number, record=record) if known else None


def _put(live: Manifest | None, wanted: Manifest) -> list[Write]:
    if live is None:
        return [Create(wanted)]
    differing = differences(live, wanted)
    return [Replace(replacement(live, wanted), ", ".join(differing))] if differing else []


def differences(live: Manifest, wanted: Manifest) -> list[str]:
    """Return the names of what differs between a live child and what it should be; empty: nothing.

    Foreign labels and annotations are nobody's fault; our labels, the owner and the whole spec are ours.
    """
    metadata, ours = live["metadata"], wanted["metadata"]
    found = []
    if not ours["labels"].items() <= (metadata.get("labels") or {}).items():
        found.append("metadata.labels")
    if ours["ownerReferences"][0] not in (metadata.get("ownerReferences") or ()):
        found.append("metadata.ownerReferences")
    spec = {
        key: value for key, value in (live.get("spec") or {}).items() if key not in _ASSIGNED.get(wanted["kind"], ())
    }
    found += [
        f"spec.{key}"
        for key in sorted(spec.keys() | wanted["spec"].keys())
        if not _equal(spec.get(key), wanted["spec"].get(key))
    ]
    return found


def _equal(live: Any, wanted: Any) -> bool:
    """Compare as the API server would: it drops empty values and fills in `creationTimestamp: null`."""
    if live == wanted:
        return True
    if isinstance(live, dict) or isinstance(wanted, dict):
        left = {k: v for k, v in (live or {}).items() if v not in (None, {}, [], "") or v is False}
        right = {k: v for k, v in (wanted or {}).items() if v not in (None, {}, [], "") or v is False}
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(live, list) and isinstance(wanted, list):
        return len(live) == len(wanted) and all(map(_equal, live, wanted))
    return False


def replacement(live: Manifest, wanted: Manifest) -> Manifest:
    """Return the object to PUT: our spec, with what the API server assigned and what strangers added to the metadata."""
    metadata = copy.deepcopy(live["metadata"])
    metadata.pop("managedFields", None)
    metadata["labels"] = (metadata.get("labels") or {}) | wanted["metadata"]["labels"]
    metadata["ownerReferences"] = wanted["metadata"]["ownerReferences"]
    kept = {key: live["spec"][key] for key in _ASSIGNED.get(wanted["kind"], ()) if key in (live.get("spec") or {})}
    return {**wanted, "metadata": metadata, "spec": kept | wanted["spec"]}


def _deletions(observed: Observed, decision: Decision) -> list[Write]:
    named = decision.replicas.keys()
    result: list[Write] = []
    if decision.odd_pod is not None:
        result.append(Delete("Pod", decision.odd_pod.name, decision.odd_pod.uid))
    for kind, objects, kept in (
        ("Deployment", observed.deployments, named),
        ("Service", observed.services, named | {observed.owner.name}),
        ("HorizontalPodAutoscaler", observed.autoscalers, {observed.owner.name} if _scaled(observed, decision) else ()),
        ("PodDisruptionBudget", observed.disruption_budgets, _protected(observed, decision)),
    ):
        for name, live in objects.items():
            if name not in kept and not live["metadata"].get("deletionTimestamp"):
                result.append(_deletion(kind, live))
    # The record of what the spec itself names says since when, while a training run's product stands in for it.
    asked = revisions.name_of(observed.owner.name, observed.own_spec or observed.spec)
    spare = [
        revision
        for revision in sorted(observed.revisions, key=lambda each: -each.stored.number)
        if revision.name not in decision.replicas
        and revision.name not in (decision.desired, decision.best, asked)
        and not revision.record.rejections
        and not decision.is_unreadable(revision.name)
        and not revision.stored.live["metadata"].get("deletionTimestamp")
    ]
    result += [_deletion("ControllerRevision", each.stored.live) for each in spare[HISTORY_KEPT:]]
    return result


def _deletion(kind: str, live: Manifest) -> Delete:
    metadata = live["metadata"]
    return Delete(kind, metadata["name"], metadata["uid"], metadata.get("resourceVersion", ""))

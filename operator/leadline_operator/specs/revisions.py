"""The ControllerRevision: a revision as it is stored, frozen, with what happened to it in its annotations."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec

from leadline_operator.specs.metadata import Manifest, Owner, child
from leadline_operator.specs.pods import frozen_template

HASH_VERSION: Final = 1
"""Goes up when other inputs are hashed; a revision keeps the version that it was made with."""


def inputs_of(spec: ModelDeploymentSpec) -> dict[str, Any]:
    """Return what decides a revision's answers, as the user wrote it."""
    inputs: dict[str, Any] = {"uri": spec.model.uri}
    if spec.model.digest:
        inputs["digest"] = spec.model.digest
    if spec.model.signature:
        # Does not change answers, but whether there may be any: what was admitted without is not so with it.
        inputs["signature"] = spec.model.signature.model_dump(by_alias=True, exclude_none=True)
    return inputs


def name_of(owner_name: str, spec: ModelDeploymentSpec) -> str:
    """Return the name of the revision that a spec asks for; equal inputs have equal names."""
    canonical = json.dumps([HASH_VERSION, inputs_of(spec)], sort_keys=True, separators=(",", ":"))
    return names.revision_name(owner_name, hashlib.sha256(canonical.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Stored:
    """What is read back of a ControllerRevision."""

    name: str
    number: int
    inputs: dict[str, Any]
    template: Manifest
    digest: str
    """Trusted digest: from the spec, else learned; empty: not known yet."""
    record: str
    """JSON of `reconcile.records.Record`; empty: none yet."""
    live: Manifest


def controller_revision(
    owner: Owner,
    *,
    spec: ModelDeploymentSpec,
    image: str,
    number: int,
    record: str,
    ledger_url: str = "",
    digest: str = "",
) -> Manifest:
    """Return the object that freezes what a spec asks for now; `digest` is the one that is known from before."""
    name = name_of(owner.name, spec)
    metadata = child(owner, name, name)
    metadata["annotations"] = {names.RECORD_ANNOTATION: record}
    if spec.model.digest or digest:
        metadata["annotations"][names.DIGEST_ANNOTATION] = spec.model.digest or digest
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": number,
        "data": {
            "hashVersion": HASH_VERSION,
            "inputs": inputs_of(spec),
            "template": frozen_template(owner, name, spec=spec, image=image, ledger_url=ledger_url),
        },
    }


def restored(owner: Owner, name: str, known: dict[str, Any], *, number: int, record: str) -> Manifest:
    """Return the object of a revision that was deleted with its ModelDeployment, from what was remembered of it.

    Args:
        owner: The ModelDeployment as it is now.
        name: Of the revision.
        known: Its `inputs`, `template` and `digest`, as they were frozen.
        number: Place in the history.
        record: JSON of `reconcile.records.Record`.
    """
    metadata = child(owner, name, name)
    metadata["annotations"] = {names.RECORD_ANNOTATION: record}
    if known["digest"]:
        metadata["annotations"][names.DIGEST_ANNOTATION] = known["digest"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "revision": number,
        "data": {"hashVersion": HASH_VERSION, "inputs": known["inputs"], "template": known["template"]},
    }


def stored(live: Manifest) -> Stored:
    """Read a ControllerRevision back."""
    annotations = live["metadata"].get("annotations") or {}
    data = live.get("data") or {}
    return Stored(
        name=live["metadata"]["name"],
        number=int(live.get("revision") or 0),
        inputs=data.get("inputs") or {},
        template=data.get("template") or {},
        digest=annotations.get(names.DIGEST_ANNOTATION, ""),
        record=annotations.get(names.RECORD_ANNOTATION, ""),
        live=live,
    )


def annotated(revision: Stored, *, record: str, digest: str, owner: Owner) -> Manifest:
    """Return the same ControllerRevision with a new record and, once, its digest.

    Labels and owner are written again, so that what was stripped by hand comes back.
    """
    metadata = dict(revision.live["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations[names.RECORD_ANNOTATION] = record
    if digest:
        annotations[names.DIGEST_ANNOTATION] = digest
    ours = child(owner, revision.name, revision.name)
    metadata["annotations"] = annotations
    metadata["labels"] = (metadata.get("labels") or {}) | ours["labels"]
    metadata["ownerReferences"] = ours["ownerReferences"]
    return {**revision.live, "metadata": metadata}

"""Training runs: read back from the ledger's log and from their Jobs, oldest first.

A Job's name follows from its run's id, and the id from what started it and which try it is, so that an operator that was
killed never starts one twice. What the ledger's log holds of a run counts; a Job tells what the log does not hold yet. What a
run brought is the termination message of its container: any image can write one, and it is kept with the pod.

Must not decide whether a run is to be started, or what follows from what it brought.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import pydantic
from leadline_api import names
from leadline_api.fields import Digest, Uri
from leadline_api.spec import ModelDeploymentSpec, problems
from leadline_wire.ledger import Decision as Told
from leadline_wire.ledger import DecisionEntry
from pydantic import Field

from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.observed import Existing, waiting_of
from leadline_operator.specs.metadata import Manifest
from leadline_operator.specs.training import CONTAINER, MESSAGE_PATH

Result = Literal["RetrainProposed", "RetrainProduced", "RetrainFailed"]
ENDS: Final[tuple[Result, ...]] = ("RetrainProposed", "RetrainProduced", "RetrainFailed")
STARTED: Final = "RetrainStarted"
POD_SECONDS: Final = 60.0
"""How long the pod of a Job that is complete may stay unseen: watches of Jobs and of pods are two."""
MESSAGE_MAX: Final = 512
NOTES_MAX: Final = 512


class Product(pydantic.BaseModel):
    """What a training container writes to its termination message: JSON, at most 4,096 bytes."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    uri: Uri
    """Where the model is."""
    digest: Digest
    """Of its bytes: what is tried is what was trained."""
    notes: Annotated[str, Field(max_length=NOTES_MAX)] = ""
    """For people."""
    metrics: Annotated[dict[Annotated[str, Field(max_length=64)], pydantic.FiniteFloat], Field(max_length=16)] = {}
    """Numbers for people, by name; nothing is decided by them."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended."""

    result: Result
    at: float
    uri: str = ""
    digest: str = ""
    message: str = ""
    notes: str = ""
    metrics: str = ""
    """JSON; empty: none."""
    is_known: bool = False
    """The ledger's log holds it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One try of one training run."""

    id: str
    trigger: str
    """What started it, such as `schedule/2026-01-05T03:00:00Z`: no two runs have one, but for tries of the same."""
    because: str
    """The same for people."""
    attempt: int
    mode: str
    base: str
    """Hash of the spec's own model at the start; see `model_key`."""
    revision: str
    """What served then."""
    at: float
    end: End | None = None
    is_known: bool = False
    """The ledger's log holds its start."""
    job: Manifest | None = None
    waiting: str = ""
    """Why its container does not run; empty: it does, or nothing is known."""

    @property
    def is_settled(self) -> bool:
        """Tell whether the ledger's log holds its start and its end."""
        return self.is_known and self.end is not None and self.end.is_known

    @property
    def is_complete(self) -> bool:
        """Tell whether its Job says that it is."""
        conditions = ((self.job or {}).get("status") or {}).get("conditions") or ()
        return any(each.get("type") == "Complete" and _holds(each) for each in conditions)

    @property
    def facts(self) -> dict[str, str]:
        """What must be known of it when the operator is started anew."""
        return {
            "trigger": self.trigger,
            "because": self.because,
            "attempt": str(self.attempt),
            "mode": self.mode,
            "base": self.base,
            "revision": self.revision,
        }


def run_id(trigger: str, attempt: int) -> str:
    """Return the id of a try: the same for whoever starts it."""
    return hashlib.sha256(f"{trigger}#{attempt}".encode()).hexdigest()[:9]


def model_key(spec: ModelDeploymentSpec) -> str:
    """Return the hash of the model that a spec names: what a run's product stands in for."""
    named = json.dumps([spec.model.uri, spec.model.digest], separators=(",", ":"))
    return hashlib.sha256(named.encode()).hexdigest()[:12]


def has_begun(existing: Existing, trigger: str) -> bool:
    """Tell whether a run was begun for a trigger."""
    run = run_id(trigger, 1)
    known = existing.ledger is not None and f"retrain/started/{run}" in existing.ledger.evidence.decisions
    return known or names.training_job_name(existing.owner.name, run) in existing.jobs


def runs_of(existing: Existing, spec: ModelDeploymentSpec, now: float) -> tuple[Run, ...]:
    """Return all runs that are known, oldest first."""
    evidence = existing.ledger.evidence if existing.ledger is not None else Evidence()
    found: dict[str, Run] = {}
    for entry in evidence.decisions.values():
        if entry.kind == STARTED:
            found[entry.data["id"]] = _started(entry)
        elif entry.kind in ENDS and entry.data["id"] in found:
            found[entry.data["id"]] = replace(found[entry.data["id"]], end=_ended(entry))
    for live in existing.jobs.values():
        run = _of_job(live)
        if run is None:
            continue
        known = found.get(run.id, run)
        pods = tuple(pod for pod in existing.trainers if _run_of(pod) == run.id)
        end = known.end or _end_of(run, live, pods, spec, now)
        found[run.id] = replace(known, job=live, end=end, waiting=_waiting(pods) if end is None else "")
    lost = "Its Job is gone before it ended: it was deleted, or spec.retrain was left out meanwhile"
    for run in found.values():
        if run.end is None and run.job is None:
            found[run.id] = replace(run, end=End("RetrainFailed", max(now, run.at), message=lost))
    return tuple(sorted(found.values(), key=lambda each: (each.at, each.id)))


def told_of(run: Run) -> tuple[Told, ...]:
    """Return what the ledger is to be told of a run."""
    told = [Told(f"retrain/started/{run.id}", STARTED, run.revision, _ms(run.at), data={"id": run.id, **run.facts})]
    if run.end is not None:
        told.append(told_end(run, run.end))
    return tuple(told)


def told_end(run: Run, end: End) -> Told:
    """Return how a run ended, as the ledger and whoever wants to be told get it."""
    more = {
        "uri": end.uri,
        "digest": end.digest,
        "message": end.message,
        "notes": end.notes,
        "metrics": end.metrics,
    }
    data = {"id": run.id, **run.facts, **{name: value for name, value in more.items() if value}}
    return Told(f"retrain/ended/{run.id}", end.result, run.revision, _ms(end.at), data=data)


def read_product(text: str, spec: ModelDeploymentSpec) -> Product | str:
    """Return what a container wrote, or what is wrong with it."""
    where = f"container {CONTAINER}, {MESSAGE_PATH}"
    expected = 'expected {"uri": "s3://...", "digest": "sha256:..."}, at most 4,096 bytes'
    if not text.strip():
        return f"{where}: {expected}, got nothing"
    try:
        product = Product.model_validate_json(text)
    except pydantic.ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'JSON'}: {each['msg']}" for each in error.errors()[:2])
        return f"{where}: {expected}; {said}"
    try:
        laid_over(spec, product.uri, product.digest)
    except pydantic.ValidationError as error:
        return f"{where}: {product.uri} does not go with the spec: {problems(error)}"
    return product


def laid_over(spec: ModelDeploymentSpec, uri: str, digest: str) -> ModelDeploymentSpec:
    """Return a spec with another model in the place of its own; all else is as it was.

    Raises:
        pydantic.ValidationError: The model does not go with the rest of the spec.
    """
    plain = spec.model_dump(by_alias=True, exclude_unset=True)
    plain["model"] = {**plain["model"], "uri": uri, "digest": digest}
    return ModelDeploymentSpec.model_validate(plain)


def _started(entry: DecisionEntry) -> Run:
    data = entry.data
    return Run(
        id=data["id"],
        trigger=data["trigger"],
        because=data["because"],
        attempt=int(data["attempt"]),
        mode=data["mode"],
        base=data["base"],
        revision=data["revision"],
        at=entry.at_ms / 1000,
        is_known=True,
    )


def _ended(entry: DecisionEntry) -> End:
    data = entry.data
    return End(
        result=next(each for each in ENDS if each == entry.kind),
        at=entry.at_ms / 1000,
        uri=data.get("uri", ""),
        digest=data.get("digest", ""),
        message=data.get("message", ""),
        notes=data.get("notes", ""),
        metrics=data.get("metrics", ""),
        is_known=True,
    )


def _of_job(live: Manifest) -> Run | None:
    metadata = live["metadata"]
    try:
        facts = json.loads((metadata.get("annotations") or {})[names.RETRAIN_ANNOTATION])
        return Run(
            id=_run_of(live),
            trigger=facts["trigger"],
            because=facts["because"],
            attempt=int(facts["attempt"]),
            mode=facts["mode"],
            base=facts["base"],
            revision=facts["revision"],
            at=_time(metadata["creationTimestamp"]),
        )
    except (KeyError, ValueError, TypeError):
        return None  # the annotation was changed by hand; what the ledger holds of it counts


def _run_of(live: Manifest) -> str:
    found: str = (live["metadata"].get("labels") or {}).get(names.RETRAIN_LABEL, "")
    return found


def _end_of(run: Run, live: Manifest, pods: tuple[Manifest, ...], spec: ModelDeploymentSpec, now: float) -> End | None:
    conditions = (live.get("status") or {}).get("conditions") or ()
    done = next((each for each in conditions if each.get("type") in ("Complete", "Failed") and _holds(each)), None)
    if done is None:
        return None
    at = _time(done["lastTransitionTime"]) if done.get("lastTransitionTime") else now
    ended = [each for each in map(_terminated, pods) if each is not None]
    if done["type"] == "Failed":
        why = f"{done.get('reason') or 'Failed'}: {done.get('message') or ''}"
        bad = next((each for each in ended if each.get("exitCode")), None)
        if bad is not None:
            why = f"container {CONTAINER} ended with status {bad['exitCode']}: {(bad.get('message') or '').strip()[-300:]}"
        if done.get("reason") == "DeadlineExceeded":
            why = f"it ran longer than spec.retrain.deadline ({live['spec'].get('activeDeadlineSeconds')} s)"
        return End("RetrainFailed", at, message=why[:MESSAGE_MAX])
    good = next((each for each in ended if each.get("exitCode") == 0), None)
    if good is None:
        if now - at < POD_SECONDS:
            return None
        return End("RetrainFailed", at, message="its pod is gone, and with it what it brought: run it again")
    product = read_product(good.get("message") or "", spec)
    if isinstance(product, str):
        return End("RetrainFailed", at, message=product[:MESSAGE_MAX])
    metrics = json.dumps(product.metrics) if product.metrics else ""
    result: Result = "RetrainProduced" if run.mode == "Auto" else "RetrainProposed"
    return End(result, at, uri=product.uri, digest=product.digest, notes=product.notes, metrics=metrics)


def _terminated(pod: Manifest) -> Mapping[str, Any] | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    state = next((each.get("state") or {} for each in statuses if each.get("name") == CONTAINER), {})
    found: Mapping[str, Any] | None = state.get("terminated")
    return found


def _waiting(pods: tuple[Manifest, ...]) -> str:
    found = [waiting_of(pod) for pod in pods]
    reason, message = next((each for each in found if each[0]), ("", ""))
    return f"{reason}: {message}"[:MESSAGE_MAX] if reason else ""


def _holds(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _ms(at: float) -> int:
    return round(at * 1000)

"""Carry out a Plan: the only place from which objects of the cluster are written.

Writes go in the Plan's order and stop at the first that is refused: the next pass sees what was done and goes on. What
a write returns goes into the cache at once, so the next pass does not wait for the watch.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from leadline_api import names

from leadline_operator.kube import errors
from leadline_operator.kube.api import Api
from leadline_operator.kube.events import Recorder, Regarding
from leadline_operator.kube.resources import BY_KIND, MODEL_DEPLOYMENTS
from leadline_operator.loop.cache import Cache, Key, is_owned
from leadline_operator.reconcile.observed import Existing
from leadline_operator.reconcile.plan import Create, Delete, Event, Plan, Replace, Write
from leadline_operator.specs.metadata import Manifest

QUIET_AGAIN_SECONDS: Final = 15.0
"""An object that is never read is posted again after this long while pods are missing: it may have been deleted."""

WORDS_SECONDS: Final = 10.0
"""Between writes of a status in which only words differ: progress, and what a pod says while it tries again."""
NUMBERS_SECONDS: Final = 60.0
"""Between writes of a status in which only numbers about quality differ, unless there are twice the outcomes."""
_NUMBERS: Final = ("estimate", "interval", "outcomes", "pairs", "evidence", "reference", "detectable", "message")

log = logging.getLogger(__name__)


class Gone(Exception):  # noqa: N818 - what happened
    """The ModelDeployment, or its namespace, is on its way out: nothing is to be created."""


class Executor:
    """Carries out Plans, one at a time per key."""

    def __init__(self, api: Api, cache: Cache, recorder: Recorder, *, now: Callable[[], float]) -> None:
        self._api, self._cache, self._recorder, self._now = api, cache, recorder, now
        self._conflicts: dict[Key, dict[str, str]] = {}
        self._refusals: dict[Key, str] = {}
        self._posted: dict[tuple[Key, str, str], float] = {}
        self._accepted: dict[tuple[Key, str, str], tuple[str, str]] = {}
        self._told: dict[Key, float] = {}
        self._owed: dict[Key, float] = {}

    def conflicts(self, key: Key) -> tuple[str, ...]:
        """Return sentences on objects that have our names and are not ours."""
        return tuple(self._conflicts.get(key, {}).values())

    def refusal(self, key: Key) -> str:
        """Return a sentence on the write that the API server refuses; empty: it refused none at the last pass."""
        return self._refusals.get(key, "")

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a ModelDeployment that is gone."""
        for single in (self._conflicts, self._refusals, self._told, self._owed):
            single.pop(key, None)
        for memory in (self._posted, self._accepted):
            for entry in [each for each in memory if each[0] == key]:
                del memory[entry]

    async def execute(self, key: Key, observed: Existing, plan: Plan) -> bool:
        """Carry a Plan out; return whether anything was written.

        Raises:
            Gone: The ModelDeployment is on its way out.
            errors.ApiError: A write was refused or got no answer; what stands before it is done. Of one that was refused
                before, and that the Plan knows of, the status is written.
        """
        about = Regarding(key.namespace, key.name, observed.owner.uid)
        wrote, refused = self._drop_conflicts(key, plan), None
        try:
            wrote |= await self._write_all(key, observed, plan, about)
            self._refusals.pop(key, None)
        except (errors.Forbidden, errors.Invalid) as error:
            self._refusals[key] = f"The API server refuses: {error}"
            if observed.refusal != self._refusals[key]:
                raise
            refused = error
        if plan.status is not None and self._is_time_for(key, observed.status, plan.status):
            await self._write_status(observed, plan.status)
            self._told[key] = asyncio.get_running_loop().time()
            wrote = True
            await self._say(about, plan.status_events)
        if refused is not None:
            raise refused
        return wrote

    async def _write_all(self, key: Key, observed: Existing, plan: Plan, about: Regarding) -> bool:
        """Write objects in the Plan's order, and say the Events of decisions once their records are written."""
        said, wrote, checked = False, False, False
        for write in plan.writes:
            if not said and not _is_record(write):
                await self._say(about, plan.events)
                said = True
            if (
                isinstance(write, Create)
                and not checked
                and not (write.quiet and self._is_posted(key, write, observed))
            ):
                await self._check_parent(observed)
                checked = True
            wrote |= await self._write(key, observed, write)
        if not said:
            await self._say(about, plan.events)
        return wrote

    def _drop_conflicts(self, key: Key, plan: Plan) -> bool:
        """Forget namesakes of what is no longer to be created; return whether there were any."""
        wanted = {
            f"{each.manifest['kind']}/{each.manifest['metadata']['name']}"
            for each in plan.writes
            if isinstance(each, Create)
        }
        conflicts = self._conflicts.get(key, {})
        over = conflicts.keys() - wanted
        for name in over:
            del conflicts[name]
        return bool(over)

    def is_owed_a_status(self, key: Key) -> float | None:
        """Return the seconds until a status that was held back may be written; None: none was."""
        at = self._owed.pop(key, None)
        return None if at is None else at - asyncio.get_running_loop().time()

    def _is_time_for(self, key: Key, before: Manifest, after: Manifest) -> bool:
        """Tell whether a status is to be written now: at once where it says something new, else not too often."""
        if _substance(before) != _substance(after):
            return True
        pause = NUMBERS_SECONDS if _words(before) == _words(after) else WORDS_SECONDS
        at = self._told.get(key, -NUMBERS_SECONDS) + pause
        if asyncio.get_running_loop().time() < at:
            self._owed[key] = at
            return False
        return True

    async def _say(self, about: Regarding, events: tuple[Event, ...]) -> None:
        at = datetime.fromtimestamp(self._now(), UTC)
        for event in events:
            await self._recorder.post(about, type_=event.type, reason=event.reason, note=event.note, at=at)

    async def _check_parent(self, observed: Existing) -> None:
        """Look at the API server before creating: a child of an object that is gone would be an orphan."""
        owner = observed.owner
        try:
            live = await self._api.get(MODEL_DEPLOYMENTS, owner.namespace, owner.name)
        except errors.NotFound as error:
            raise Gone from error
        if live["metadata"]["uid"] != owner.uid or live["metadata"].get("deletionTimestamp"):
            raise Gone

    async def _write(self, key: Key, observed: Existing, write: Write) -> bool:
        if isinstance(write, Create):
            return await self._create(key, observed, write)
        if isinstance(write, Replace):
            return await self._replace(key, write)
        return await self._delete(key, write)

    def _is_posted(self, key: Key, write: Create, observed: Existing) -> bool:
        at = self._posted.get((key, write.manifest["kind"], write.manifest["metadata"]["name"]))
        if at is None:
            return False
        missing = any(not pod.ready for pod in observed.pods)
        return not missing or asyncio.get_running_loop().time() - at < QUIET_AGAIN_SECONDS

    async def _create(self, key: Key, observed: Existing, write: Create) -> bool:
        manifest = write.manifest
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if write.quiet and self._is_posted(key, write, observed):
            return False
        try:
            live = await self._api.create(BY_KIND[kind], key.namespace, manifest)
        except errors.AlreadyExists:
            if write.quiet:
                self._posted[key, kind, name] = asyncio.get_running_loop().time()
                return False
            await self._look_at_namesake(key, observed, kind, name)
            return False
        except errors.Forbidden as error:
            if "NamespaceTerminating" in error.causes:
                raise Gone from error
            raise
        self._conflicts.get(key, {}).pop(f"{kind}/{name}", None)
        log.info("created %s %s/%s", kind, key.namespace, name)
        if write.quiet:
            self._posted[key, kind, name] = asyncio.get_running_loop().time()
        else:
            self._cache.observe(kind, live)
        return True

    async def _look_at_namesake(self, key: Key, observed: Existing, kind: str, name: str) -> None:
        """Find out whether an object that exists already is ours; a stranger's is left alone."""
        try:
            live = await self._api.get(BY_KIND[kind], key.namespace, name)
        except errors.NotFound:
            return
        conflicts = self._conflicts.setdefault(key, {})
        if is_owned(live, observed.owner.uid):
            conflicts.pop(f"{kind}/{name}", None)
            live["metadata"].setdefault("labels", {})[names.DEPLOYMENT_LABEL] = key.name
            self._cache.observe(kind, live)
            return
        owners = [f"{each.get('kind')} {each.get('name')}" for each in live["metadata"].get("ownerReferences") or ()]
        belongs = f"belongs to {', '.join(owners)}" if owners else "is not ours"
        conflicts[f"{kind}/{name}"] = (
            f"{kind} {name} exists and {belongs}; rename the ModelDeployment or remove the {kind}"
        )

    async def _replace(self, key: Key, write: Replace) -> bool:
        manifest = write.manifest
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        known = self._cache.get(kind, Key(key.namespace, name))
        wanted = _digest(manifest.get("spec"))
        # The API server writes some values in its own way (a quantity of 0.1 as 100m): it took our spec before.
        taken = known is not None and self._accepted.get((key, kind, name)) == (wanted, _digest(known.get("spec")))
        if taken and kind != "ControllerRevision" and "metadata" not in write.why:
            return False
        try:
            live = await self._api.replace(BY_KIND[kind], key.namespace, manifest)
        except errors.NotFound:
            self._cache.observe(kind, manifest, deleted=True)  # the next pass creates it anew
            raise
        self._accepted[key, kind, name] = (wanted, _digest(live.get("spec")))
        log.info("replaced %s %s/%s: %s", kind, key.namespace, name, write.why)
        self._cache.observe(kind, live)
        return True

    async def _delete(self, key: Key, write: Delete) -> bool:
        try:
            live = await self._api.delete(
                BY_KIND[write.kind],
                key.namespace,
                write.name,
                uid=write.uid,
                resource_version=write.resource_version,
            )
        except errors.NotFound:
            known = self._cache.get(write.kind, Key(key.namespace, write.name))
            if known is not None and known["metadata"]["uid"] == write.uid:
                self._cache.observe(write.kind, known, deleted=True)
            return False
        except errors.Conflict:
            return False
        log.info("deleted %s %s/%s", write.kind, key.namespace, write.name)
        if live.get("kind") == write.kind and live["metadata"].get("deletionTimestamp"):
            self._cache.observe(write.kind, live)  # a pod drains first: it is not to be deleted again meanwhile
        return True

    async def _write_status(self, observed: Existing, status: Manifest) -> None:
        owner = observed.owner
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
            "status": status,
        }
        try:
            live = await self._api.apply_status(MODEL_DEPLOYMENTS, owner.namespace, body)
        except errors.NotFound as error:
            raise Gone from error
        self._cache.observe(names.KIND, live)


def _is_record(write: Write) -> bool:
    return not isinstance(write, Delete) and write.manifest["kind"] == "ControllerRevision"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _words(status: Manifest) -> Manifest:
    """Return a status without its numbers about quality."""
    quality = [{key: told for key, told in each.items() if key not in _NUMBERS} for each in status.get("quality") or ()]
    verdict = (status.get("summary") or {}).get("verdict")
    return {**status, "quality": quality, "summary": {"verdict": verdict}}


def _substance(status: Manifest) -> Manifest:
    """Return a status without its messages and numbers about quality."""
    words = _words(status)
    counts = [
        (each.get(name) or 0).bit_length() for each in status.get("quality") or () for name in ("outcomes", "pairs")
    ]
    return {
        **words,
        "counts": counts,
        "conditions": [{**each, "message": ""} for each in words.get("conditions") or ()],
    }

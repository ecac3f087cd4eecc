"""Where events come from: kopf's watches, and lists of our own at start and now and then.

kopf swallows the end-of-list mark and never makes a DELETED event of what was deleted while a watch was down: the
sweeper's lists do. Handlers only take note and queue; they return nothing, for kopf would write that into the status.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Collection, Iterator, MutableMapping
from typing import Any, Final

import kopf
from leadline_api import names

from leadline_operator.kube import errors
from leadline_operator.kube.api import Api
from leadline_operator.kube.resources import MODEL_DEPLOYMENTS, WATCHED, Resource
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.loop.queueing import Queue

SELECTOR: Final = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
SWEEP_SECONDS: Final = 420.0

log = logging.getLogger(__name__)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing: we compare levels, not edges, and write nothing onto users' objects."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return


class _NoProgress(kopf.ProgressStorage):
    """Stores nothing: the queue retries."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return

    def purge(self, **_: Any) -> None:
        return

    def touch(self, **_: Any) -> None:
        return

    def clear(self, *, essence: Any) -> Any:
        return essence


class _Forever(Collection[float]):
    """Pauses between tries of kopf's requests: without an end, or the process would."""

    def __len__(self) -> int:
        return 1 << 30

    def __contains__(self, _: object) -> bool:
        return False

    def __iter__(self) -> Iterator[float]:
        for number in itertools.count():
            yield min(30.0, 0.5 * 2.0 ** min(number, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it hosts and watches, and writes nothing."""
    result = kopf.OperatorSettings()
    result.persistence.diffbase_storage = _NoDiffBase()
    result.persistence.progress_storage = _NoProgress()
    result.posting.enabled = False
    result.peering.standalone = True
    result.scanning.disabled = True
    for resource in WATCHED:
        if resource is not MODEL_DEPLOYMENTS:
            result.watching.label_selectors[resource.group, resource.version, resource.plural] = SELECTOR
    result.watching.chunk_size = 500
    result.watching.server_timeout = 600
    result.watching.connect_timeout = 10
    result.networking.request_timeout = 30
    result.networking.error_backoffs = _Forever()
    result.queueing.worker_limit = None
    result.process.ultimate_exiting_timeout = 25
    return result


def registry(cache: Cache, queue: Queue, *, seen: Callable[[], None]) -> kopf.OperatorRegistry:
    """Return kopf's handlers: each notes an object and queues its key.

    Args:
        cache: Where objects are noted.
        queue: Where keys are queued.
        seen: Called for each event, for the health endpoint.
    """
    result = kopf.OperatorRegistry()

    @kopf.on.login(registry=result)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    for resource in WATCHED:

        def note(event: MutableMapping[str, Any], resource: Resource = resource, **_: Any) -> None:
            seen()
            live = dict(event["object"])
            live["metadata"] = dict(live["metadata"])
            live.setdefault("apiVersion", resource.api_version)
            live.setdefault("kind", resource.kind)
            key = cache.observe(resource.kind, live, deleted=event["type"] == "DELETED")
            if key is not None:
                queue.add(key)

        async def handler(event: Any, note: Callable[[Any], None] = note, **_: Any) -> None:
            note(event)

        kopf.on.event(resource.group, resource.version, resource.plural, registry=result, id="note")(handler)
    return result


async def sweep(api: Api, cache: Cache, queue: Queue) -> int:
    """List every kind, put right what events missed, and queue it; return how many keys that were."""
    missed: set[Key] = set()
    for resource in WATCHED:
        selector = "" if resource is MODEL_DEPLOYMENTS else SELECTOR
        lives, version = await api.list_all(resource, selector=selector)
        missed |= cache.replace_all(resource.kind, lives, version)
    for key in missed:
        queue.add(key)
    return len(missed)


async def keep_sweeping(api: Api, cache: Cache, queue: Queue) -> None:
    """Sweep now and then, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        try:
            missed = await sweep(api, cache, queue)
        except errors.ApiError as error:
            log.warning("sweep: %s", error)
            continue
        if missed:
            log.info("sweep found %d ModelDeployments that events had missed", missed)

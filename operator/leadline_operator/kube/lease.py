"""Who may act: the operator's Lease, and the epoch that goes with it.

The epoch is the Lease's `leaseTransitions`, raised once whenever this process becomes the leader; pods refuse an older
one. Expiry is measured by our own monotonic clock from the moment a change was seen, never by comparing wall clocks.
`now` gives wall time for the Lease's fields only, which are for people.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final

from leadline_operator.kube import errors
from leadline_operator.kube.api import Api
from leadline_operator.kube.resources import LEASES
from leadline_operator.specs.metadata import Manifest

LEASE_NAME: Final = "leadline-operator"
DURATION_SECONDS: Final = 15
RENEW_DEADLINE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
ATTEMPT_SECONDS: Final = 5.0
"""Of one renewal: two fit into the deadline."""

log = logging.getLogger(__name__)


class Lost(Exception):  # noqa: N818 - it is what happened, not an error of ours
    """The Lease could not be renewed in time, or somebody else holds it."""


class Elector:
    """Acquires, renews and releases one Lease.

    Args:
        api: The door to the API server.
        namespace: Of the Lease.
        name: Of the Lease.
        pod: Name of our pod. A Lease held by an earlier process of the same pod is taken over at once: a container
            that restarts follows on a container that has ended.
        identity: Unique for this process; starts with the pod's name.
        now: Returns the wall clock's time, aware.
    """

    def __init__(
        self, api: Api, *, namespace: str, name: str, pod: str, identity: str, now: Callable[[], datetime]
    ) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._pod, self._identity, self._now = pod, identity, now
        self._lease: Manifest | None = None
        self._least_epoch = 0
        self.epoch = 0
        """Valid once `acquire` has returned."""

    async def acquire(self) -> None:
        """Return when this process holds the Lease."""
        loop = asyncio.get_running_loop()
        seen, since = "", loop.time()
        while True:
            with contextlib.suppress(errors.Unreachable, errors.Busy, errors.Conflict, errors.AlreadyExists):
                lease = await self._read()
                version = lease["metadata"]["resourceVersion"] if lease else ""
                if version != seen:
                    seen, since = version, loop.time()
                holder = ((lease or {}).get("spec") or {}).get("holderIdentity") or ""
                if self._is_free(holder) or loop.time() - since > DURATION_SECONDS:
                    await self._write(lease, taking=True)
                    log.info("lease acquired, epoch=%d, identity=%s", self.epoch, self._identity)
                    return
                log.info("lease is held by %s; waiting until it is released or expires", holder)
            await asyncio.sleep(RETRY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            Lost: Whoever called must stop acting at once.
        """
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RETRY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            # Others count from when the API server took it, which may be long before its answer is here.
            began = loop.time()
            left = max(0.0, renewed + RENEW_DEADLINE_SECONDS - began)
            try:
                async with asyncio.timeout(min(ATTEMPT_SECONDS, left)):
                    await self._renew()
                renewed = began
            except (errors.ApiError, TimeoutError) as error:
                log.warning("lease not renewed: %s", error or "no answer in time")
            if loop.time() - renewed >= RENEW_DEADLINE_SECONDS:
                raise Lost(f"lease {self._namespace}/{self._name} not renewed for {RENEW_DEADLINE_SECONDS:.0f} s")

    async def _renew(self) -> None:
        try:
            await self._write(self._lease, taking=False)
        except errors.NotFound:
            await self._write(None, taking=False)
        except errors.Conflict as error:
            lease = await self._read()
            if ((lease or {}).get("spec") or {}).get("holderIdentity") != self._identity:
                raise Lost(f"lease {self._namespace}/{self._name} has another holder") from error
            await self._write(lease, taking=False)

    async def release(self) -> None:
        """Give the Lease back, so that a successor need not wait; best effort."""
        if self._lease is None:
            return
        lease = {**self._lease, "spec": {**self._lease["spec"], "holderIdentity": ""}}
        with contextlib.suppress(errors.ApiError):
            await self._api.replace(LEASES, self._namespace, lease)

    def outrun(self, epoch: int) -> None:
        """Raise our epoch above one that a pod has seen: the Lease was deleted and counts from the start again.

        It holds once the Lease is renewed with it: the other one may be our successor, and then that fails.
        """
        self._least_epoch = max(self._least_epoch, epoch + 1)

    def _is_free(self, holder: str) -> bool:
        return not holder or holder == self._identity or holder.rpartition("_")[0] == self._pod

    async def _read(self) -> Manifest | None:
        try:
            return await self._api.get(LEASES, self._namespace, self._name)
        except errors.NotFound:
            return None

    async def _write(self, lease: Manifest | None, *, taking: bool) -> None:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = dict((lease or {}).get("spec") or {})
        transitions = max(int(old.get("leaseTransitions") or 0) + (1 if taking else 0), self._least_epoch, self.epoch)
        spec = old | {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "leaseTransitions": transitions,
            "renewTime": now,
        }
        if taking or "acquireTime" not in spec:
            spec["acquireTime"] = now
        body: Manifest = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "spec": spec}
        if lease is None:
            body["metadata"] = {"name": self._name, "namespace": self._namespace}
            self._lease = await self._api.create(LEASES, self._namespace, body)
        else:
            body["metadata"] = lease["metadata"]
            self._lease = await self._api.replace(LEASES, self._namespace, body)
        self.epoch = transitions

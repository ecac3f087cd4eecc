"""Post Events: what kubectl describe shows of a ModelDeployment's life.

Called for transitions only, so there is no rate limit; an Event that cannot be posted is logged, for nothing depends on it.
"""

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from leadline_api import names

from leadline_operator.kube import errors
from leadline_operator.kube.api import Api
from leadline_operator.kube.resources import EVENTS
from leadline_operator.specs.metadata import Manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Regarding:
    """The ModelDeployment that an Event is about."""

    namespace: str
    name: str
    uid: str


class Recorder:
    """Posts Events in the name of this operator process."""

    def __init__(self, api: Api, *, instance: str) -> None:
        self._api, self._instance = api, instance

    async def post(
        self, about: Regarding, *, type_: Literal["Normal", "Warning"], reason: str, note: str, at: datetime
    ) -> None:
        """Post one Event; the same one twice at one time is one Event."""
        log.info("%s/%s: %s: %s", about.namespace, about.name, reason, note)
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        key = hashlib.sha256(f"{about.uid} {reason} {note} {stamp}".encode()).hexdigest()[:16]
        body: Manifest = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{about.name}.{key}", "namespace": about.namespace},
            "eventTime": stamp,
            "reportingController": "leadline.dev/operator",
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "type": type_,
            "reason": reason,
            "note": note[:1024],
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
        }
        try:
            await self._api.create(EVENTS, about.namespace, body)
        except errors.AlreadyExists:
            pass
        except errors.ApiError as error:
            log.warning("event not posted: %s", error)

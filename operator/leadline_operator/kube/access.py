"""Ask the API server at start what we may do: kopf would answer a 403 by trying for ever.

What stands here is all that the operator does; `charts/leadline/templates/rbac.yaml` grants the same and nothing else.
"""

from dataclasses import dataclass
from typing import Any, Final

from leadline_operator.kube.api import Api
from leadline_operator.kube.lease import LEASE_NAME
from leadline_operator.kube.resources import (
    ACCESS_REVIEWS,
    AUTOSCALERS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    EVENTS,
    JOBS,
    LEASES,
    MODEL_DEPLOYMENTS,
    PODS,
    REVISIONS,
    SECRETS,
    SERVICES,
    Resource,
)

_WATCHED: Final = ("list", "watch")
_WRITTEN: Final = ("get", *_WATCHED, "create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Permission:
    """Verbs on a kind of objects."""

    resource: Resource
    verbs: tuple[str, ...]
    subresource: str = ""
    name: str = ""
    """The only object that is meant; empty: all."""
    own_namespace: bool = False
    """In the operator's namespace only, else in all."""


NEEDED: Final = (
    Permission(MODEL_DEPLOYMENTS, ("get", *_WATCHED)),
    Permission(MODEL_DEPLOYMENTS, ("patch",), subresource="status"),
    # To make a ModelDeployment the blocking owner of its children.
    Permission(MODEL_DEPLOYMENTS, ("update",), subresource="finalizers"),
    Permission(REVISIONS, _WRITTEN),
    Permission(DEPLOYMENTS, _WRITTEN),
    Permission(SERVICES, _WRITTEN),
    Permission(AUTOSCALERS, _WRITTEN),
    Permission(DISRUPTION_BUDGETS, _WRITTEN),
    Permission(PODS, (*_WATCHED, "delete")),
    Permission(JOBS, ("get", *_WATCHED, "create", "delete")),
    Permission(SECRETS, ("create",)),
    Permission(CONFIG_MAPS, ("create",)),
    Permission(EVENTS, ("create",)),
    Permission(LEASES, ("create",), own_namespace=True),
    Permission(LEASES, ("get", "update"), name=LEASE_NAME, own_namespace=True),
)


async def missing_permissions(api: Api, *, namespace: str) -> list[str]:
    """Return what we need and may not do, as `verb resource`.

    Args:
        api: The door to the API server.
        namespace: The operator's own.
    """
    missing = []
    for needed in NEEDED:
        resource = needed.resource
        for verb in needed.verbs:
            attributes: dict[str, Any] = {"group": resource.group, "resource": resource.plural, "verb": verb}
            said = f"{verb} {resource.plural}"
            if needed.subresource:
                attributes["subresource"] = needed.subresource
                said += f"/{needed.subresource}"
            if needed.name:
                attributes["name"] = needed.name
                said += f" {needed.name}"
            if needed.own_namespace:
                attributes["namespace"] = namespace
                said += f" in namespace {namespace}"
            body = {
                "apiVersion": ACCESS_REVIEWS.api_version,
                "kind": ACCESS_REVIEWS.kind,
                "spec": {"resourceAttributes": attributes},
            }
            answer = await api.create(ACCESS_REVIEWS, None, body)
            if not (answer.get("status") or {}).get("allowed"):
                missing.append(said)
    return missing

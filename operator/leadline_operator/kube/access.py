"""Ask the API server at start what we may do: kopf would answer a 403 by trying for ever."""

from typing import Final

from leadline_operator.kube.api import Api
from leadline_operator.kube.resources import (
    ACCESS_REVIEWS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    MODEL_DEPLOYMENTS,
    PODS,
    REVISIONS,
    SECRETS,
    SERVICES,
)

_WRITTEN = ("get", "list", "watch", "create", "update", "delete")
NEEDED: Final = (
    (MODEL_DEPLOYMENTS, "", ("get", "list", "watch")),
    (MODEL_DEPLOYMENTS, "status", ("patch",)),
    (REVISIONS, "", _WRITTEN),
    (DEPLOYMENTS, "", _WRITTEN),
    (SERVICES, "", _WRITTEN),
    (PODS, "", ("get", "list", "watch")),
    (SECRETS, "", ("create",)),
    (CONFIG_MAPS, "", ("create",)),
)


async def missing_permissions(api: Api) -> list[str]:
    """Return what we need and may not do, as `verb resource`."""
    missing = []
    for resource, subresource, verbs in NEEDED:
        for verb in verbs:
            attributes = {"group": resource.group, "resource": resource.plural, "verb": verb}
            if subresource:
                attributes["subresource"] = subresource
            body = {
                "apiVersion": ACCESS_REVIEWS.api_version,
                "kind": ACCESS_REVIEWS.kind,
                "spec": {"resourceAttributes": attributes},
            }
            answer = await api.create(ACCESS_REVIEWS, None, body)
            if not (answer.get("status") or {}).get("allowed"):
                missing.append(f"{verb} {resource.plural}{'/' + subresource if subresource else ''}")
    return missing

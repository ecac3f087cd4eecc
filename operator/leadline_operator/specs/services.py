"""The Services of a ModelDeployment: the one that users call, and one per revision."""

from typing import Any, Final

from leadline_api import names

from leadline_operator.specs.metadata import Manifest, Owner, child

NO_REVISION: Final = "none"
"""Selector value of the stable Service before the first revision serves: no pod carries it."""


def stable_service(owner: Owner, *, serving: str) -> Manifest:
    """Return the Service behind the model's URL; its selector is the switch."""
    return _service(owner, owner.name, None, selected=serving or NO_REVISION, target="http")


def revision_service(owner: Owner, revision: str) -> Manifest:
    """Return the Service that always reaches this revision's own model; copies and forwards go there."""
    return _service(owner, revision, revision, selected=revision, target="own")


def selected_revision(service: Manifest) -> str:
    """Return the revision that a stable Service selects; empty for none."""
    selected: str = ((service.get("spec") or {}).get("selector") or {}).get(names.REVISION_LABEL, "")
    return "" if selected == NO_REVISION else selected


def _service(owner: Owner, name: str, revision: str | None, *, selected: str, target: str) -> Manifest:
    spec: dict[str, Any] = {
        "type": "ClusterIP",
        "selector": {names.DEPLOYMENT_LABEL: owner.name, names.REVISION_LABEL: selected},
        "ports": [
            {"name": "http", "port": names.SERVICE_PORT, "protocol": "TCP", "targetPort": target, "appProtocol": "http"}
        ],
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": child(owner, name, revision), "spec": spec}

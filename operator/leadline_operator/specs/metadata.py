"""Metadata of every child, made in one place from an allow-list.

The user's labels are not copied: Argo CD and Helm would take the children for their own by them.
"""

from dataclasses import dataclass
from typing import Any, Final

from leadline_api import names

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON data; not changed after it was built."""

RUNTIME_NAME: Final = "leadline-runtime"


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that a child belongs to."""

    namespace: str
    name: str
    uid: str

    @property
    def url(self) -> str:
        """The model's URL inside the cluster."""
        return f"http://{self.name}.{self.namespace}.svc"


def labels(owner: Owner, revision: str | None = None) -> dict[str, str]:
    """Return the labels of a child, and of the pods of a revision."""
    result = {
        "app.kubernetes.io/name": RUNTIME_NAME,
        "app.kubernetes.io/instance": owner.name,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.DEPLOYMENT_LABEL: owner.name,
    }
    if revision:
        result[names.REVISION_LABEL] = revision
    return result


def owner_reference(owner: Owner) -> dict[str, Any]:
    """Return the reference by which the garbage collector finds a child."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(owner: Owner, name: str, revision: str | None = None) -> dict[str, Any]:
    """Return the metadata of a child."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": labels(owner, revision),
        "ownerReferences": [owner_reference(owner)],
    }

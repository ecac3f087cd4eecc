"""The Deployment of a revision."""

from leadline_api import names

from leadline_operator.specs.metadata import Manifest, Owner, child


def deployment(owner: Owner, revision: str, *, template: Manifest, replicas: int) -> Manifest:
    """Return the Deployment that runs a revision's pods; every default is written out (see `pods`)."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child(owner, revision, revision),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 1,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: owner.name, names.REVISION_LABEL: revision}},
            # A new pod is ready before an old one ends: changed resources interrupt nothing.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        },
    }

"""The PodDisruptionBudget of a revision that answers, or that has to be ready to."""

from leadline_api import names

from leadline_operator.specs.metadata import Manifest, Owner, child


def disruption_budget(owner: Owner, revision: str) -> Manifest:
    """Return the budget by which node drains take a revision's pods one at a time.

    It is the same for any number of pods. A single one may be evicted as well: a budget that forbids it would hold up
    the drain for ever, and no second pod comes by itself. Pods that are not ready answer nothing, so they never block.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child(owner, revision, revision),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": {names.DEPLOYMENT_LABEL: owner.name, names.REVISION_LABEL: revision}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }

"""What a ModelDeployment and its revisions say, read from their JSON as the API server gives it.

Pure: the acts wait until one of these holds.
"""

import json
from typing import Any

from examples.demo.commands import DemoError

Object = dict[str, Any]
"""A Kubernetes object."""


def condition(each: Object, kind: str) -> Object:
    """Return a condition of a ModelDeployment; an empty one where it is not there."""
    conditions = (each.get("status") or {}).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == kind), {})


def is_true(each: Object, kind: str) -> bool:
    """Tell whether a condition is True."""
    return condition(each, kind).get("status") == "True"


def is_seen(each: Object, generation: int) -> bool:
    """Tell whether the status is about this generation of the spec, or a newer one."""
    return bool((each.get("status") or {}).get("observedGeneration", -1) >= generation)


def serves(each: Object, revision: str) -> bool:
    """Tell whether a revision serves, is ready to, and nothing is under way."""
    serving = (each.get("status") or {}).get("servingRevision")
    return serving == revision and is_true(each, "Ready") and condition(each, "Reconciling").get("status") == "False"


def summary(each: Object) -> str:
    """Say in one line what a ModelDeployment's status says."""
    status = each.get("status") or {}
    conditions = ", ".join(f"{c['type']}={c['status']} ({c['reason']})" for c in status.get("conditions") or ())
    message = (status.get("summary") or {}).get("message") or ""
    return f"generation {status.get('observedGeneration', -1)}, {conditions or 'no conditions'}: {message}"


def desired(each: Object) -> str:
    """Return the revision that the spec asks for."""
    return str((each.get("status") or {}).get("desiredRevision") or "")


def is_refused(each: Object, generation: int, *reasons: str) -> bool:
    """Tell whether what was applied is rejected for one of some reasons, and all is at rest."""
    stalled = condition(each, "Stalled")
    rests = condition(each, "Reconciling").get("status") == "False" and is_true(each, "Ready")
    return (
        is_seen(each, generation)
        and stalled.get("status") == "True"
        and (not reasons or stalled.get("reason") in reasons)
        and rests
    )


def decided_at(revision: Object) -> float:
    """Return when the newest finding against a revision was made, in seconds since the epoch.

    Raises:
        DemoError: There is none.
    """
    text = (revision["metadata"].get("annotations") or {}).get("leadline.dev/record", "{}")
    rejections = json.loads(text).get("rejections")
    if not rejections:
        raise DemoError(f"{revision['metadata']['name']}: expected a finding in the annotation leadline.dev/record")
    return float(rejections[-1]["at"])

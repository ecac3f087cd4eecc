"""What `spec.runtime.podTemplate` makes of a pod template, key by key; what is not said stays as it was.

Nothing that the API server would fill in is left out (see `pods`): the old name of serviceAccountName is written, too.
"""

from typing import Any, Final

from leadline_api import names
from leadline_api.pod_template import LEAST_GRACE_SECONDS, PodTemplate
from leadline_api.volumes import Volume, VolumeMount

from leadline_operator.specs.metadata import Manifest

_PREFIX: Final = "user-"
"""Before the name of a volume, so that ours, of now and of later, have other names."""
_BESIDE_DRAINING_SECONDS: Final = 15
"""Of the grace period: preStop (5 s), the supervisor's own end, and some to spare."""


def merged(template: Manifest, asked: PodTemplate, *, container: str) -> Manifest:
    """Return a pod template with what a user asks of each pod.

    Args:
        template: With the labels of a revision.
        asked: What is laid over it.
        container: The one that gets the environment.
    """
    metadata = {**template["metadata"], "labels": {**asked.labels, **template["metadata"]["labels"]}}
    if asked.annotations:
        metadata["annotations"] = {**asked.annotations, **(metadata.get("annotations") or {})}
    pod = template["spec"]
    containers = [_given(each, asked) if each["name"] == container else each for each in pod["containers"]]
    placed = _placed(asked, template["metadata"]["labels"])
    volumes = [*pod["volumes"], *map(volume_of, asked.volumes)]
    return {**template, "metadata": metadata, "spec": {**pod, "containers": containers, "volumes": volumes, **placed}}


def _given(container: Manifest, asked: PodTemplate) -> Manifest:
    return {
        **container,
        "env": [*container["env"], *_environment(asked)],
        "volumeMounts": [*container["volumeMounts"], *map(mount_of, asked.volume_mounts)],
    }


def _placed(asked: PodTemplate, labels: dict[str, str]) -> dict[str, Any]:
    """Return fields of a pod's spec."""
    result: dict[str, Any] = {"terminationGracePeriodSeconds": asked.termination_grace_period_seconds}
    if asked.node_selector:
        result["nodeSelector"] = dict(asked.node_selector)
    if asked.tolerations:
        result["tolerations"] = [_plain(each) for each in asked.tolerations]
    if asked.affinity is not None:
        result["affinity"] = _plain(asked.affinity)
    if asked.topology_spread_constraints:
        mine = {name: labels[name] for name in (names.DEPLOYMENT_LABEL, names.REVISION_LABEL)}
        result["topologySpreadConstraints"] = [
            {**_plain(each), "labelSelector": {"matchLabels": mine}} for each in asked.topology_spread_constraints
        ]
    if asked.priority_class_name is not None:
        result["priorityClassName"] = asked.priority_class_name
    if asked.service_account_name is not None:
        result["serviceAccountName"] = result["serviceAccount"] = asked.service_account_name
    if asked.image_pull_secrets:
        result["imagePullSecrets"] = [_plain(each) for each in asked.image_pull_secrets]
    if asked.runtime_class_name is not None:
        result["runtimeClassName"] = asked.runtime_class_name
    return result


def _environment(asked: PodTemplate) -> list[dict[str, Any]]:
    result = [_plain(each) for each in asked.env]
    if asked.termination_grace_period_seconds != LEAST_GRACE_SECONDS:
        draining = asked.termination_grace_period_seconds - _BESIDE_DRAINING_SECONDS
        result.append({"name": "LEADLINE_DRAIN_SECONDS", "value": str(draining)})
    return result


def volume_of(volume: Volume) -> dict[str, Any]:
    """Return a volume of a pod."""
    found = _plain(volume) | {"name": f"{_PREFIX}{volume.name}"}
    for kind in ("configMap", "secret"):
        if kind in found:
            found[kind]["defaultMode"] = 0o440
    claim = found.get("persistentVolumeClaim", {})
    if not claim.get("readOnly"):
        claim.pop("readOnly", None)  # as the API server does
    size = found.get("emptyDir", {}).get("sizeLimit")
    if size is not None:
        found["emptyDir"]["sizeLimit"] = str(size)
    return found


def mount_of(mount: VolumeMount) -> dict[str, Any]:
    """Return where a volume is in a container."""
    found = _plain(mount) | {"name": f"{_PREFIX}{mount.name}"}
    if not mount.read_only:
        del found["readOnly"]
    return found


def _plain(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = part.model_dump(by_alias=True, exclude_none=True)
    return found

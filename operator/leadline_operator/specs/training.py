"""The Job of a training run: the user's container, with where to read outcomes and from what it is trained.

It is created once and never changed, so that, unlike of a Deployment, nothing that the API server fills in is written out.
A Job makes one pod and one try: pauses between tries, and what is trained when one fails, are decided in `reconcile`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from leadline_api import names, quantities
from leadline_api.retraining import JobTemplate, Retrain
from leadline_wire import ledger

from leadline_operator.specs import pod_templates
from leadline_operator.specs.metadata import Manifest, Owner, owner_reference
from leadline_operator.specs.pods import TOKEN_SECONDS

CONTAINER: Final = "train"
NAME: Final = "leadline-retrain"
MESSAGE_PATH: Final = "/dev/termination-log"
_TEMPORARY: Final = "/tmp"  # noqa: S108 - a mount of its own


def job(
    owner: Owner,
    *,
    run: str,
    facts: Mapping[str, str],
    retrain: Retrain,
    ledger_url: str,
    serving: Mapping[str, str],
) -> Manifest:
    """Return the Job of a training run.

    Args:
        owner: The ModelDeployment.
        run: The run's id.
        facts: Why it was started and from what: what must be known of it when the operator is started anew.
        retrain: As the spec has it.
        ledger_url: Where outcomes are read.
        serving: `revision`, `uri` and `digest` of what serves.
    """
    labels = {
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/instance": owner.name,
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.DEPLOYMENT_LABEL: owner.name,
        names.RETRAIN_LABEL: run,
    }
    asked = retrain.job_template
    metadata: dict[str, Any] = {"labels": {**asked.labels, **labels}}
    if asked.annotations:
        metadata["annotations"] = dict(asked.annotations)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.training_job_name(owner.name, run),
            "namespace": owner.namespace,
            "labels": labels,
            "annotations": {names.RETRAIN_ANNOTATION: json.dumps(dict(facts), sort_keys=True)},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "activeDeadlineSeconds": round(quantities.seconds(retrain.deadline)),
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            # A pod that is on its way out still reads and writes: its successor would be a second trainer.
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": metadata,
                "spec": _pod(asked, environment(owner, run, facts, ledger_url=ledger_url, serving=serving)),
            },
        },
    }


def environment(
    owner: Owner, run: str, facts: Mapping[str, str], *, ledger_url: str, serving: Mapping[str, str]
) -> dict[str, str]:
    """Return Leadline's variables of the training container."""
    export = f"{ledger_url}/v1/namespaces/{owner.namespace}/models/{owner.name}/outcomes"
    return {
        # What is tested with later is not to be trained with: without a word of the user's, it is left out.
        "LEADLINE_OUTCOMES_URL": f"{export}?split=train",
        "LEADLINE_LEDGER_TOKEN_FILE": f"{names.LEDGER_TOKEN_DIR}/token",
        "LEADLINE_MODEL_NAME": owner.name,
        "LEADLINE_NAMESPACE": owner.namespace,
        "LEADLINE_SERVING_REVISION": serving["revision"],
        "LEADLINE_SERVING_MODEL_URI": serving["uri"],
        "LEADLINE_SERVING_MODEL_DIGEST": serving["digest"],
        "LEADLINE_RETRAIN_ID": run,
        "LEADLINE_RETRAIN_REASON": facts["because"],
        "LEADLINE_RETRAIN_TRIGGER": facts["trigger"].partition("/")[0],
        "LEADLINE_RETRAIN_ATTEMPT": facts["attempt"],
    }


def _pod(asked: JobTemplate, ours: Mapping[str, str]) -> Manifest:
    token = {"audience": ledger.AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    given = [_plain(each) for each in asked.env]
    named = {each["name"] for each in given}
    home = [] if "HOME" in named else [{"name": "HOME", "value": _TEMPORARY}]
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": asked.image,
        "env": [*({"name": name, "value": value} for name, value in ours.items()), *home, *given],
        "resources": _amounts(asked),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": asked.read_only_root_filesystem,
        },
        "terminationMessagePath": MESSAGE_PATH,
        # Where it ends with an error and without a word, the end of its log says why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "ledger", "mountPath": names.LEDGER_TOKEN_DIR, "readOnly": True},
            {"name": "temporary", "mountPath": _TEMPORARY},
            *map(pod_templates.mount_of, asked.volume_mounts),
        ],
    }
    for name, value in (("command", asked.command), ("args", asked.args)):
        if value:
            container[name] = list(value)
    if asked.env_from:
        container["envFrom"] = [_plain(each) for each in asked.env_from]
    user = asked.run_as_user
    pod: dict[str, Any] = {
        "automountServiceAccountToken": asked.automount_service_account_token,
        "containers": [container],
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "ledger", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}},
            {"name": "temporary", "emptyDir": {}},
            *map(pod_templates.volume_of, asked.volumes),
        ],
    }
    return pod | _placed(asked)


def _placed(asked: JobTemplate) -> dict[str, Any]:
    found: dict[str, Any] = {
        "serviceAccountName": asked.service_account_name,
        "nodeSelector": dict(asked.node_selector),
        "tolerations": [_plain(each) for each in asked.tolerations],
        "priorityClassName": asked.priority_class_name,
        "imagePullSecrets": [_plain(each) for each in asked.image_pull_secrets],
        "runtimeClassName": asked.runtime_class_name,
    }
    return {name: value for name, value in found.items() if value}


def _amounts(asked: JobTemplate) -> dict[str, Any]:
    amounts = {"requests": asked.resources.requests, "limits": asked.resources.limits}
    return {kind: {name: str(each) for name, each in named.items()} for kind, named in amounts.items() if named}


def _plain(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = part.model_dump(by_alias=True, exclude_none=True)
    return found

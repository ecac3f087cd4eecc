"""The pod template of a revision: the part that is frozen, and what is laid over it.

Every field that the API server would fill in is written out, so that a live object can be compared by equality: a
field or a container that somebody adds by hand is a difference like any other.
"""

from typing import Any, Final

from leadline_api import names, quantities, uris
from leadline_api.pod_template import LEAST_GRACE_SECONDS
from leadline_api.spec import Model, ModelDeploymentSpec
from leadline_wire import ledger

from leadline_operator.specs import pod_templates
from leadline_operator.specs.metadata import Manifest, Owner, labels

CONTAINER: Final = "runtime"
USER: Final = 65532
TOKEN_SECONDS: Final = 3600
"""Life of the token by which a pod speaks to the ledger; the kubelet exchanges it."""
_KEY_FILE: Final = "key.pub"


def frozen_template(
    owner: Owner, revision: str, *, spec: ModelDeploymentSpec, image: str, ledger_url: str = ""
) -> Manifest:
    """Return the pod template that is stored in the ControllerRevision and never changes."""
    environment: list[dict[str, Any]] = [
        {"name": "LEADLINE_MODEL_NAME", "value": owner.name},
        {"name": "LEADLINE_REVISION", "value": revision},
        {"name": "LEADLINE_MODEL_URI", "value": spec.model.uri},
    ]
    if spec.model.digest:
        environment.append({"name": "LEADLINE_MODEL_DIGEST", "value": spec.model.digest})
    environment += [
        _from_field("LEADLINE_POD_UID", "metadata.uid"),
        _from_field("LEADLINE_NAMESPACE", "metadata.namespace"),
    ]
    environment.append({"name": "TMPDIR", "value": names.MODEL_DIR})
    if ledger_url:
        environment.append({"name": "LEADLINE_LEDGER_URL", "value": ledger_url})
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["leadline-runtime"],
        "env": environment,
        "ports": [
            {"name": "http", "containerPort": names.PUBLIC_PORT, "protocol": "TCP"},
            {"name": "admin", "containerPort": names.ADMIN_PORT, "protocol": "TCP"},
            {"name": "own", "containerPort": names.OWN_PORT, "protocol": "TCP"},
        ],
        "startupProbe": _probe("/healthz", period_seconds=1, failures=60),
        "livenessProbe": _probe("/healthz", period_seconds=10, failures=6),
        "readinessProbe": _probe("/readyz", period_seconds=1, failures=3),
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "keys", "mountPath": names.KEYS_DIR, "readOnly": True},
            {"name": "revision", "mountPath": names.REVISION_DIR, "readOnly": True},
            {"name": "data", "mountPath": names.MODEL_DIR},
        ],
    }
    volumes: list[dict[str, Any]] = [
        {"name": "keys", "secret": {"secretName": names.keys_secret_name(owner.name), "defaultMode": 0o440}},
        {"name": "revision", "configMap": {"name": revision, "defaultMode": 0o440, "optional": True}},
        {"name": "data", "emptyDir": {}},
    ]
    if ledger_url:
        container["volumeMounts"].append({"name": "ledger", "mountPath": names.LEDGER_TOKEN_DIR, "readOnly": True})
        token = {"audience": ledger.AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
        volumes.append(
            {"name": "ledger", "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o440}}
        )
    for volume, mount in _of_model(spec.model):
        volumes.append(volume)
        container["volumeMounts"].append({"name": volume["name"], "mountPath": mount, "readOnly": True})
    if spec.model.signature is not None:
        environment.append({"name": "LEADLINE_SIGNATURE_KEY_FILE", "value": f"{names.SIGNATURE_DIR}/{_KEY_FILE}"})
    if spec.runtime.execution_providers:
        providers = ",".join(spec.runtime.execution_providers)
        environment.append({"name": "LEADLINE_EXECUTION_PROVIDERS", "value": providers})
    return {
        "metadata": {"labels": labels(owner, revision)},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [container],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": False,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": LEAST_GRACE_SECONDS,
            "volumes": volumes,
        },
    }


def _of_model(model: Model) -> list[tuple[dict[str, Any], str]]:
    """Return the volumes that a model needs, and where each is mounted: its claim, and the key of its signature."""
    found: list[tuple[dict[str, Any], str]] = []
    if claim := uris.claim_of(model.uri):
        volume = {"claimName": claim, "readOnly": True}
        found.append(({"name": "claim", "persistentVolumeClaim": volume}, f"{names.CLAIMS_DIR}/{claim}"))
    if model.signature is not None:
        key = model.signature.public_key
        items = {"items": [{"key": key.key, "path": _KEY_FILE}], "defaultMode": 0o440}
        kind = {"secret": {"secretName": key.secret_name, **items}}
        if key.config_map_name is not None:
            kind = {"configMap": {"name": key.config_map_name, **items}}
        found.append(({"name": "signature", **kind}, names.SIGNATURE_DIR))
    return found


def overlaid_template(template: Manifest, *, spec: ModelDeploymentSpec) -> Manifest:
    """Return a frozen template with what does not change answers: resources, batching, limits, credentials, podTemplate."""
    pod = template["spec"]
    containers = [_overlaid(each, spec) if each["name"] == CONTAINER else each for each in pod["containers"]]
    overlaid = {**template, "spec": {**pod, "containers": containers}}
    asked = spec.runtime.pod_template
    return overlaid if asked is None else pod_templates.merged(overlaid, asked, container=CONTAINER)


def _overlaid(container: Manifest, spec: ModelDeploymentSpec) -> Manifest:
    resources = spec.runtime.resources
    amounts = {"requests": resources.requests, "limits": resources.limits}
    result = {
        **container,
        "resources": {
            kind: {name: str(each) for name, each in named.items()} for kind, named in amounts.items() if named
        },
        "env": [*container["env"], {"name": "LEADLINE_MAX_ROWS", "value": str(spec.runtime.batching.max_rows)}],
    }
    if spec.model.fetch is not None:
        limits = {
            "LEADLINE_MAX_MODEL_BYTES": str(quantities.size_bytes(spec.model.fetch.max_size)),
            "LEADLINE_FETCH_TIMEOUT_SECONDS": f"{quantities.seconds(spec.model.fetch.timeout):g}",
            "LEADLINE_LEDGER_AFTER_SECONDS": f"{quantities.seconds(spec.model.fetch.ledger_after):g}",
        }
        result["env"] += [{"name": name, "value": value} for name, value in limits.items()]
    if spec.model.credentials:
        result["envFrom"] = [{"secretRef": {"name": spec.model.credentials.secret_name}}]
    return result


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": names.ADMIN_PORT, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "successThreshold": 1,
        "timeoutSeconds": 3,
    }

"""Names that more than one part uses: API group, labels, annotations, ports, object names.

Each lives here once. Values are part of the interface to users and to running pods: changing one needs a migration.
"""

from typing import Final

GROUP: Final = "leadline.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "ModelDeployment"
PLURAL: Final = "modeldeployments"
SHORT_NAME: Final = "mdep"
"""`md` is Cluster API's."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "leadline"
DEPLOYMENT_LABEL: Final = "leadline.dev/modeldeployment"
"""Name of the ModelDeployment that a child belongs to."""
REVISION_LABEL: Final = "leadline.dev/revision"
"""Name of the revision that a child or pod belongs to."""

ACTION_ANNOTATION: Final = "leadline.dev/action"
"""On a ModelDeployment, by the user: `<verb>@<RFC 3339 time>`."""
DIGEST_ANNOTATION: Final = "leadline.dev/digest"
"""On a ControllerRevision, written once: `sha256:<hex>` of the model's bytes."""
RECORD_ANNOTATION: Final = "leadline.dev/record"
"""On a ControllerRevision: JSON, what happened to the revision; what a restart must know."""

RETRAIN_LABEL: Final = "leadline.dev/retrain"
"""On the Job of a training run and on its pod: the run's id."""
RETRAIN_ANNOTATION: Final = "leadline.dev/retrain"
"""On the Job of a training run: JSON, why it was started and from what."""

PUBLIC_PORT: Final = 8080
"""Answers with the serving revision: forwards when demoted."""
ADMIN_PORT: Final = 8081
"""Supervisor: exchange, kubelet probes, Prometheus metrics."""
OWN_PORT: Final = 8082
"""Always answers with this revision's own model; never forwards."""
SERVICE_PORT: Final = 80

KEYS_DIR: Final = "/etc/leadline/keys"
"""Mounted Secret of the ModelDeployment; file `exchange` holds 32 raw bytes."""
REVISION_DIR: Final = "/etc/leadline/revision"
"""Mounted optional ConfigMap of the revision; file `digest` holds the learned digest."""
LEDGER_TOKEN_DIR: Final = "/var/run/secrets/leadline/ledger"  # noqa: S105 - a path
"""Mounted projected token by which a pod speaks to the ledger; file `token`."""
MODEL_DIR: Final = "/var/lib/leadline"
"""emptyDir where the runtime keeps model and test set."""

CLAIMS_DIR: Final = "/mnt/claims"
"""Where the claim of a pvc:// model is mounted, read-only, in a folder of its name."""
SIGNATURE_DIR: Final = "/etc/leadline/signature"
"""Mounted Secret or ConfigMap of `spec.model.signature`; file `key.pub` is the public key."""

NAME_MAX: Final = 52
"""Longest ModelDeployment name: a child adds `-` and ten characters, and a label value holds 63."""


def revision_name(deployment: str, input_hash: str) -> str:
    """Return the name of a revision and of its children, e.g. `digits-6c1f02ab9e`."""
    return f"{deployment}-{input_hash[:10]}"


def keys_secret_name(deployment: str) -> str:
    """Return the name of the Secret that carries a ModelDeployment's keys to its pods."""
    return f"{deployment}-leadline"


def training_job_name(deployment: str, run: str) -> str:
    """Return the name of the Job of a training run, e.g. `digits-r1f02ab9e4`."""
    return f"{deployment}-r{run[:9]}"

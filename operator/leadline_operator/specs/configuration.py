"""The Secret and the ConfigMap that pods mount. Both are created once and never read back."""

import base64

from leadline_api import names

from leadline_operator.specs.metadata import Manifest, Owner, child


def keys_secret(owner: Owner, *, exchange_key: bytes) -> Manifest:
    """Return the Secret with the key that seals exchanges with this ModelDeployment's pods."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": child(owner, names.keys_secret_name(owner.name)),
        "type": "Opaque",
        "immutable": True,
        "data": {"exchange": base64.b64encode(exchange_key).decode()},
    }


def digest_config_map(owner: Owner, revision: str, *, digest: str) -> Manifest:
    """Return the ConfigMap with a revision's learned digest, by which pods start while the operator is down."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child(owner, revision, revision),
        "immutable": True,
        "data": {"digest": digest},
    }

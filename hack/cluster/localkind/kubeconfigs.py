"""Kubeconfig files: write those that are ours, never touch one that somebody else made.

A file is ours if it carries our marker and names no server but the local cluster's. The marker is an extension of
the cluster entry, because kubectl keeps those when it edits a file and drops comments.
"""

import base64
import os
import re
from pathlib import Path
from typing import Final

from localkind import errors, network

SERVER: Final = f"https://{network.NODE_ADDRESS}:{network.API_PORT}"

_MARKER: Final = "leadline.dev/local-cluster"
_SERVERS: Final = re.compile(r"""["']?\bserver["']?\s*:\s*["']?([^\s"',}]+)""")


def render(name: str, *, ca: bytes, certificate: bytes, key: bytes) -> str:
    """Return a kubeconfig that works from any folder; its context is named as kind names it."""
    ca_data, certificate_data, key_data = (base64.b64encode(part).decode() for part in (ca, certificate, key))
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: kind-{name}
  cluster:
    server: {SERVER}
    certificate-authority-data: {ca_data}
    extensions:
    - name: {_MARKER}
      extension: {{name: {name}}}
users:
- name: kind-{name}
  user:
    client-certificate-data: {certificate_data}
    client-key-data: {key_data}
contexts:
- name: kind-{name}
  context: {{cluster: kind-{name}, user: kind-{name}}}
current-context: kind-{name}
"""


def component(pki: Path, name: str) -> str:
    """Return the kubeconfig of a component, which reads its files from the PKI folder."""
    return f"""\
apiVersion: v1
kind: Config
clusters: [{{name: local, cluster: {{server: "{SERVER}", certificate-authority: "{pki}/ca.crt"}}}}]
users: [{{name: self, user: {{client-certificate: "{pki}/{name}.crt", client-key: "{pki}/{name}.key"}}}}]
contexts: [{{name: local, context: {{cluster: local, user: self}}}}]
current-context: local
"""


def is_ours(text: str) -> bool:
    """Tell whether a kubeconfig may be written over: ours, or empty."""
    if not text.strip():
        return True
    return _MARKER in text and set(_SERVERS.findall(text)) == {SERVER}


def check(path: Path) -> None:
    """Refuse a file that is not ours.

    Raises:
        NeedsUser: It exists and is not ours.
    """
    if path.exists() and not (path.is_file() and is_ours(path.read_text(errors="replace"))):
        raise errors.NeedsUser(
            f"{path}: expected no file or one that this command made, found somebody else's; "
            "name another with --kubeconfig, nothing was changed"
        )


def write(path: Path, text: str) -> None:
    """Write a kubeconfig that only its owner can read.

    Raises:
        NeedsUser: The file exists and is not ours.
    """
    check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.touch(0o600)
    unfinished.write_text(text)
    unfinished.rename(path)


def forget(path: Path) -> None:
    """Remove a kubeconfig if it is ours; leave any other alone."""
    if path.is_file() and is_ours(path.read_text(errors="replace")):
        path.unlink()

"""Keys and certificates of one cluster, made anew for each: nothing of them outlives it.

`openssl` makes them, since Python's standard library cannot; Debian's ca-certificates brings it.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from localkind import errors

_DAYS: Final = "365"
_EC: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def make(folder: Path, *, node: str, addresses: Sequence[str]) -> None:
    """Make the CA, the API server's certificate, one per component, and the key of service accounts.

    Args:
        folder: Where NAME.crt and NAME.key go.
        node: Name of the node, part of kubelet's identity.
        addresses: IP addresses that the API server answers on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _openssl(folder, "req", "-x509", *_EC, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=leadline-local")
    names = ["DNS:localhost", "DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc"]
    _leaf(folder, "apiserver", "/CN=kube-apiserver", names + [f"IP:{address}" for address in addresses])
    for name, subject in (
        ("admin", "/O=system:masters/CN=kubernetes-admin"),
        ("controller-manager", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("proxy", "/CN=system:kube-proxy"),
        ("kubelet", f"/O=system:nodes/CN=system:node:{node}"),
    ):
        _leaf(folder, name, subject, [f"DNS:{node}"])
    _openssl(
        folder, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", "sa.key", days=False
    )
    _openssl(folder, "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub", days=False)


def _leaf(folder: Path, name: str, subject: str, names: Sequence[str]) -> None:
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    usage = ("-addext", "extendedKeyUsage=serverAuth,clientAuth", "-addext", "subjectAltName=" + ",".join(names))
    files = ("-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", subject)
    _openssl(folder, "req", "-x509", *_EC, *signed, *usage, *files)


def _openssl(folder: Path, *arguments: str, days: bool = True) -> None:
    command = ["openssl", *arguments, *(("-days", _DAYS) if days else ())]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise errors.Broken(
            f"{' '.join(command[:3])} ... ended with {done.stderr.strip()[-300:]!r}; expected OpenSSL 3"
        )

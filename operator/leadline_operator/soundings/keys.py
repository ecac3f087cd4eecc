"""Keys of each ModelDeployment, derived from the operator's root key (HKDF with SHA-256, RFC 5869)."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32


class BadRootKeyError(Exception):
    """The root key is missing or too short."""


def read_root_key(path: Path) -> bytes:
    """Return the root key.

    Raises:
        BadRootKeyError: The file is missing or holds fewer than 32 bytes.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise BadRootKeyError(
            f"root key {path}: {error.strerror}; mount the Secret of the chart's value rootKey there"
        ) from error
    if len(key) < KEY_BYTES:
        raise BadRootKeyError(f"root key {path}: expected {KEY_BYTES} bytes or more, got {len(key)}")
    return key


def exchange_key(root: bytes, namespace: str, name: str) -> bytes:
    """Return the key that seals exchanges with the pods of a ModelDeployment.

    It hangs on the name and not on the uid: pods of an object that was re-created meet the Secret of the old one.
    """
    info = f"leadline exchange 1\0{namespace}/{name}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(root)

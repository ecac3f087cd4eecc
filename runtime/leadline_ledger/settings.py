"""What the environment says: read once at the start, checked, frozen.

A value that cannot be meant ends the process with one line that names variable, value and what was expected. Must not
open files or sockets. What the variables mean to users is in docs/ledger.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leadline_wire import ledger

from leadline_ledger import errors

_ACCOUNT: Final = re.compile(
    r"system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?"
)
_ACCOUNT_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


@dataclass(frozen=True, slots=True)
class Settings:
    """One ledger's settings."""

    folder: Path
    """Where database and blobs are: a volume that outlives the pod."""
    database_file: Path | None
    """With the DSN of a PostgreSQL database; None: SQLite in the folder."""
    blobs_uri: str
    """Bucket for model bytes; empty: the folder."""
    operator: str
    """User name of the operator's service account: `system:serviceaccount:NAMESPACE:NAME`."""
    bind: str
    """Address to listen on; empty: all, IPv6 as well where the machine has it."""
    port: int
    api_server: str
    """URL of the Kubernetes API server, which says whose a token is."""
    account_folder: Path
    """With `token` and `ca.crt` of the ledger's own service account."""
    database_max_bytes: int
    """0: as large as the volume."""
    copies_max: int
    """Copies per ModelDeployment that wait for their outcome; beyond it the oldest go."""
    predictions_max: int
    """Predictions per ModelDeployment kept under the client's id; beyond it the oldest go."""
    blob_max_bytes: int
    blobs_max_bytes: int
    blob_keep_days: int
    """A blob that nobody used for so long makes room for new ones."""
    captures_max_bytes: int
    """Captured inputs of all ModelDeployments; beyond it the oldest go. 0: no limit."""
    queue_bytes: int
    """Bodies of calls that wait to become durable; more are answered 503."""
    requests_max: int
    """Calls under way, long polls included; more are answered 503."""


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings that the environment holds.

    Raises:
        SettingsError: A variable is missing or its value cannot be meant.
    """
    source = _Source(environment)
    return Settings(
        folder=source.folder("LEADLINE_LEDGER_DIR", "/var/lib/leadline-ledger"),
        database_file=source.file("LEADLINE_LEDGER_DATABASE_FILE"),
        blobs_uri=source.bucket("LEADLINE_LEDGER_BLOBS_URI"),
        operator=source.account("LEADLINE_LEDGER_OPERATOR"),
        bind=environment.get("LEADLINE_LEDGER_BIND", ""),
        port=source.number("LEADLINE_LEDGER_PORT", ledger.PORT, 1, 65_535),
        api_server=source.api_server("LEADLINE_LEDGER_API_SERVER"),
        account_folder=source.folder("LEADLINE_LEDGER_ACCOUNT_DIR", _ACCOUNT_FOLDER),
        database_max_bytes=source.number("LEADLINE_LEDGER_DATABASE_MAX_BYTES", 0, 0, 1 << 44),
        copies_max=source.number("LEADLINE_LEDGER_COPIES_MAX", 1_000_000, 1, 1 << 32),
        predictions_max=source.number("LEADLINE_LEDGER_PREDICTIONS_MAX", 10_000_000, 1, 1 << 32),
        blob_max_bytes=source.number("LEADLINE_LEDGER_BLOB_MAX_BYTES", 2 << 30, 1, 1 << 40),
        blobs_max_bytes=source.number("LEADLINE_LEDGER_BLOBS_MAX_BYTES", 5 << 30, 1, 1 << 44),
        blob_keep_days=source.number("LEADLINE_LEDGER_BLOB_KEEP_DAYS", 90, 0, 36_500),
        captures_max_bytes=source.number("LEADLINE_LEDGER_CAPTURES_MAX_BYTES", 2 << 30, 0, 1 << 44),
        queue_bytes=source.number("LEADLINE_LEDGER_QUEUE_BYTES", 64 << 20, ledger.INTAKE_BYTES_MAX, 1 << 34),
        requests_max=source.number("LEADLINE_LEDGER_REQUESTS_MAX", 1_024, 1, 1 << 16),
    )


class _Source:
    """Reads one variable after the other; each method raises `SettingsError`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def account(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        if not _ACCOUNT.fullmatch(value):
            raise errors.SettingsError(f"{variable}: expected system:serviceaccount:NAMESPACE:NAME, got {value!r}")
        return value

    def folder(self, variable: str, default: str) -> Path:
        value = self._environment.get(variable) or default
        if not value.startswith("/"):
            raise errors.SettingsError(f"{variable}: expected an absolute path, got {value!r}")
        return Path(value)

    def file(self, variable: str) -> Path | None:
        return self.folder(variable, "/") if self._environment.get(variable) else None

    def bucket(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        if value and not re.fullmatch(r"(s3|gs|az)://[^/?#\s]+(/[^?#\s]*)?", value):
            raise errors.SettingsError(f"{variable}: expected s3://BUCKET/PREFIX, or gs, az; got {value!r}")
        return value

    def api_server(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        host = self._environment.get("KUBERNETES_SERVICE_HOST", "")
        if not value and host:
            port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
            value = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        if not re.fullmatch(r"https?://[^/?#@]+/?", value):
            raise errors.SettingsError(
                f"{variable}: expected http(s)://HOST:PORT, or a pod's KUBERNETES_SERVICE_HOST; got {value!r}"
            )
        return value.rstrip("/")

    def number(self, variable: str, default: int, least: int, most: int) -> int:
        text = self._environment.get(variable, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise errors.SettingsError(f"{variable}: expected a whole number from {least} to {most}, got {text!r}")
        return int(text)

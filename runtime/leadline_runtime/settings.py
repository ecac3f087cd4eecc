"""What the environment says: read once at the start, checked, frozen.

Supervisor and worker read the same environment. A value that cannot be meant ends the process with one line that
names variable, value and what was expected. Must not open files or sockets.
"""

import contextlib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from leadline_runtime import errors, logs
from leadline_runtime.engine import providers
from leadline_runtime.fetch import stores

C = TypeVar("C", bound=enum.Enum)

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """One runtime's settings; the variables' meaning for users is in docs/architecture.md."""

    model_name: str
    """Name in `/v2/models/NAME`."""
    revision: str
    """`model_version` in each answer."""
    model_uri: str
    model_digest: str
    """`sha256:<hex>`; empty: from the revision folder, else by exchange."""
    pod_uid: str
    namespace: str
    max_rows: int
    """Most rows in one run of the model."""
    max_model_bytes: int
    """Of all files of a model together."""
    fetch_timeout_seconds: float
    """Longest single try to fetch the model; the next one goes on where it ended."""
    ledger_after_seconds: float
    """A URI that takes longer than this has the ledger asked beside it."""
    signature_key_file: Path | None
    """Public key that must have signed the model; None: no signature is asked for."""
    max_body_bytes: int
    max_connections: int
    """Per port; more are answered 503 and closed."""
    max_queue_rows: int
    """Rows that may wait for the model; more are answered 429."""
    queue_timeout_seconds: float
    """What has waited for the model longer than that is answered 503 and not run."""
    workers: int
    """Worker processes; 0: by CPU limit, memory limit and the model's own run time, see `sizing`."""
    silent_worker_seconds: float
    """A worker whose event loop answers nothing for so long is killed, and another one starts."""
    drain_seconds: float
    """Longest drain; requests that still run then are cut."""
    head_timeout_seconds: float
    body_timeout_seconds: float
    idle_timeout_seconds: float
    data_dir: Path
    keys_dir: Path
    revision_dir: Path
    ledger_url: str
    """Where the ledger is from the start on; empty: learned by exchange."""
    ledger_token_file: Path
    bind: str
    """Address of all three ports; empty: all addresses, IPv6 as well where the machine has it."""
    public_port: int
    admin_port: int
    own_port: int
    access_log: float | None
    """Share of the requests without an error that get a line; errors get one. None: no access log."""
    log_level: logs.Level
    log_format: logs.Format


def is_digest(text: str) -> bool:
    """Tell whether text is `sha256:` and 64 lowercase hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings that the environment holds.

    Raises:
        SettingsError: A variable is missing or its value cannot be meant.
    """
    source = _Source(environment)
    providers.of(environment)  # read where a model is loaded; a mistake is told at the start
    return Settings(
        model_name=source.name("LEADLINE_MODEL_NAME"),
        revision=source.name("LEADLINE_REVISION"),
        model_uri=source.uri("LEADLINE_MODEL_URI"),
        model_digest=source.digest("LEADLINE_MODEL_DIGEST"),
        pod_uid=environment.get("LEADLINE_POD_UID", ""),
        namespace=environment.get("LEADLINE_NAMESPACE", ""),
        max_rows=source.number("LEADLINE_MAX_ROWS", 64, 1, 4_096),
        max_model_bytes=source.number("LEADLINE_MAX_MODEL_BYTES", 2 << 30, 1, 1 << 40),
        fetch_timeout_seconds=source.seconds("LEADLINE_FETCH_TIMEOUT_SECONDS", 3_600.0),
        ledger_after_seconds=source.seconds("LEADLINE_LEDGER_AFTER_SECONDS", 60.0),
        signature_key_file=source.path("LEADLINE_SIGNATURE_KEY_FILE"),
        max_body_bytes=source.number("LEADLINE_MAX_BODY_BYTES", 16 << 20, 1_024, 1 << 30),
        max_connections=source.number("LEADLINE_MAX_CONNECTIONS", 4_096, 1, 1 << 20),
        max_queue_rows=source.number("LEADLINE_MAX_QUEUE_ROWS", 4_096, 1, 1 << 20),
        queue_timeout_seconds=source.seconds("LEADLINE_QUEUE_TIMEOUT_SECONDS", 30.0),
        workers=source.number("LEADLINE_WORKERS", 0, 1, 256),
        silent_worker_seconds=source.seconds("LEADLINE_SILENT_WORKER_SECONDS", 30.0),
        drain_seconds=source.seconds("LEADLINE_DRAIN_SECONDS", 20.0),
        head_timeout_seconds=source.seconds("LEADLINE_HEAD_TIMEOUT_SECONDS", 10.0),
        body_timeout_seconds=source.seconds("LEADLINE_BODY_TIMEOUT_SECONDS", 10.0),
        idle_timeout_seconds=source.seconds("LEADLINE_IDLE_TIMEOUT_SECONDS", 75.0),
        data_dir=Path(environment.get("LEADLINE_DATA_DIR", "/var/lib/leadline")),
        keys_dir=Path(environment.get("LEADLINE_KEYS_DIR", "/etc/leadline/keys")),
        revision_dir=Path(environment.get("LEADLINE_REVISION_DIR", "/etc/leadline/revision")),
        ledger_url=source.web("LEADLINE_LEDGER_URL"),
        ledger_token_file=Path(
            environment.get("LEADLINE_LEDGER_TOKEN_FILE", "/var/run/secrets/leadline/ledger/token"),
        ),
        bind=environment.get("LEADLINE_BIND", ""),
        public_port=source.number("LEADLINE_PUBLIC_PORT", 8080, 1, 65_535),
        admin_port=source.number("LEADLINE_ADMIN_PORT", 8081, 1, 65_535),
        own_port=source.number("LEADLINE_OWN_PORT", 8082, 1, 65_535),
        access_log=source.share("LEADLINE_ACCESS_LOG"),
        log_level=source.choice("LEADLINE_LOG_LEVEL", logs.Level, logs.Level.INFO),
        log_format=source.choice("LEADLINE_LOG_FORMAT", logs.Format, logs.Format.TEXT),
    )


class _Source:
    """Reads one variable after the other; each method raises `SettingsError`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def name(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", value):
            raise errors.SettingsError(f"{variable}: expected letters, digits, '-', '_' and '.', got {value!r}")
        return value

    def uri(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        scheme = value.partition("://")[0] if "://" in value else value.partition("/")[0]
        if ("://" not in value or scheme not in stores.SCHEMES) and not value.startswith("models:/"):
            expected = ", ".join([*(f"{known}://" for known in stores.SCHEMES), "models:/"])
            # The value may carry credentials, so only its scheme is shown.
            raise errors.SettingsError(f"{variable}: expected a URI that starts with one of {expected}; got {scheme!r}")
        return value

    def path(self, variable: str) -> Path | None:
        value = self._environment.get(variable, "")
        return Path(value) if value else None

    def web(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        if value and value.partition("://")[0] not in {"http", "https"}:
            raise errors.SettingsError(f"{variable}: expected http(s)://host[:port], got {value.partition('://')[0]!r}")
        return value.rstrip("/")

    def digest(self, variable: str) -> str:
        value = self._environment.get(variable, "")
        if value and not is_digest(value):
            raise errors.SettingsError(f"{variable}: expected sha256: and 64 hexadecimal digits, got {value!r}")
        return value

    def number(self, variable: str, default: int, least: int, most: int) -> int:
        text = self._environment.get(variable, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise errors.SettingsError(f"{variable}: expected a whole number from {least} to {most}, got {text!r}")
        return int(text)

    def share(self, variable: str) -> float | None:
        text = self._environment.get(variable, "").lower()
        share = {"": None, "off": None, "errors": 0.0, "all": 1.0}.get(text, -1.0)
        if share == -1.0:
            with contextlib.suppress(ValueError):
                share = float(text)
            if share is None or not 0 <= share <= 1:
                raise errors.SettingsError(
                    f"{variable}: expected off, errors, all or a share from 0 to 1, got {text!r}"
                )
        return share

    def choice(self, variable: str, kind: type[C], default: C) -> C:
        text = self._environment.get(variable, "").lower()
        try:
            return kind(text) if text else default
        except ValueError as error:
            known = ", ".join(each.value for each in kind)
            raise errors.SettingsError(f"{variable}: expected one of {known}; got {text!r}") from error

    def seconds(self, variable: str, default: float) -> float:
        text = self._environment.get(variable, "")
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.01 <= value <= 86_400.0:
            raise errors.SettingsError(f"{variable}: expected seconds from 0.01 to 86400, got {text!r}")
        return value

"""Logs of supervisor and worker: a constant message and key=value pairs, one line each, on standard error.

Lines are `key=value` text, or JSON objects where LEADLINE_LOG_FORMAT says so; a traceback stands inside its line. There is
a line when something changes, never one per request: `telemetry.access_log` is for that. Never log a secret or a URI's
credentials.
"""

import enum
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

_LOGGER: Final = logging.getLogger("leadline.runtime")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,")
_HEADER_CHARACTERS: Final = 128


class Level(enum.Enum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(enum.Enum):
    """What a line looks like."""

    TEXT = "text"
    JSON = "json"


def start(process: str) -> None:
    """Send this process's logs to standard error, each line marked with the process's part (supervisor, worker)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(process))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def adjust(level: Level, form: Format) -> None:
    """Log as the settings have it; what was logged before they were read is text."""
    _LOGGER.setLevel(level.value.upper())
    for handler in _LOGGER.handlers:
        if isinstance(handler.formatter, _Lines):
            handler.formatter.is_json = form is Format.JSON


def debug(message: str, /, **fields: object) -> None:
    """Log what only somebody who looks for a defect wants to know."""
    _LOGGER.debug(message, extra={"fields": fields})


def info(message: str, /, **fields: object) -> None:
    """Log that the runtime changed something."""
    _LOGGER.info(message, extra={"fields": fields})


def warning(message: str, /, **fields: object) -> None:
    """Log what a person should look at."""
    _LOGGER.warning(message, extra={"fields": fields})


def error(message: str, /, *, exc_info: bool | BaseException = False, **fields: object) -> None:
    """Log our own defect or lost work; with the traceback where it is handled."""
    _LOGGER.error(message, exc_info=exc_info, extra={"fields": fields})


def of_request(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the fields by which a client finds its request again: its own id, and its trace's."""
    found = {}
    if (identifier := headers.get(b"x-request-id")) is not None:
        found["request_id"] = identifier.decode("utf-8", "replace")[:_HEADER_CHARACTERS]
    if (parent := headers.get(b"traceparent")) is not None:
        found["trace_id"] = parent[3:35].decode("latin-1")
    return found


class _Lines(logging.Formatter):
    """Makes one line of a record. Times are in UTC whatever the node's zone is: logs of many pods are read side by side."""

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._process = process
        self.is_json = False

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        moment = f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d}Z"
        if not self.is_json:
            pairs = "".join(f" {key}={_value(value)}" for key, value in fields.items())
            return f"{moment} {record.levelname} {self._process} {record.getMessage()}{pairs}"
        head = {"time": moment, "level": record.levelname.lower(), "process": self._process}
        whole = {**head, "message": record.getMessage(), **{key: _plain(value) for key, value in fields.items()}}
        # A field must not hide the message, nor the level.
        return json.dumps({**whole, **head, "message": record.getMessage()}, ensure_ascii=False)


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _value(value: object) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)

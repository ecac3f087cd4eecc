"""Logs of the ledger: a constant message and key=value pairs, one line each, on standard error.

There is no access log: a line per call would cost more than the call. Never log a token.
"""

import json
import logging
import sys
import time
from typing import Final

_LOGGER: Final = logging.getLogger("leadline.ledger")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,")


def start() -> None:
    """Send this process's logs to standard error, in UTC whatever the node's zone is."""
    handler = logging.StreamHandler(sys.stderr)
    form = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s ledger %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def info(message: str, /, **fields: object) -> None:
    """Log that the ledger changed something."""
    _LOGGER.info(_line(message, fields))


def warning(message: str, /, **fields: object) -> None:
    """Log what a person should look at."""
    _LOGGER.warning(_line(message, fields))


def error(message: str, /, *, exc_info: bool | BaseException = False, **fields: object) -> None:
    """Log our own defect or lost work; with the traceback where it is handled."""
    _LOGGER.error(_line(message, fields), exc_info=exc_info)


def _line(message: str, fields: dict[str, object]) -> str:
    return " ".join([message, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: object) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)

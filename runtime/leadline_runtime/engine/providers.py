"""Which of onnxruntime's execution providers run a model: the CPU's, unless LEADLINE_EXECUTION_PROVIDERS says otherwise.

A list in the order of preference, each with options after colons, such as
`CUDAExecutionProvider:device_id=0,CPUExecutionProvider`. onnxruntime goes on with the next one where one is not there or does
not start, and only logs it: a service that was to run on a GPU would run on the CPU. Here that is an error. Read from the
environment wherever a model is loaded: in the worker, and in a user's own process. Must not import onnxruntime: the
supervisor checks the text at its start.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from leadline_runtime import errors

VARIABLE: Final = "LEADLINE_EXECUTION_PROVIDERS"
_NAME: Final = re.compile(r"[A-Za-z]{1,48}ExecutionProvider")
_OPTION: Final = re.compile(r"[A-Za-z0-9_]{1,64}=[^,:]{1,256}")


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider with its options."""

    name: str
    options: tuple[tuple[str, str], ...] = ()


CPU: Final = Provider("CPUExecutionProvider")


def of(environment: Mapping[str, str]) -> tuple[Provider, ...]:
    """Return the execution providers that the environment asks for.

    Raises:
        SettingsError: The text cannot be meant.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        return (CPU,)
    found = []
    for part in text.split(","):
        name, *options = (piece.strip() for piece in part.split(":"))
        if not _NAME.fullmatch(name) or not all(_OPTION.fullmatch(option) for option in options):
            raise errors.SettingsError(
                f"{VARIABLE}: expected names with options such as CUDAExecutionProvider:device_id=0,"
                f"CPUExecutionProvider; got {part[:200]!r}"
            )
        pairs = (option.partition("=") for option in options)
        found.append(Provider(name, tuple((key, value) for key, _, value in pairs)))
    if len({provider.name for provider in found}) < len(found):
        raise errors.SettingsError(f"{VARIABLE}: expected each execution provider once, got {text[:200]!r}")
    return tuple(found)


def check_available(wanted: Sequence[Provider], available: Sequence[str], version: str) -> None:
    """Check that the installed onnxruntime has what is asked for.

    Raises:
        BlockedError: It lacks one; the message says which there are.
    """
    missing = [provider.name for provider in wanted if provider.name not in available]
    if missing:
        raise errors.BlockedError(
            "ExecutionProviderMissing",
            f"{VARIABLE} asks for {', '.join(missing)}; onnxruntime {version} in this image has {', '.join(available)}",
        )


def check_started(wanted: Sequence[Provider], running: Sequence[str]) -> None:
    """Check that what was asked for runs the model.

    Raises:
        BlockedError: One did not start.
    """
    missing = [provider.name for provider in wanted if provider.name not in running]
    if missing:
        raise errors.BlockedError(
            "ExecutionProviderMissing",
            f"{', '.join(missing)} did not start; the worker's log has onnxruntime's reason (no device, a driver or a "
            f"library is missing); running are {', '.join(running)}",
        )

"""Which requests get a span: the samplers that OTEL_TRACES_SAMPLER names, decided on bytes.

The SDK's samplers say the same, but only after it has made a context and a name for each request; most requests of a busy
pod are not sampled and must not cost that. Must not import the SDK.
"""

import random
import re
from collections.abc import Callable, Mapping
from typing import Final

from leadline_runtime import errors

Sampler = Callable[[bytes], bool]
"""Takes the request's `traceparent`, empty where it has none."""

_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?"
)
_DEFAULT: Final = "parentbased_always_on"
_PARENT_BASED: Final = "parentbased_"
_ROOTS: Final = ("always_on", "always_off", "traceidratio")
_TRACE_BITS: Final = 64
"""The ratio samplers look at the trace id's lower half."""


def parent(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the request's `traceparent`; empty where it has none, or what it has is none."""
    value = headers.get(b"traceparent")
    if value is None:
        return b""
    value = value.strip()
    # A later version may have more fields; version 00 has four.
    match = _TRACEPARENT.fullmatch(value)
    return value if match is not None and not (value.startswith(b"00") and match[1]) else b""


def from_environment(environment: Mapping[str, str]) -> Sampler:
    """Return the sampler that OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG name.

    Raises:
        SettingsError: They name none.
    """
    name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or _DEFAULT
    root = name.removeprefix(_PARENT_BASED)
    if root not in _ROOTS:
        known = ", ".join([*_ROOTS, *(_PARENT_BASED + each for each in _ROOTS)])
        raise errors.SettingsError(f"OTEL_TRACES_SAMPLER: expected one of {known}; got {name!r}")
    ratio = {"always_on": 1.0, "always_off": 0.0}.get(root)
    if ratio is None:
        ratio = _ratio(environment.get("OTEL_TRACES_SAMPLER_ARG", ""))
    return _parent_based(ratio) if name.startswith(_PARENT_BASED) else _by_id(ratio)


def is_sampled(traceparent: bytes) -> bool:
    """Tell whether whoever called has sampled the trace."""
    return bool(int(traceparent[53:55], 16) & 1)


def _ratio(text: str) -> float:
    try:
        ratio = float(text or "1")
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise errors.SettingsError(f"OTEL_TRACES_SAMPLER_ARG: expected a share from 0 to 1, got {text!r}")
    return ratio


def _parent_based(ratio: float) -> Sampler:
    def decide(traceparent: bytes) -> bool:
        return is_sampled(traceparent) if traceparent else random.random() < ratio  # noqa: S311  # no secret

    return decide


def _by_id(ratio: float) -> Sampler:
    bound = round(ratio * (1 << _TRACE_BITS))

    def decide(traceparent: bytes) -> bool:
        if not traceparent:
            return random.random() < ratio  # noqa: S311  # no secret
        return int(traceparent[19:35], 16) < bound

    return decide

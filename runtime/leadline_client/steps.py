"""What a flow asks for, and what it is told: HTTP as plain data.

A flow is a generator. It yields one of the three steps and is sent the result: of `Send` a `Response` or a `NoResponse`, of
`Do` what the call returned, of `Wait` nothing. So a flow is the same for blocking and asyncio callers, and a test can be
the world. Tuples with names, where dataclasses would make up half of the time of the import.
"""

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Request(NamedTuple):
    """One HTTP request. All that are made here may be made again: nothing is counted twice."""

    method: str
    path: str
    """Below the model's URL, with its query: `/infer`; empty: the model itself."""
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


class Response(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class NoResponse(NamedTuple):
    """There was none, or none that can be read."""

    why: str


class Send(NamedTuple):
    """Make a request."""

    request: Request
    timeout_seconds: float
    """To the end of the answer."""


class Wait(NamedTuple):
    """Let time pass."""

    seconds: float


class Do(NamedTuple):
    """Call something that may block for a moment: the store."""

    call: Callable[[], Any]


Step = Send | Wait | Do
Flow = Generator[Step, Any, T]


class Edge(NamedTuple):
    """What flows may not read by themselves."""

    monotonic: Callable[[], float]
    """Seconds that only ever grow."""
    wall: Callable[[], float]
    """Seconds since the epoch, for what outlives the process."""
    draw: Callable[[], float]
    """A random number in [0, 1)."""

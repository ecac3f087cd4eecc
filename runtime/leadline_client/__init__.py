"""Leadline's client: predict, remember the receipt, report what came true.

`Client` blocks, `AsyncClient` is for asyncio; both have the same methods. All that they decide is in pure flows (`predicting`,
`delivering`), which yield what they need done; `sync` and `aio` do it. httpx is imported by the first call, numpy
when the first answer is read, asyncio with `AsyncClient`: importing this costs no more than Python's own modules that it uses.

Must not know the operator, the runtime or the ledger.
"""

from typing import TYPE_CHECKING, Any

from leadline_client.delivering import Flushed
from leadline_client.errors import (
    ClientError,
    InputError,
    ModelNotReady,
    Refused,
    StoreError,
    StoreFull,
    Unavailable,
    UnknownKey,
)
from leadline_client.outcomes import Fate, Outcome, Reported, Wanted
from leadline_client.predicting import Answer
from leadline_client.sqlite import SqliteStore
from leadline_client.store import Store, Waiting
from leadline_client.sync import Client

if TYPE_CHECKING:
    from leadline_client.aio import AsyncClient

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ClientError",
    "Fate",
    "Flushed",
    "InputError",
    "ModelNotReady",
    "Outcome",
    "Refused",
    "Reported",
    "SqliteStore",
    "Store",
    "StoreError",
    "StoreFull",
    "Unavailable",
    "UnknownKey",
    "Waiting",
    "Wanted",
]


def __getattr__(name: str) -> Any:
    """Import `AsyncClient` when it is asked for."""
    if name != "AsyncClient":
        raise AttributeError(f"module 'leadline_client' has no attribute {name!r}; it has {', '.join(__all__)}")
    from leadline_client.aio import AsyncClient as Found  # noqa: PLC0415 - asyncio costs 30 ms, and half do without

    return Found

"""A model's file, wherever it is: on this machine as it lies there, from a store into a folder.

The same stores as a pod's, tried a few times and not for ever: somebody waits. `leadline serve` uses it as well. Next
step: `engine.session` loads the file.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from leadline_runtime import errors
from leadline_runtime.fetch import stores, transfer
from leadline_runtime.library import failures

TRIES: Final = 3
"""What was fetched is kept from one try to the next."""
PAUSE_SECONDS: Final = 1.0
LIMIT_BYTES: Final = 64 << 30
"""Of a model: a bound for the disk, not for the model."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model's file on this machine."""

    path: Path
    digest: str
    """`sha256:<hex>` of its bytes."""


def fetch(
    place: str | os.PathLike[str],
    folder: Path,
    *,
    digest: str = "",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Fetched:
    """Return a model's file.

    Args:
        place: A path, or a URI of a store.
        folder: Where a file goes that is not on this machine.
        digest: `sha256:<hex>` that it must have; empty: any.
        on_progress: Called with bytes so far and in all, 0 where that is not known.

    Raises:
        ModelError: It cannot be had, or has another digest.
    """
    text = os.fspath(place)
    if "://" not in text:
        path = Path(text).expanduser()
        found = Fetched(path, _digest_of(path))
    else:
        path = folder / "model.onnx"
        found = Fetched(path, _outside_loops(_transferred(text, path, on_progress)))
    if digest and found.digest != digest:
        shown = stores.shown(text) if "://" in text else text
        raise failures.ModelError("DigestMismatch", f"{shown} has digest {found.digest}, expected {digest}")
    return found


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except FileNotFoundError as error:
        raise failures.ModelError("ModelNotFound", f"{path}: there is no such file") from error
    except OSError as error:
        raise failures.ModelError("ModelAccessDenied", f"{path}: {error.strerror}") from error


async def _transferred(uri: str, path: Path, on_progress: Callable[[int, int], None]) -> str:
    work = transfer.Transfer(
        uri,
        path,
        reasons=transfer.MODEL,
        limit_bytes=LIMIT_BYTES,
        on_progress=on_progress,
        on_trouble=lambda _: None,
    )
    for left in reversed(range(TRIES)):
        try:
            return await work.once()
        except errors.BlockedError as error:
            if not left or error.trouble.reason != transfer.MODEL.unreachable:
                raise failures.of_trouble(error) from error
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError


def _outside_loops(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in a thread of its own: the caller may be in an event loop, as all notebooks are."""
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as executor:
        return executor.submit(asyncio.run, work).result()

"""One object into one file, however long it takes.

Trouble around the bytes is told and tried again for ever, with growing pauses; what was fetched is kept and gone on
from where the store can tell that it is still the same object. The digest grows with the bytes, so that nothing is read
twice. What the bytes mean is for the caller to judge.
"""

import asyncio
import errno
import hashlib
import math
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from leadline_runtime import errors, logs
from leadline_runtime.fetch import opening, stores

PAUSE_SECONDS_FIRST: Final = 0.5
PAUSE_SECONDS_MAX: Final = 15.0
T = TypeVar("T")

RETRIED: Final = f"; tried again at least every {PAUSE_SECONDS_MAX:g} s"
"""How messages of trouble end: constant, because a condition must not change with every try."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """How trouble is called: a model's differs from a test set's."""

    not_found: str
    access_denied: str
    unreachable: str
    too_large: str
    unusable: str
    """What is there can be no model, or no test set."""
    no_room: str = "NoRoomOnDisk"

    def of(self, fault: stores.Fault) -> str:
        """Return the reason for what kept us from the bytes."""
        return {
            stores.Fault.NOT_FOUND: self.not_found,
            stores.Fault.ACCESS_DENIED: self.access_denied,
            stores.Fault.UNREACHABLE: self.unreachable,
            stores.Fault.UNUSABLE: self.unusable,
        }[fault]


MODEL: Final = Reasons("ModelNotFound", "ModelAccessDenied", "ModelStoreUnreachable", "ModelTooLarge", "ModelUnusable")
TEST_SET: Final = Reasons(
    "TestSetNotFound", "TestSetAccessDenied", "TestSetUnreachable", "InvalidTestSet", "InvalidTestSet"
)


async def persist(
    once: Callable[[], Awaitable[T]],
    *,
    progress: Callable[[], int],
    on_trouble: Callable[[errors.BlockedError], None],
) -> T:
    """Return what an attempt returns, made again for ever with growing pauses; one that gets on shortens them.

    Args:
        once: The attempt; raises `BlockedError` where it came to nothing.
        progress: Bytes that are there by now.
        on_trouble: Told of each failed attempt.
    """
    failures = 0
    while True:
        before = progress()
        try:
            return await once()
        except errors.BlockedError as error:
            trouble = error
        failures = 1 if progress() > before else failures + 1
        if failures == 1:
            logs.warning("fetch interrupted", reason=trouble.trouble.reason, message=trouble.trouble.message)
        on_trouble(trouble)
        pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(failures - 1, 10))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret


def check_room(folder: Path, size_bytes: int, *, shown: str, reasons: Reasons) -> None:
    """Check that a folder's disk has room for so many bytes more.

    Raises:
        BlockedError: It has not.
    """
    try:
        state = os.statvfs(folder)
    except OSError:
        return  # writing will say what is wrong
    free = state.f_bavail * state.f_frsize
    if size_bytes > free:
        raise errors.BlockedError(
            reasons.no_room,
            f"{shown} needs {size_bytes} bytes more, and {folder} has room for {free / (1 << 30):.1f} GiB; give the "
            f"node more disk, or use a smaller model{RETRIED}",
        )


class Transfer:
    """Fetches one object, with all tries."""

    def __init__(
        self,
        uri: str,
        target: Path,
        *,
        reasons: Reasons,
        limit_bytes: int,
        on_progress: Callable[[int, int], None],
        on_trouble: Callable[[errors.BlockedError], None],
        store: stores.Store | None = None,
        partial: Path | None = None,
    ) -> None:
        """Prepare a transfer.

        Args:
            uri: Of the object.
            target: The file that it becomes.
            reasons: How trouble is called.
            limit_bytes: Of the object.
            on_progress: Told of bytes done and bytes to do; 0: not known.
            on_trouble: Told of each try that came to nothing.
            store: What holds the object, where the URI alone does not tell how to ask for it.
            partial: The file while it comes; beside the target unless said.
        """
        self._uri = uri
        self.store = store
        """May be exchanged between tries, when what it authorizes with has run out."""
        self._shown = stores.shown(uri)
        self._target = target
        self._partial = partial or target.with_name(target.name + ".partial")
        self._reasons = reasons
        self._limit_bytes = limit_bytes
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._bytes = 0
        self._validator = ""
        self._hash = hashlib.sha256()

    @property
    def bytes_done(self) -> int:
        """Return how many bytes are here by now."""
        return self._bytes

    async def run(self) -> str:
        """Return `sha256:<hex>` of the bytes once they are all in the file."""
        return await persist(self.once, progress=lambda: self._bytes, on_trouble=self._on_trouble)

    async def once(self, until: float = math.inf) -> str:
        """Return `sha256:<hex>` of the bytes after a single try; a later one goes on where it ended.

        Args:
            until: On the loop's clock: bytes that come later are left for another try.

        Raises:
            BlockedError: They did not all come.
        """
        while True:
            try:
                await self._try(until)
            except stores.ChangedError:
                self._restart()
            except stores.StoreError as error:
                raise errors.BlockedError(self._reasons.of(error.fault), f"{error}{RETRIED}") from error
            else:
                return f"sha256:{self._hash.hexdigest()}"

    async def _try(self, until: float) -> None:
        store = self.store or await _only_file(self._uri)
        async with store.open(self._bytes if self._validator else 0, self._validator) as stream:
            if stream.start != self._bytes or not self._validator:
                self._restart()
            self._validator = stream.validator
            self._check_size(stream.total_bytes)
            lacking = stream.total_bytes - self._bytes
            await asyncio.to_thread(check_room, self._partial.parent, lacking, shown=self._shown, reasons=self._reasons)
            self._on_progress(self._bytes, stream.total_bytes)
            try:
                with await asyncio.to_thread(self._partial.open, "r+b" if self._bytes else "wb") as file:
                    file.seek(self._bytes)
                    async for chunk in stream.chunks:
                        self._check_size(self._bytes + len(chunk))
                        await asyncio.to_thread(self._write, file, chunk)
                        self._on_progress(self._bytes, stream.total_bytes)
                        # Between chunks, each of which has its own limit: a write that is cut off could not be gone on from.
                        if asyncio.get_running_loop().time() > until and self._bytes != stream.total_bytes:
                            raise _late(self._shown)
            except OSError as error:
                raise self._disk_error(error) from error
            if self._bytes < stream.total_bytes:
                raise stores.StoreError(
                    stores.Fault.UNREACHABLE,
                    f"GET {self._shown}: the connection ended after {self._bytes} of {stream.total_bytes} bytes",
                )
        await asyncio.to_thread(self._partial.replace, self._target)

    def _write(self, file: BinaryIO, chunk: bytes) -> None:
        file.write(chunk)
        self._hash.update(chunk)
        self._bytes += len(chunk)

    def _restart(self) -> None:
        self._bytes = 0
        self._validator = ""
        self._hash = hashlib.sha256()

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._limit_bytes:
            self._restart()
            raise errors.BlockedError(
                self._reasons.too_large,
                f"{self._shown} has more than {self._limit_bytes} bytes, the limit{RETRIED}",
            )

    def _disk_error(self, error: OSError) -> errors.BlockedError:
        self._restart()
        why = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        return errors.BlockedError(
            self._reasons.no_room,
            f"{self._shown} cannot be written to {self._partial.parent}: {why}{RETRIED}",
        )


def _late(shown: str) -> stores.StoreError:
    return stores.StoreError(stores.Fault.UNREACHABLE, f"GET {shown}: not all bytes came within the time limit")


async def _only_file(uri: str) -> stores.Store:
    """Return the store of a URI that names a file."""
    listing = await opening.source_of(uri).listing()
    if listing.is_folder:
        raise stores.StoreError(stores.Fault.UNUSABLE, f"{stores.shown(uri)} is a folder; expected one file")
    return listing.entries[0].store

"""One object into one file, however long it takes.

Trouble around the bytes is told and tried again for ever, with growing pauses; what was fetched is kept and gone on
from where the store can tell that it is still the same object. The digest grows with the bytes, so that nothing is read
twice. What the bytes mean is for the caller to judge.
"""

import asyncio
import errno
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from leadline_runtime import errors, logs
from leadline_runtime.fetch import stores

PAUSE_SECONDS_FIRST: Final = 0.5
PAUSE_SECONDS_MAX: Final = 15.0
RETRIED: Final = f"; tried again at least every {PAUSE_SECONDS_MAX:g} s"
"""How messages of trouble end: constant, because a condition must not change with every try."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """How trouble is called: a model's differs from a test set's."""

    not_found: str
    access_denied: str
    unreachable: str
    too_large: str


MODEL: Final = Reasons("ModelNotFound", "ModelAccessDenied", "ModelStoreUnreachable", "ModelTooLarge")
TEST_SET: Final = Reasons("TestSetNotFound", "TestSetAccessDenied", "TestSetUnreachable", "InvalidTestSet")


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
    ) -> None:
        """Prepare a transfer; `store` holds the object where the URI alone does not tell how to ask for it."""
        self._uri = uri
        self._store = store
        self._shown = stores.shown(uri)
        self._target = target
        self._partial = target.with_name(target.name + ".partial")
        self._reasons = reasons
        self._limit_bytes = limit_bytes
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._bytes = 0
        self._validator = ""
        self._hash = hashlib.sha256()

    async def run(self) -> str:
        """Return `sha256:<hex>` of the bytes once they are all in the file."""
        failures = 0
        while True:
            before = self._bytes
            try:
                return await self.once()
            except errors.BlockedError as error:
                trouble = error
            # A transfer that gets on is no reason for longer pauses.
            failures = 1 if self._bytes > before else failures + 1
            if failures == 1:
                logs.warning("fetch interrupted", reason=trouble.trouble.reason, message=trouble.trouble.message)
            self._on_trouble(trouble)
            pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(failures - 1, 10))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret

    async def once(self) -> str:
        """Return `sha256:<hex>` of the bytes after a single try; a later one goes on where it ended.

        Raises:
            BlockedError: They did not all come.
        """
        while True:
            try:
                await self._try()
            except stores.ChangedError:
                self._restart()
            except stores.StoreError as error:
                raise errors.BlockedError(self._reason(error.fault), f"{error}{RETRIED}") from error
            else:
                return f"sha256:{self._hash.hexdigest()}"

    async def _try(self) -> None:
        store = self._store or stores.open_store(self._uri)
        async with store.open(self._bytes if self._validator else 0, self._validator) as stream:
            if stream.start != self._bytes or not self._validator:
                self._restart()
            self._validator = stream.validator
            self._check_size(stream.total_bytes)
            self._on_progress(self._bytes, stream.total_bytes)
            try:
                with await asyncio.to_thread(self._partial.open, "r+b" if self._bytes else "wb") as file:
                    file.seek(self._bytes)
                    async for chunk in stream.chunks:
                        self._check_size(self._bytes + len(chunk))
                        await asyncio.to_thread(self._write, file, chunk)
                        self._on_progress(self._bytes, stream.total_bytes)
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
            self._reasons.too_large,
            f"{self._shown} cannot be written to {self._partial.parent}: {why}{RETRIED}",
        )

    def _reason(self, fault: stores.Fault) -> str:
        return {
            stores.Fault.NOT_FOUND: self._reasons.not_found,
            stores.Fault.ACCESS_DENIED: self._reasons.access_denied,
            stores.Fault.UNREACHABLE: self._reasons.unreachable,
        }[fault]


async def digest_of(path: Path) -> str:
    """Return `sha256:<hex>` of a file; empty if it is not there."""
    return await asyncio.to_thread(_digest_of, path)


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return ""

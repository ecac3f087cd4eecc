"""Model bytes by their SHA-256, on the volume.

    blobs/ab/ab12...      the bytes; modification time: when somebody last used them
    references/NS/ab12... an empty file: this namespace put them, so it may read them
    incoming/             what is being put; emptied at start

A blob is complete or not there: bytes go to a file in incoming/, are checked, synced and renamed. A namespace has to
bring the bytes even where another one did before, for who knows a digest only must not get the model. Where there is no
room, blobs that nobody used for `keep_days` go, longest unused first.

Blocking calls run on threads; only `serving` knows HTTP.
"""

import asyncio
import errno
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leadline_ledger import errors, logs
from leadline_ledger.blobs import receiving
from leadline_ledger.blobs.kept import Found, name_of

_TOUCH_SECONDS: Final = 3_600.0
"""Use is noted this exactly, so that reading writes next to nothing."""
_DAY_SECONDS: Final = 86_400.0


@dataclass(slots=True)
class _Blob:
    size: int
    used_at: float
    """Seconds since the epoch."""


class VolumeBlobs:
    """See `kept.Blobs`, which this is one of: those of one volume."""

    def __init__(
        self, folder: Path, *, clock: Callable[[], float], blob_max_bytes: int, blobs_max_bytes: int, keep_days: int
    ) -> None:
        """Set up, without looking at the volume.

        Args:
            folder: Of the ledger.
            clock: Seconds since the epoch.
            blob_max_bytes: Largest blob.
            blobs_max_bytes: Of all together.
            keep_days: A blob that was not used for so long may go.
        """
        self._folder = folder
        self._clock = clock
        self._blob_max_bytes = blob_max_bytes
        self._blobs_max_bytes = blobs_max_bytes
        self._keep_seconds = keep_days * _DAY_SECONDS
        self._known: dict[str, _Blob] = {}
        self._promised_bytes = 0
        self._uploads = 0
        self._changing = asyncio.Lock()
        """Held while a blob gets its name or goes: else one could go that comes anew at the same moment."""
        self.trouble = "blobs are being looked at"

    @property
    def held_bytes(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self._known.values())

    async def open(self) -> None:
        """Look what is there; where that is not possible, `trouble` says why and it can be called again."""
        try:
            self._known = await asyncio.to_thread(self._look)
            self.trouble = ""
        except OSError as error:
            trouble = f"{error.filename or self._folder}: {error.strerror}"
            if trouble != self.trouble:
                logs.warning("cannot use the blobs", reason=trouble)
            self.trouble = trouble

    async def put(self, namespace: str, digest: str, size: int, chunks: AsyncIterator[bytes]) -> bool:
        """Keep bytes; return whether this is new to the namespace.

        Raises:
            BadInputError: The digest is none, or other bytes came.
            BusyError: Too many are being put already.
            FullError: There is no room, and nothing that may go.
            UnavailableError: The volume cannot be used.
        """
        name = name_of(digest)
        self._check_trouble()
        receiving.check(size, self._uploads, largest=self._blob_max_bytes)
        self._uploads += 1
        self._promised_bytes += size
        temporary = self._folder / "incoming" / secrets.token_hex(16)
        try:
            await self._make_room(name, size)
            await receiving.receive(temporary, name, size, chunks)
            async with self._changing:
                new = not self._reference(namespace, name).exists()
                await asyncio.to_thread(self._settle, temporary, namespace, name)
                self._known[name] = _Blob(size, self._clock())
        except OSError as error:
            raise _meaning(error, temporary) from error
        finally:
            self._uploads -= 1
            self._promised_bytes -= size
            await asyncio.to_thread(temporary.unlink, missing_ok=True)
        return new

    async def find(self, namespace: str, digest: str) -> Found:
        """Return a blob that the namespace put.

        Raises:
            NotFoundError: It put none of that digest.
            UnavailableError: The volume cannot be used.
        """
        name = name_of(digest)
        self._check_trouble()
        blob = self._known.get(name)
        try:
            if blob is None or not await asyncio.to_thread(self._reference(namespace, name).exists):
                raise errors.NotFoundError(f"namespace {namespace} has put no blob {digest}")
            now = self._clock()
            if now > blob.used_at + _TOUCH_SECONDS:
                blob.used_at = now
                await asyncio.to_thread(os.utime, self._path(name), (now, now))
        except OSError as error:
            raise _meaning(error, self._path(name)) from error
        return Found(blob.size, path=self._path(name))

    def _check_trouble(self) -> None:
        if self.trouble:
            raise errors.UnavailableError(self.trouble)

    def _path(self, name: str) -> Path:
        return self._folder / "blobs" / name[:2] / name

    def _reference(self, namespace: str, name: str) -> Path:
        return self._folder / "references" / namespace / name

    def _look(self) -> dict[str, _Blob]:
        incoming = self._folder / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        for folder in (incoming, self._folder / "blobs", self._folder / "references"):
            folder.mkdir(parents=True, exist_ok=True)
        found = {}
        for path in (self._folder / "blobs").glob("??/*"):
            state = path.stat()
            found[path.name] = _Blob(state.st_size, state.st_mtime)
        return found

    async def _make_room(self, name: str, size: int) -> None:
        """Let the longest unused blobs go until there is room for what was promised, this one's bytes included."""
        oldest_first = sorted(self._known.items(), key=lambda item: item[1].used_at)
        unused_since = self._clock() - self._keep_seconds
        known_already = size if name in self._known else 0
        for candidate, _ in oldest_first:
            if self.held_bytes + self._promised_bytes - known_already <= self._blobs_max_bytes:
                return
            async with self._changing:
                kept = self._known.get(candidate)
                if kept is None or kept.used_at >= unused_since or candidate == name:
                    continue
                await asyncio.to_thread(self._remove, candidate)
                del self._known[candidate]
            logs.info("removed an unused blob", digest=f"sha256:{candidate}", bytes=kept.size)
        held = self.held_bytes
        if held + self._promised_bytes - known_already > self._blobs_max_bytes:
            raise errors.FullError(
                f"no room for a blob of {size} bytes: blobs hold {held} bytes, limit {self._blobs_max_bytes}, and none "
                f"was unused for {self._keep_seconds / _DAY_SECONDS:.0f} days; raise LEADLINE_LEDGER_BLOBS_MAX_BYTES"
            )

    def _settle(self, temporary: Path, namespace: str, name: str) -> None:
        """Give complete bytes their name, then the namespace its reference; both outlive a loss of power."""
        path, reference = self._path(name), self._reference(namespace, name)
        for target in (path, reference):
            if not target.parent.is_dir():
                target.parent.mkdir()
                _sync_folder(target.parent.parent)
        temporary.rename(path)
        _sync_folder(path.parent)
        now = self._clock()
        os.utime(path, (now, now))
        reference.touch()
        _sync_folder(reference.parent)

    def _remove(self, name: str) -> None:
        for namespace in (self._folder / "references").iterdir():
            (namespace / name).unlink(missing_ok=True)
        self._path(name).unlink(missing_ok=True)


def _meaning(error: OSError, path: Path) -> errors.LedgerError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return errors.FullError(f"{path.parent}: the volume is full ({error.strerror})")
    return errors.UnavailableError(f"{path.parent}: {error.strerror or error}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""All files of a model into one folder, however long it takes.

The listing says what there is; each file comes by a `transfer`, archives are unpacked, and what is known afterwards is a
`folders.Model`: paths, sizes and one digest. A later try asks for the listing again and keeps each file that is still the
same one. Nothing is at the target before everything is. What the files mean is for the caller to judge.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leadline_runtime import errors
from leadline_runtime.fetch import folders, opening, stores, transfer, unpacking

PARTIAL: Final = ".partial"
"""Ending of the folder while it is filled."""
PIECES: Final = ".pieces"
"""Ending of the folder of files and archives on their way: a model's files may have any name, so none of ours is among them."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was fetched."""

    model: folders.Model
    resolved: str
    """What the URI's name stood for, where it may move."""


class Gathering:
    """Fetches what a URI names, with all tries."""

    def __init__(
        self,
        uri: str,
        target: Path,
        *,
        limit_bytes: int,
        try_seconds: float,
        on_progress: Callable[[int, int], None],
        on_trouble: Callable[[errors.BlockedError], None],
        source: stores.Source | None = None,
    ) -> None:
        """Prepare to fill a folder.

        Args:
            uri: What to fetch.
            target: The folder; replaced as a whole, in the end.
            limit_bytes: Of all files together.
            try_seconds: Longest single try; what is there then is kept for the next one.
            on_progress: Told of bytes done and bytes to do; 0: not known.
            on_trouble: Told of each try that came to nothing.
            source: Where the URI alone does not tell how to ask.
        """
        self._uri = uri
        self._source = source
        self._shown = stores.shown(uri)
        self._target = target
        self._folder = target.with_name(target.name + PARTIAL)
        self._pieces = target.with_name(target.name + PIECES)
        self._limit_bytes = limit_bytes
        self._try_seconds = try_seconds
        self._on_progress = on_progress
        self._on_trouble = on_trouble
        self._transfers: dict[str, tuple[str, int, transfer.Transfer]] = {}
        """By path: version and size as listed when it began."""
        self._files: dict[str, folders.File] = {}
        """Those that are complete."""
        self._total_bytes = 0

    async def run(self) -> Found:
        """Return what was fetched, once everything is in the folder."""
        return await transfer.persist(self.once, progress=self._bytes_done, on_trouble=self._on_trouble)

    async def once(self) -> Found:
        """Return what was fetched after a single try.

        Raises:
            BlockedError: Not everything came.
        """
        until = asyncio.get_running_loop().time() + self._try_seconds
        try:
            listing = await self._listed(until)
            found = [await self._fetched(entry, listing, until) for entry in listing.entries]
            if any(entry.packed for entry in listing.entries):
                found = await asyncio.to_thread(self._unpacked, listing)
            model = folders.of_files(found, is_folder=listing.is_folder)
        except stores.StoreError as error:
            raise self._blocked(transfer.MODEL.of(error.fault), str(error)) from error
        except folders.FolderError as error:
            raise self._blocked(transfer.MODEL.unusable, f"{self._shown}: {error}") from error
        await asyncio.to_thread(self._settle, model)
        return Found(model, listing.resolved)

    async def _listed(self, until: float) -> stores.Listing:
        """Return the listing, checked; forget what is not in it, or not the same any more."""
        source = self._source or opening.source_of(self._uri)
        try:
            async with asyncio.timeout_at(until):
                listing = await source.listing()
        except TimeoutError as error:
            message = f"LIST {self._shown}: no answer within the time limit"
            raise stores.StoreError(stores.Fault.UNREACHABLE, message) from error
        entries = {_path(entry, listing): entry for entry in listing.entries}
        if len(entries) > folders.FILES_MAX:
            raise folders.FolderError(f"has more than {folders.FILES_MAX} files, the limit")
        if listing.is_folder:
            folders.check_paths(entries)
        for path, (version, size, _) in list(self._transfers.items()):
            if path not in entries or (version, size) != (entries[path].version, entries[path].size_bytes):
                del self._transfers[path]
                self._files.pop(path, None)
        self._total_bytes = sum(entry.size_bytes for entry in listing.entries)
        if self._total_bytes > self._limit_bytes:
            raise self._blocked(transfer.MODEL.too_large, self._too_large())
        await asyncio.to_thread(self._make_folder, set(entries) & set(self._transfers))
        lacking = self._total_bytes - self._bytes_done()
        await asyncio.to_thread(transfer.check_room, self._folder, lacking, shown=self._shown, reasons=transfer.MODEL)
        return listing

    def _make_folder(self, kept: set[str]) -> None:
        if not kept:
            shutil.rmtree(self._folder, ignore_errors=True)
            shutil.rmtree(self._pieces, ignore_errors=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._pieces.mkdir(exist_ok=True)
        except OSError as error:
            message = f"{self._shown} cannot be written to {self._folder.parent}: {error.strerror}"
            raise self._blocked(transfer.MODEL.no_room, message) from error

    async def _fetched(self, entry: stores.Entry, listing: stores.Listing, until: float) -> folders.File:
        path = _path(entry, listing)
        if path in self._files:
            return self._files[path]
        others = self._bytes_done() - (self._transfers[path][2].bytes_done if path in self._transfers else 0)
        target = self._archive(path) if entry.packed else self._folder / path
        if path not in self._transfers:
            work = transfer.Transfer(
                self._uri,
                target,
                reasons=transfer.MODEL,
                limit_bytes=self._limit_bytes - others,
                on_progress=lambda done, total: self._on_progress(
                    others + done, self._total_bytes or (total and others + total)
                ),
                on_trouble=self._on_trouble,
                store=entry.store,
                partial=self._piece(path),
            )
            self._transfers[path] = (entry.version, entry.size_bytes, work)
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        work = self._transfers[path][2]
        work.store = entry.store
        digest = await work.once(until)
        if entry.digest and digest != entry.digest:
            del self._transfers[path]
            message = f"GET {self._shown}: the bytes of {path!r} have digest {digest}, the store said {entry.digest}"
            raise stores.StoreError(stores.Fault.UNREACHABLE, message)
        self._files[path] = folders.File(path, digest, work.bytes_done)
        return self._files[path]

    def _unpacked(self, listing: stores.Listing) -> list[folders.File]:
        """Return the files of archives in the place of these."""
        found: list[folders.File] = []
        left = self._limit_bytes
        for entry in listing.entries:
            path = _path(entry, listing)
            if not entry.packed:
                found.append(self._files[path])
                continue
            archive = self._archive(path)
            del self._files[path], self._transfers[path]
            found += unpacking.unpack(archive, self._folder, gzipped=entry.packed == "tar+gzip", limit_bytes=left)
            archive.unlink()
            left = self._limit_bytes - sum(file.size_bytes for file in found)
        return found

    def _settle(self, model: folders.Model) -> None:
        """Put the folder in its place, with the model's files and nothing else.

        Raises:
            BlockedError: One of them is not there.
        """
        wanted = {self._folder / file.path for file in model.files}
        for path in sorted(self._folder.rglob("*"), reverse=True):
            if path.is_symlink() or not path.is_dir():
                if path not in wanted:
                    path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()
        if lost := [path.name for path in wanted if not path.is_file()]:
            self._transfers.clear()
            self._files.clear()
            raise self._blocked(
                transfer.MODEL.unusable, f"{self._shown}: {min(lost)!r} was overwritten by another file"
            )
        shutil.rmtree(self._pieces, ignore_errors=True)
        shutil.rmtree(self._target, ignore_errors=True)
        self._folder.replace(self._target)
        self._transfers.clear()
        self._files.clear()
        self._on_progress(model.size_bytes, model.size_bytes)

    def _piece(self, path: str) -> Path:
        """Return where a file is while it comes."""
        return self._pieces / hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest()

    def _archive(self, path: str) -> Path:
        """Return where an archive is until it is unpacked."""
        return self._piece(path).with_suffix(".archive")

    def _bytes_done(self) -> int:
        return sum(work.bytes_done for _, _, work in self._transfers.values())

    def _too_large(self) -> str:
        return f"{self._shown} has more than {self._limit_bytes} bytes, the limit"

    def _blocked(self, reason: str, message: str) -> errors.BlockedError:
        return errors.BlockedError(reason, message + transfer.RETRIED)


def _path(entry: stores.Entry, listing: stores.Listing) -> str:
    return entry.path if listing.is_folder else folders.FILE_NAME

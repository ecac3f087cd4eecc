"""Captured files in the ledger's folder or bucket, whichever has the model bytes: obstore reads and writes both.

A file comes into being whole or not at all, and is never changed. Nothing else is written down: the listing says what there is.
Captures are worth less than outcomes, so on a volume they leave room: where it is nearly full, none are taken.

Must not know what is in a file.
"""

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from leadline_ledger import errors, logs
from leadline_ledger.captures import merging, naming

_CALL_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10
_LIST_PAGE: Final = 1_000
_FREE_SHARE: Final = 0.1
"""Of a volume: left to outcomes and model bytes."""
_ALLOW_HTTP: Final = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
FILES_MAX: Final = 20_000
"""Of one ModelDeployment; beyond it the oldest go."""


class Captures:
    """Keeps files; models are `namespace/name`."""

    def __init__(self, folder: Path, uri: str, *, clock_ms: Callable[[], int], most_bytes: int) -> None:
        """Set up, without touching anything.

        Args:
            folder: The ledger's own.
            uri: Of a bucket; empty: the folder.
            clock_ms: The time, in milliseconds since the epoch.
            most_bytes: Of all files together; beyond it the oldest go. 0: no limit.
        """
        self._folder = folder
        self._uri = uri.rstrip("/")
        self._clock_ms = clock_ms
        self._most_bytes = most_bytes
        self._made: Any = None
        self._sizes: dict[str, int] = {}
        """Bytes by ModelDeployment, as far as known: others may write, too, and `tidy` looks anew."""
        self._limits: dict[str, int] = {}
        self.trouble = ""
        """What went wrong last, for the log and `/metrics`; never keeps the ledger from being ready."""
        self.held_bytes = 0
        """Of all files, when `tidy` looked last."""
        self.counts: Counter[str] = Counter()
        """Files: `kept`, `merged`, `deleted`."""

    async def put(self, path: str, content: bytes, *, model: str, most_bytes: int) -> None:
        """Keep a file; the same one again is the same.

        Args:
            path: As `naming.path_of` makes it.
            content: Of the file.
            model: Whose it is.
            most_bytes: Of all files of this ModelDeployment; the oldest go.

        Raises:
            FullError: The volume is nearly full.
            UnavailableError: It cannot be used now.
        """
        if not self._uri:
            await asyncio.to_thread(self._check_room, len(content))
        await self._ask(_obstore().put_async(self._store(), path, content))
        self.counts["kept"] += 1
        self._limits[model] = most_bytes
        if model not in self._sizes:
            self._sizes[model] = sum(file.size_bytes for file in await self.files(model))
        else:
            self._sizes[model] += len(content)
        if self._sizes[model] > most_bytes:
            await self._trim(model, most_bytes)

    async def files(self, model: str, first_ms: int = 0, last_ms: int = (1 << 48) - 1) -> list[naming.File]:
        """Return the files that may hold predictions of a stretch of time, oldest first.

        Raises:
            UnavailableError: It cannot be used now.
        """
        found = await self._list(naming.folder_of(model))
        now_ms = self._clock_ms()
        fitting = [
            file for file in found if file.first_ms <= last_ms and file.last_ms >= first_ms and file.expires_ms > now_ms
        ]
        return sorted(fitting, key=lambda file: (file.first_ms, file.path))

    async def read(self, file: naming.File) -> bytes | None:
        """Return a file's bytes; None: it is gone by now.

        Raises:
            UnavailableError: It cannot be used now.
        """
        try:
            found = await self._ask(_obstore().get_async(self._store(), file.path))
            return bytes(await self._ask(found.bytes_async()))
        except errors.NotFoundError:
            return None

    async def tidy(self) -> None:
        """Delete what is past its age, and the oldest where there is too much, and merge small files; trouble is logged once."""
        if self._made is None and not self._uri and not (self._folder / naming.ROOT).exists():
            return
        try:
            every = await self._list(f"{naming.ROOT}/")
            now_ms = self._clock_ms()
            by_model: dict[str, list[naming.File]] = {}
            for file in every:
                by_model.setdefault(file.model, []).append(file)
            gone = naming.to_delete(every, now_ms=now_ms, most_bytes=self._most_bytes)
            for model, files in by_model.items():
                gone += naming.to_delete(files, now_ms=now_ms, most_bytes=self._limits.get(model, 0))
                gone += sorted(files, key=lambda file: file.last_ms)[: max(0, len(files) - FILES_MAX)]
            await self._delete(gone)
            left = {file.path for file in every} - {file.path for file in gone}
            self._sizes = {
                model: sum(file.size_bytes for file in files if file.path in left) for model, files in by_model.items()
            }
            self.held_bytes = sum(self._sizes.values())
            for group in merging.groups((file for file in every if file.path in left), now_ms=now_ms):
                await self._merge(group)
            self.trouble = ""
        except errors.UnavailableError as error:
            if str(error) != self.trouble:
                self.trouble = str(error)
                logs.warning("captured inputs cannot be tidied", reason=self.trouble)

    # Inside

    async def _trim(self, model: str, most_bytes: int) -> None:
        files = await self._list(naming.folder_of(model))
        gone = naming.to_delete(files, now_ms=self._clock_ms(), most_bytes=most_bytes)
        await self._delete(gone)
        self._sizes[model] = sum(file.size_bytes for file in files) - sum(file.size_bytes for file in gone)

    async def _merge(self, group: list[naming.File]) -> None:
        """Put one file in the place of many; whatever ends this midway, no row is lost or counted twice."""
        contents = [await self.read(file) for file in group]
        made = await asyncio.to_thread(merging.merged, group, contents)
        if made is None:
            return
        path, content = made
        await self._ask(_obstore().put_async(self._store(), path, content))
        self.counts["merged"] += 1
        # What cannot be read stays where it is, for whoever wants to look at it.
        await self._delete([file for file, found in zip(group, contents, strict=True) if found and file.path != path])

    async def _delete(self, files: list[naming.File]) -> None:
        for path in sorted({file.path for file in files}):
            try:
                await self._ask(_obstore().delete_async(self._store(), path))
                self.counts["deleted"] += 1
            except errors.NotFoundError:
                continue

    async def _list(self, prefix: str) -> list[naming.File]:
        found: list[naming.File] = []
        stream = _obstore().list(self._store(), prefix=prefix, chunk_size=_LIST_PAGE)
        while True:
            try:
                page = await self._ask(anext(stream))
            except StopAsyncIteration:
                return found
            found += [file for each in page if (file := naming.read(each["path"], each["size"])) is not None]

    def _store(self) -> Any:
        if self._made is None:
            from obstore import exceptions  # noqa: PLC0415 - as below
            from obstore.store import LocalStore, from_url  # noqa: PLC0415 - 20 MB, by the first capture alone

            try:
                if self._uri:
                    scheme = self._uri.partition(":")[0]
                    self._made = from_url(
                        self._uri,
                        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_CALL_SECONDS)},
                        client_options={
                            "allow_http": os.environ.get(_ALLOW_HTTP[scheme], "").lower() in ("true", "1"),
                            "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                        },
                    )
                else:
                    self._made = LocalStore(self._folder, automatic_cleanup=True, mkdir=True)
            except (exceptions.BaseError, ValueError, OSError) as error:
                raise errors.UnavailableError(f"{self._uri or self._folder}: {_said(error)}") from error
        return self._made

    async def _ask(self, call: Any) -> Any:
        from obstore import exceptions  # noqa: PLC0415 - 20 MB, by the first capture alone

        try:
            async with asyncio.timeout(_CALL_SECONDS):
                return await call
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise errors.NotFoundError(f"{self._uri or self._folder}: {_said(error)}") from error
        except (exceptions.BaseError, OSError) as error:
            raise errors.UnavailableError(f"{self._uri or self._folder}: {_said(error)}") from error

    def _check_room(self, size: int) -> None:
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError as error:
            raise errors.UnavailableError(f"{self._folder}: {error.strerror}") from error
        least = int(usage.total * _FREE_SHARE)
        if usage.free - size < least:
            raise errors.FullError(
                f"{self._folder}: {usage.free} bytes of the volume are free; captured inputs leave {least} to outcomes"
            )


def _obstore() -> Any:
    import obstore  # noqa: PLC0415 - 20 MB, by the first capture alone

    return obstore


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition("?")[0][:300]

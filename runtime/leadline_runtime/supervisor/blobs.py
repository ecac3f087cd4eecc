"""The model's bytes in the ledger's blob store: kept there once they are trusted, fetched from there when need be.

A folder is kept as a blob for each file, and its manifest, whose digest is the folder's.

So that going back works after a file was deleted or exchanged at its URI. Nothing is fetched by a digest that nobody
vouched for, and what comes is believed only by its digest. Keeping is of low priority: once, after the model serves,
tried again with growing pauses. Must not decide what is loaded.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from leadline_runtime import errors, logs, settings
from leadline_runtime.fetch import calls, folders, gathering, stores, web
from leadline_runtime.supervisor.pod import Pod

PAUSE_SECONDS_FIRST: Final = 5.0
PAUSE_SECONDS_MAX: Final = 300.0


class Blobs:
    """The way to and from the blob store."""

    def __init__(self, config: settings.Settings, pod: Pod) -> None:
        self._config = config
        self._pod = pod
        self._known = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Return where the ledger is; empty: nobody has said."""
        outcomes = self._pod.outcomes
        told = outcomes.ledger.rstrip("/") if outcomes is not None else ""
        return told or self._config.ledger_url

    def news(self) -> None:
        """Note that an exchange may have said where the ledger is."""
        if self.url:
            self._known.set()

    async def fetch(self, digest: str, target: Path) -> folders.Model | None:
        """Try once to have the model of a digest in a folder; None: it is not to be had."""
        if not (self.url and digest):
            return None
        try:
            found = await gathering.Gathering(
                self._place(digest),
                target,
                limit_bytes=self._config.max_model_bytes,
                try_seconds=self._config.fetch_timeout_seconds,
                on_progress=_ignore,
                on_trouble=_ignore,
                source=_Kept(self, digest),
            ).once()
        except errors.BlockedError as error:
            logs.info("blob store does not have the model", reason=error.trouble.message)
            return None
        if found.model.digest != digest:
            logs.warning("blob store gave other bytes, which are not used", expected=digest, got=found.model.digest)
            return None
        return found.model

    def settle(self, source: Path, target: Path) -> None:
        """Put a folder in the place of another one."""
        shutil.rmtree(target, ignore_errors=True)
        source.replace(target)

    def keep(self, model: folders.Model, folder: Path) -> None:
        """See to it that trusted bytes are in the blob store; once."""
        if self._task is None:
            self.news()
            self._task = asyncio.get_running_loop().create_task(self._keep(model, folder))

    def store(self, digest: str) -> web.WebStore:
        """Return the store of one blob."""
        return web.WebStore(self._place(digest), headers=self._authorization())

    def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self, model: folders.Model, folder: Path) -> None:
        await self._known.wait()
        pause = PAUSE_SECONDS_FIRST
        # Files first: whoever finds a manifest finds them as well.
        blobs: list[tuple[str, Path | bytes]] = [(file.digest, folder / file.path) for file in model.files]
        if model.is_folder:
            blobs.append((model.digest, folders.manifest(model.files)))
        while True:
            try:
                for digest, content in blobs:
                    if not await calls.exists(self._place(digest), self._authorization()):
                        await calls.put(self._place(digest), content, self._authorization())
                        logs.info("model kept in the blob store", digest=digest)
            except stores.StoreError as error:
                if pause == PAUSE_SECONDS_FIRST:
                    logs.warning("model not kept in the blob store yet", reason=str(error))
            else:
                return
            await asyncio.sleep(pause)
            pause = min(PAUSE_SECONDS_MAX, 2 * pause)

    def _place(self, digest: str) -> str:
        return f"{self.url}/v1/namespaces/{self._config.namespace or 'default'}/blobs/{digest}"

    def _authorization(self) -> dict[str, str]:
        try:
            token = self._config.ledger_token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return {}
        return {"authorization": f"Bearer {token}"} if token else {}


class _Kept:
    """What the blob store has under a digest: a file, or a folder's manifest, whose files are blobs as well."""

    def __init__(self, blobs: Blobs, digest: str) -> None:
        self._blobs = blobs
        self._digest = digest

    async def listing(self) -> stores.Listing:
        """Look at the first bytes; the digests say whether all of it is what it should be."""
        store = self._blobs.store(self._digest)
        content = bytearray()
        async with store.open(0, "") as stream:
            async for chunk in stream.chunks:
                content += chunk
                is_manifest = content.startswith(folders.HEADER)
                if len(content) >= len(folders.HEADER) and not is_manifest:
                    break
                if len(content) > folders.MANIFEST_BYTES_MAX:
                    break
        if not content.startswith(folders.HEADER):
            entry = stores.Entry("", store, version=self._digest)
            return stores.Listing((entry,), is_folder=False)
        try:
            files = folders.parse(bytes(content))
        except folders.FolderError as error:
            raise stores.StoreError(stores.Fault.UNUSABLE, f"blob {self._digest}: {error}") from error
        entries = tuple(
            stores.Entry(file.path, self._blobs.store(file.digest), file.size_bytes, file.digest, file.digest)
            for file in files
        )
        return stores.Listing(entries, is_folder=True)


def _ignore(*_: object) -> None:
    """Take what is told of a single try: its outcome is all that counts."""

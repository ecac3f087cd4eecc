"""The model's bytes in the ledger's blob store: kept there once they are trusted, fetched from there when need be.

So that going back works after a file was deleted or exchanged at its URI. Nothing is fetched by a digest that nobody
vouched for, and what comes is believed only by its digest. Keeping is of low priority: once, after the model serves,
tried again with growing pauses. Must not decide what is loaded.
"""

import asyncio
from pathlib import Path
from typing import Final

from leadline_runtime import errors, logs, settings
from leadline_runtime.fetch import stores, transfer, web
from leadline_runtime.supervisor.pod import Pod

PAUSE_SECONDS_FIRST: Final = 5.0
PAUSE_SECONDS_MAX: Final = 300.0
_REASONS: Final = transfer.MODEL


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

    async def fetch(self, digest: str, target: Path) -> bool:
        """Try once to have the bytes of a digest; return whether they are in the file."""
        if not (self.url and digest):
            return False
        place = self._place(digest)
        try:
            found = await transfer.Transfer(
                place,
                target,
                reasons=_REASONS,
                limit_bytes=self._config.max_model_bytes,
                on_progress=_ignore,
                on_trouble=_ignore,
                store=web.WebStore(place, self._authorization()),
            ).once()
        except errors.BlockedError as error:
            logs.info("blob store does not have the model", reason=error.trouble.message)
            return False
        if found != digest:
            logs.warning("blob store gave other bytes, which are not used", expected=digest, got=found)
        return found == digest

    def keep(self, path: Path, digest: str) -> None:
        """See to it that trusted bytes are in the blob store; once."""
        if self._task is None:
            self.news()
            self._task = asyncio.get_running_loop().create_task(self._keep(path, digest))

    def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self, path: Path, digest: str) -> None:
        await self._known.wait()
        pause = PAUSE_SECONDS_FIRST
        while True:
            place, authorization = self._place(digest), self._authorization()
            try:
                if not await web.exists(place, authorization):
                    await web.put(place, path, authorization)
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

    def _authorization(self) -> str:
        try:
            token = self._config.ledger_token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return f"Bearer {token}" if token else ""


def _ignore(*_: object) -> None:
    """Take what is told of a single try: its outcome is all that counts."""

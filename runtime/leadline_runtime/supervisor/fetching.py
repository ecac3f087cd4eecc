"""The model's bytes, from its URI or from the ledger, whichever has the right ones first.

The URI is asked for ever. Beside it, where there is a digest to trust, the ledger's blob store is asked each time that a
try comes to nothing, and where the URI is so slow that the ledger may well be faster. What comes is in the model's folder
as a whole, or not there. Next step: `loading`, which judges what it is.
"""

import asyncio
import shutil
from collections.abc import Callable

from leadline_wire import exchange

from leadline_runtime import errors, logs, settings
from leadline_runtime.fetch import folders, gathering, stores
from leadline_runtime.supervisor.blobs import Blobs
from leadline_runtime.supervisor.pod import Pod


class Fetching:
    """Brings the bytes."""

    def __init__(
        self,
        config: settings.Settings,
        pod: Pod,
        blobs: Blobs,
        *,
        trusted: Callable[[], str],
        on_trouble: Callable[[errors.BlockedError], None],
    ) -> None:
        """Set up.

        Args:
            config: Of the process.
            pod: Is told of progress, and why the URI was not taken.
            blobs: The ledger's.
            trusted: Returns the digest that is believed now; empty: none yet.
            on_trouble: Told of each try at the URI that came to nothing.
        """
        self._config = config
        self._pod = pod
        self._blobs = blobs
        self._trusted = trusted
        self._tell_trouble = on_trouble
        self._troubled = asyncio.Event()
        self._began = 0.0
        self.folder = config.data_dir / "model"
        self._aside = config.data_dir / "model-of-ledger"
        self.came_from_ledger = False

    async def run(self) -> folders.Model:
        """Return the model once all of it is in the folder."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self.came_from_ledger = False
        work = gathering.Gathering(
            self._config.model_uri,
            self.folder,
            limit_bytes=self._config.max_model_bytes,
            try_seconds=self._config.fetch_timeout_seconds,
            on_progress=self._progress,
            on_trouble=self._blocked,
        )
        asked = loop.create_task(work.run())
        beside = loop.create_task(self._beside())
        try:
            await asyncio.wait({asked, beside}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                found = asked.result()
                logs.info(
                    "model fetched",
                    uri=stores.shown(self._config.model_uri),
                    bytes=found.model.size_bytes,
                    files=len(found.model.files),
                    digest=found.model.digest,
                    resolved=found.resolved,
                )
                self._pod.resolved = found.resolved
                return found.model
            # It must not put other bytes in the place of these.
            asked.cancel()
            await asyncio.wait({asked})
            return await self._take(beside.result(), self._pod.trouble or self._slow())
        finally:
            asked.cancel()
            beside.cancel()
            await asyncio.wait({asked, beside})
            await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        """Give back the disk that the other way has taken."""
        for folder in (self.folder, self._aside):
            for ending in (gathering.PARTIAL, gathering.PIECES):
                shutil.rmtree(folder.with_name(folder.name + ending), ignore_errors=True)
        shutil.rmtree(self._aside, ignore_errors=True)

    async def from_ledger(self, instead: exchange.Trouble) -> folders.Model | None:
        """Have the trusted bytes from the ledger in the place of those that are here; None: it does not give them."""
        model = await self._blobs.fetch(self._trusted(), self._aside)
        return None if model is None else await self._take(model, instead)

    async def _beside(self) -> folders.Model:
        """Return what the ledger has as soon as it is asked and has it."""
        while True:
            if await self._is_time():
                model = await self._blobs.fetch(self._trusted(), self._aside)
                if model is not None:
                    return model

    async def _is_time(self) -> bool:
        """Wait until a try came to nothing, or for a while; tell whether the ledger should be asked now."""
        try:
            async with asyncio.timeout(self._config.ledger_after_seconds):
                await self._troubled.wait()
        except TimeoutError:
            return self._is_slow()
        self._troubled.clear()
        return True

    def _is_slow(self) -> bool:
        """Tell whether the URI will take longer than the ledger is given for: by what came, and in which time."""
        done, total = self._pod.bytes_done, self._pod.bytes_total
        elapsed = asyncio.get_running_loop().time() - self._began
        return done == 0 or total <= done or (total - done) * elapsed / done > self._config.ledger_after_seconds

    async def _take(self, model: folders.Model, instead: exchange.Trouble) -> folders.Model:
        pod = self._pod
        await asyncio.to_thread(self._blobs.settle, self._aside, self.folder)
        self.came_from_ledger = True
        pod.uri_trouble = instead
        pod.bytes_done = pod.bytes_total = model.size_bytes
        logs.warning(
            "model fetched from the ledger's blob store instead",
            uri=stores.shown(self._config.model_uri),
            reason=instead.reason,
            digest=model.digest,
        )
        return model

    def _slow(self) -> exchange.Trouble:
        seconds = self._config.ledger_after_seconds
        message = f"GET {stores.shown(self._config.model_uri)}: not all bytes within {seconds:g} s, and more to come"
        return errors.BlockedError("ModelStoreUnreachable", message).trouble

    def _progress(self, done: int, total: int) -> None:
        pod = self._pod
        pod.bytes_done, pod.bytes_total = done, total
        if pod.phase != "Draining" and (pod.trouble is None or pod.trouble.blame == "surroundings"):
            pod.phase = "Fetching"

    def _blocked(self, error: errors.BlockedError) -> None:
        self._troubled.set()
        self._tell_trouble(error)

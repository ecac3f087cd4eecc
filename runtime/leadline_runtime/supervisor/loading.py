"""The way of a model into the worker: fetch, digest, signature, trust, load.

Trouble around the bytes is retried for ever by `fetching`. A finding about them is final for these bytes: the pod
stays failed, looks again only every few minutes whether the right ones are back, and says so all the while. Bytes that
nobody vouched for are not loaded: without a digest to trust the pod waits for an exchange to bring one.
"""

import asyncio
import signal
from pathlib import Path
from typing import Final

from leadline_wire import exchange

from leadline_runtime import errors, logs, messages, settings
from leadline_runtime.fetch import folders, stores
from leadline_runtime.supervisor import fetching, fleet, keeper, signing
from leadline_runtime.supervisor.blobs import Blobs
from leadline_runtime.supervisor.pod import Pod

RECHECK_SECONDS: Final = 300.0
"""How long rejected bytes stay rejected before their place is looked at again."""
KEY_SECONDS: Final = 10.0
"""How often a key that cannot be used is looked at again: the kubelet brings a corrected one within a minute or so."""
_REVISION_FILE_SECONDS: Final = 5.0
"""How often the mounted digest is looked for: the kubelet brings it some time after it was learned."""
_NATIVE_CRASHES: Final = {
    -number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
}


class Loading:
    """Brings one model into the workers."""

    def __init__(self, config: settings.Settings, pod: Pod, workers: fleet.Fleet, blobs: Blobs) -> None:
        self._blobs = blobs
        self._config = config
        self._pod = pod
        self._workers = workers
        self._fetching = fetching.Fetching(config, pod, blobs, trusted=self._trusted, on_trouble=self._blocked)
        self._signatures = signing.Signatures(config, on_trouble=self._blocked)
        self._model: folders.Model | None = None
        self._path = self._fetching.folder / folders.FILE_NAME
        """Of the file that is loaded."""
        self._was_held = False
        """The trusted bytes were there when the container was started again."""
        self._told_digest = ""
        self._news = asyncio.Event()
        self._may_load = False

    async def run(self) -> None:
        """Fetch until the bytes are those that may be loaded."""
        pod = self._pod
        trusted = self._trusted()
        if trusted:
            # The container was restarted, the volume kept: the store may be down by now.
            self._model = await asyncio.to_thread(folders.held, self._fetching.folder, trusted)
            self._was_held = self._model is not None
        while True:
            if self._model is None:
                self._model = await self._fetching.run()
            pod.bytes_done = pod.bytes_total = self._model.size_bytes
            try:
                await self._check(self._model)
                break
            except errors.BlockedError as error:
                self._blocked(error)
                await self._wait(KEY_SECONDS)
                continue
            except errors.RejectedError as error:
                self._fail_finding(error.trouble)
            await self._wait(RECHECK_SECONDS)
            if not pod.digest or pod.digest != self._trusted():
                self._model = None
                pod.digest = ""
        pod.trouble = None
        self._may_load = True
        self._load()

    async def _check(self, model: folders.Model) -> None:
        """Go on once the bytes are those that may be loaded.

        Raises:
            RejectedError: They are not.
            BlockedError: That cannot be found out.
        """
        if self._trusted() and model.digest != self._trusted():
            model = await self._trusted_instead(model)
        name = folders.model_file(model, stores.fragment_of(self._config.model_uri))
        is_learned = (self._fetching.came_from_ledger or self._was_held) and not self._config.model_digest
        is_vouched_for = is_learned and model.digest == self._trusted()
        self._pod.signature = await self._signatures.check(model, name, is_vouched_for=is_vouched_for)
        # Told only now: what is told is learned, and what is learned is believed.
        self._pod.digest = model.digest
        if await self._waited_for_trust() != model.digest:
            model = await self._trusted_instead(model)
            name = folders.model_file(model, stores.fragment_of(self._config.model_uri))
        self._path = self._fetching.folder / name

    async def _trusted_instead(self, model: folders.Model) -> folders.Model:
        """Return the trusted bytes, from the ledger.

        Raises:
            RejectedError: It does not give them.
        """
        self._pod.digest = model.digest
        mismatch = self._mismatch(model.digest)
        found = await self._fetching.from_ledger(mismatch)
        if found is None:
            raise errors.RejectedError(mismatch.reason, mismatch.message)
        self._model = found
        return found

    def take_digest(self, digest: str) -> None:
        """Take the digest that an exchange brought; one in the environment or the revision's folder comes first."""
        if not settings.is_digest(digest) or digest == self._told_digest:
            return
        self._told_digest = digest
        self._news.set()
        if self._may_load and digest != self._pod.digest:
            logs.warning("the operator names another digest than the one that is loaded", told=digest)

    def ledger_known(self) -> None:
        """Look at rejected bytes again: an exchange has said where trusted ones may be."""
        self._news.set()

    def worker_loaded(self, message: messages.Loaded) -> None:
        """Note that the model is served, by as many workers as there are to be."""
        self._pod.model = message.model
        self._pod.trouble = None
        if self._pod.phase != "Draining":
            self._pod.phase = "Ready"
        if self._model is not None:
            self._blobs.keep(self._model, self._fetching.folder)
        logs.info(
            "model loaded",
            digest=self._pod.digest,
            inline=message.inline,
            workers=len(self._pod.workers),
            threads=message.threads,
            providers=",".join(message.model.providers),
            row_seconds=f"{message.row_seconds:.6f}",
            full_seconds=f"{message.full_seconds:.6f}",
        )

    def worker_refused(self, trouble: exchange.Trouble) -> None:
        """Note that the model cannot be loaded."""
        logs.error("model cannot be loaded", reason=trouble.reason, message=trouble.message)
        self._fail(trouble)

    def workers_ended(self, status: int, crashes: int, *, others_load: bool) -> None:
        """Note that no worker holds the model any more, and judge whether loading is what ends them.

        Args:
            status: Exit status of the last one.
            crashes: How often it ended in a row while it loaded; 0: it did not load.
            others_load: Another worker may hold the model soon, so that it can be loaded.
        """
        pod = self._pod
        if pod.phase == "Ready":
            pod.phase = "Loading"
        elif not others_load and crashes >= fleet.CRASHES_MAX and pod.phase == "Loading":
            self._fail(self._crash_trouble(status, crashes))

    def _load(self) -> None:
        if self._pod.phase != "Draining":
            self._pod.phase = "Loading"
        self._workers.load(str(self._path))

    def _crash_trouble(self, status: int, crashes: int) -> exchange.Trouble:
        times = f"{crashes} times in a row while it loaded {stores.shown(self._config.model_uri)}"
        if status == -signal.SIGKILL:
            return exchange.Trouble(
                reason="RuntimeCrashed",
                message=f"worker was killed {times}, most likely for want of memory; raise spec.runtime.resources",
                blame="surroundings",
            )
        if status in _NATIVE_CRASHES:
            message = f"onnxruntime crashed ({keeper.cause(status)}) {times}"
            return exchange.Trouble(reason="InvalidModel", message=message, blame="model")
        # Whatever else ends a worker is our defect or somebody's doing, and no finding about the model.
        message = f"worker ended ({keeper.cause(status)}) {times}; its log says why"
        return exchange.Trouble(reason="RuntimeCrashed", message=message, blame="surroundings")

    def _blocked(self, error: errors.BlockedError) -> None:
        # A finding about the bytes outweighs that their place cannot be looked at again just now.
        if self._pod.trouble is None or self._pod.trouble.blame == "surroundings":
            self._fail(error.trouble)

    def _fail(self, trouble: exchange.Trouble) -> None:
        self._pod.trouble = trouble
        if self._pod.phase != "Draining":
            self._pod.phase = "Failed"

    def _fail_finding(self, found: exchange.Trouble) -> None:
        again = f"{found.message}; looked at again every {RECHECK_SECONDS:g} s"
        trouble = exchange.Trouble(reason=found.reason, message=again, blame=found.blame)
        if self._pod.trouble != trouble:
            logs.error("model rejected", reason=trouble.reason, message=trouble.message)
        self._fail(trouble)

    def _mismatch(self, digest: str) -> exchange.Trouble:
        found = f"{stores.shown(self._config.model_uri)} has digest {digest}, expected {self._trusted()}"
        return errors.RejectedError("DigestMismatch", found).trouble

    async def _waited_for_trust(self) -> str:
        """Return the digest to trust, once there is one."""
        pod = self._pod
        while not (trusted := self._trusted()):
            pod.trouble = None
            if pod.phase not in {"Draining", "Waiting"}:
                pod.phase = "Waiting"
                logs.info("waits for a digest to trust", digest=pod.digest)
            await self._wait(_REVISION_FILE_SECONDS)
        return trusted

    async def _wait(self, seconds: float) -> None:
        """Wait until an exchange brings another digest, or for so long."""
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    def _trusted(self) -> str:
        """Return the digest that the bytes must have: of the spec, of the revision's folder, or from an exchange."""
        return self._config.model_digest or _digest_in(self._config.revision_dir / "digest") or self._told_digest


def _digest_in(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if settings.is_digest(text) else ""

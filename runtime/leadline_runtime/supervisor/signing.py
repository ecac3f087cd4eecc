"""Whether a model is signed by the key that the spec names, before its digest is told to anybody.

A folder's signature is the file `model.sig` in it, a single file's is beside it, with `.sig` added to its name. None, or
one that does not hold, is a finding about the bytes; a store that does not answer is trouble around them. `fetch.signatures`
knows the rules of the format. A key that cannot be read, or is none, is trouble as well: it says nothing about the model.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from leadline_wire import exchange

from leadline_runtime import errors, settings
from leadline_runtime.fetch import folders, signatures, stores, transfer

_KEPT: Final = "model.sig"
"""A single file's signature, beside its folder, for a container that is started again."""


class Signatures:
    """Checks a model's signature, where one is asked for."""

    def __init__(self, config: settings.Settings, *, on_trouble: Callable[[errors.BlockedError], None]) -> None:
        self._config = config
        self._on_trouble = on_trouble
        self._shown = stores.shown(config.model_uri)
        self._kept = config.data_dir / _KEPT
        self._folder = config.data_dir / "model"

    async def check(self, model: folders.Model, loaded: str, *, is_vouched_for: bool) -> exchange.Signature:
        """Return what is known of a model's signature; go on if it is signed, or none is asked for.

        Args:
            model: What was fetched.
            loaded: The file that is to be loaded.
            is_vouched_for: The bytes are those of the ledger, or of this container before it was started again, by a
                digest that was learned from a pod that had checked their signature; one that is gone, or belongs to the
                next bytes at the URI, is not asked for again.

        Raises:
            RejectedError: It is not signed by the key.
            BlockedError: There is no usable key.
        """
        path = self._config.signature_key_file
        if path is None:
            return ""
        try:
            key = await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise self._no_key(f"it cannot be read: {path}: {error.strerror}") from error
        kept = self._folder / signatures.FILE_NAME if model.is_folder else self._kept
        try:
            return await self._checked(model, loaded, key, kept, is_vouched_for=is_vouched_for)
        except signatures.KeyUnusableError as error:
            raise self._no_key(str(error)) from error

    async def _checked(
        self, model: folders.Model, loaded: str, key: bytes, kept: Path, *, is_vouched_for: bool
    ) -> exchange.Signature:
        if await self._is_kept(kept, key, model, loaded):
            return "Verified"
        if not model.is_folder and not await self._fetch(is_vouched_for=is_vouched_for):
            if is_vouched_for:
                return "Vouched"
            raise self._missing(f"{self._shown}.sig")
        try:
            await asyncio.to_thread(_verify, kept, key, model, loaded)
        except OSError as error:
            raise self._missing(signatures.FILE_NAME) from error
        except signatures.InvalidError as error:
            if is_vouched_for and not model.is_folder:
                return "Vouched"
            raise errors.RejectedError("SignatureInvalid", f"{self._shown}: {error}") from error
        return "Verified"

    async def _is_kept(self, kept: Path, key: bytes, model: folders.Model, loaded: str) -> bool:
        """Tell whether a signature that is here holds: then none is asked for, as after a restart."""
        try:
            await asyncio.to_thread(_verify, kept, key, model, loaded)
        except (OSError, signatures.InvalidError):
            return False
        return True

    async def _fetch(self, *, is_vouched_for: bool) -> bool:
        """Fetch a single file's signature; return whether there is one."""
        work = transfer.Transfer(
            beside(self._config.model_uri),
            self._kept,
            reasons=transfer.MODEL,
            limit_bytes=signatures.BYTES_MAX,
            on_progress=_ignore,
            on_trouble=self._on_trouble,
        )

        async def once() -> bool:
            try:
                await work.once()
            except errors.BlockedError as error:
                if is_vouched_for or error.trouble.reason == transfer.MODEL.not_found:
                    return False
                raise
            return True

        return await transfer.persist(once, progress=lambda: work.bytes_done, on_trouble=self._on_trouble)

    def _no_key(self, why: str) -> errors.BlockedError:
        return errors.BlockedError("SignatureKeyUnusable", f"the key of spec.model.signature: {why}")

    def _missing(self, where: str) -> errors.RejectedError:
        message = f"{self._shown} is not signed: there is no {where}, and spec.model.signature asks for one"
        return errors.RejectedError("SignatureMissing", message)


def beside(uri: str) -> str:
    """Return the URI of a single file's signature."""
    place, mark, query = uri.partition("#")[0].partition("?")
    return f"{place}.sig{mark}{query}"


def _verify(path: Path, key: bytes, model: folders.Model, loaded: str) -> None:
    with path.open("rb") as file:
        signatures.verify(file.read(signatures.BYTES_MAX), key, model, loaded)


def _ignore(*_: object) -> None:
    """Take what is told of a signature's progress: it is too short to be told on."""

"""A model's files, wherever they are: on this machine as they lie there, from a store into a folder.

The same stores, folders and digests as a pod's, tried a few times and not for ever: somebody waits. `leadline serve` uses it
as well. Next step: `engine.session` loads the file.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from leadline_runtime import errors
from leadline_runtime.fetch import folders, gathering, stores, transfer
from leadline_runtime.library import failures

TRIES: Final = 3
"""What was fetched is kept from one try to the next."""
PAUSE_SECONDS: Final = 1.0
TRY_SECONDS: Final = 3_600.0
LIMIT_BYTES: Final = 64 << 30
"""Of a model: a bound for the disk, not for the model."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model's files on this machine."""

    path: Path
    """The ONNX file."""
    digest: str
    """`sha256:<hex>`, of the file or of the folder; docs/models.md says of what."""
    size_bytes: int
    """Of all files."""
    folder: Path | None = None
    """Where they are, of a model of several files."""

    @property
    def uri(self) -> str:
        """Return a URI by which a pod on this machine finds the same."""
        if self.folder is None:
            return self.path.absolute().as_uri()
        return f"{self.folder.absolute().as_uri()}/#{quote(self.path.relative_to(self.folder).as_posix())}"


def fetch(
    place: str | os.PathLike[str],
    folder: Path,
    *,
    digest: str = "",
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Fetched:
    """Return a model's files.

    Args:
        place: A path of a file or folder, or a URI of a store; `#name` names the file of a folder that has several.
        folder: Where files go that are not on this machine.
        digest: `sha256:<hex>` that it must have; empty: any.
        on_progress: Called with bytes so far and in all, 0 where that is not known.

    Raises:
        ModelError: It cannot be had, or has another digest.
    """
    text = os.fspath(place)
    is_uri = bool(stores.scheme_of(text))
    try:
        found = _fetched(text, folder / "model", on_progress) if is_uri else _here(text)
    except errors.TroubleError as error:
        raise failures.of_trouble(error) from error
    if digest and found.digest != digest:
        shown = stores.shown(text) if is_uri else text
        raise failures.ModelError("DigestMismatch", f"{shown} has digest {found.digest}, expected {digest}")
    return found


def _here(text: str) -> Fetched:
    path = Path(text).expanduser()
    if not path.exists() and "#" in text:
        name, _, wanted = text.rpartition("#")
        path = Path(name).expanduser()
    else:
        wanted = ""
    try:
        if not path.is_dir():
            return Fetched(path, _digest_of(path), path.stat().st_size)
        files = [folders.File(name, _digest_of(path / name), size) for name, size, _ in folders.walk(path)]
    except folders.FolderError as error:
        raise failures.ModelError(transfer.MODEL.unusable, f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise failures.ModelError(transfer.MODEL.not_found, f"{path}: there is no such file") from error
    except OSError as error:
        raise failures.ModelError(transfer.MODEL.access_denied, f"{path}: {error.strerror}") from error
    if not files:
        raise failures.ModelError(transfer.MODEL.unusable, f"{path}: is an empty folder; expected an ONNX file in it")
    return _of_folder(folders.of_files(files, is_folder=True), path, wanted)


def _fetched(uri: str, target: Path, on_progress: Callable[[int, int], None]) -> Fetched:
    model = _outside_loops(_gathered(uri, target, on_progress))
    return _of_folder(model, target, stores.fragment_of(uri))


def _of_folder(model: folders.Model, folder: Path, wanted: str) -> Fetched:
    path = folder / folders.model_file(model, wanted)
    return Fetched(path, model.digest, model.size_bytes, folder if model.is_folder else None)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


async def _gathered(uri: str, target: Path, on_progress: Callable[[int, int], None]) -> folders.Model:
    work = gathering.Gathering(
        uri,
        target,
        limit_bytes=LIMIT_BYTES,
        try_seconds=TRY_SECONDS,
        on_progress=on_progress,
        on_trouble=lambda _: None,
    )
    for left in reversed(range(TRIES)):
        try:
            return (await work.once()).model
        except errors.BlockedError as error:
            if not left or error.trouble.reason != transfer.MODEL.unreachable:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
    raise AssertionError


def _outside_loops(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in a thread of its own: the caller may be in an event loop, as all notebooks are."""
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as executor:
        return executor.submit(asyncio.run, work).result()

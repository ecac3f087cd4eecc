"""A model of several files: which paths are taken, its digest, and which of the files is the model.

The digest of a folder is the SHA-256 of its manifest, a text that depends on nothing but paths and bytes:

    leadline-folder-v1
    <sha256 of the file, 64 hexadecimal digits> <size in bytes> <path>

with a line for each file, in the order of the paths' UTF-8 bytes, each line ended by one newline. Modes, times, owners and
empty folders are not in it. docs/models.md has the rules for people, and a worked example. Frozen: revisions hang on it.

Pure but for `walk` and `held`, which read a folder.
"""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from leadline_runtime import errors

HEADER: Final = b"leadline-folder-v1\n"
MANIFEST_BYTES_MAX: Final = 16 << 20
"""Of a manifest that comes from elsewhere: 10,000 files with the longest paths."""
FILE_NAME: Final = "model.onnx"
"""How a model of one file is called here."""
FILES_MAX: Final = 10_000
"""Files of one folder."""
PATH_BYTES_MAX: Final = 1_024
_NAME_BYTES_MAX: Final = 255


class FolderError(errors.LeadlineRuntimeError):
    """A folder that is not taken; the message names path and rule."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model."""

    path: str
    digest: str
    """`sha256:<hex>`."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """All files of a model, and what they are together."""

    files: tuple[File, ...]
    digest: str
    is_folder: bool

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size_bytes for file in self.files)


def _order(file: File) -> bytes:
    return file.path.encode("utf-8", "surrogatepass")


def of_files(files: Iterable[File], *, is_folder: bool) -> Model:
    """Return what files are together: a folder, or the one file that they are."""
    found = tuple(sorted(files, key=_order))
    digest = digest_of(manifest(found)) if is_folder else found[0].digest
    return Model(found, digest, is_folder)


def digest_of(content: bytes) -> str:
    """Return `sha256:<hex>` of bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(files: Iterable[File]) -> bytes:
    """Return the manifest of a folder.

    Raises:
        FolderError: There is no file, or the paths are none that are taken.
    """
    ordered = sorted(files, key=_order)
    check_paths([file.path for file in ordered])
    lines = [f"{file.digest.removeprefix('sha256:')} {file.size_bytes} {file.path}\n" for file in ordered]
    return HEADER + "".join(lines).encode()


def parse(content: bytes) -> tuple[File, ...]:
    """Return the files of a manifest.

    Raises:
        FolderError: It is none, or not in the one form that a folder has.
    """
    files = []
    try:
        for line in content.removeprefix(HEADER).decode().split("\n")[:-1]:
            digest, size, path = line.split(" ", 2)
            files.append(File(path, f"sha256:{digest}", int(size)))
        if manifest(files) == content and all(len(file.digest) == len("sha256:") + 64 for file in files):
            return tuple(files)
    except (ValueError, UnicodeDecodeError) as error:
        raise FolderError(f"not a manifest of a folder: {error}") from error
    raise FolderError("not a manifest of a folder as it is written here")


def check_paths(paths: Iterable[str]) -> None:
    """Check the paths of a folder, each for itself and all together.

    Raises:
        FolderError: One is not taken.
    """
    known: dict[str, str] = {}
    folders: set[str] = set()
    for path in paths:
        _check_path(path)
        # Stores of other systems fold letters and accents: two such paths would be one file there.
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in known:
            raise FolderError(f"{known[folded]!r} and {path!r} differ in case or accents only; rename one")
        known[folded] = path
        folders.update(folded[:at] for at, letter in enumerate(folded) if letter == "/")
    if not known:
        raise FolderError("the folder is empty; expected at least one file")
    for both in folders & known.keys():
        raise FolderError(f"{known[both]!r} is a file and a folder")


def _check_path(path: str) -> None:
    shown = repr(path[:200])
    try:
        size = len(path.encode())
    except UnicodeEncodeError as error:
        raise FolderError(f"path {shown}: expected UTF-8") from error
    parts = path.split("/")
    if not path or size > PATH_BYTES_MAX:
        raise FolderError(f"path {shown}: expected 1 to {PATH_BYTES_MAX} bytes, got {size}")
    if any(part in {"", ".", ".."} for part in parts):
        raise FolderError(f"path {shown}: expected one below the folder, without empty parts, '.' and '..'")
    if any(len(part.encode()) > _NAME_BYTES_MAX for part in parts):
        raise FolderError(f"path {shown}: expected names of at most {_NAME_BYTES_MAX} bytes")
    if "\\" in path or any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in path):
        raise FolderError(f"path {shown}: expected no backslash and no control characters")
    if not unicodedata.is_normalized("NFC", path):
        raise FolderError(f"path {shown}: expected Unicode in its composed form (NFC)")


def model_file(model: Model, wanted: str) -> str:
    """Return the path of the file that is to be loaded.

    Args:
        model: All files.
        wanted: What the URI says after `#`; empty: nothing.

    Raises:
        RejectedError: There is none, or more than one.
    """
    if not model.is_folder:
        if wanted:
            message = f"#{wanted}: the URI names a file; a path after # chooses one of a folder, whose URI ends in /"
            raise errors.RejectedError("InvalidModel", message)
        return FILE_NAME
    paths = [file.path for file in model.files]
    if wanted:
        if wanted in paths:
            return wanted
        raise errors.RejectedError("InvalidModel", f"the folder has no file {wanted!r}; it has {_some(paths)}")
    found = [path for path in paths if "/" not in path and PurePosixPath(path).suffix == ".onnx"]
    if len(found) == 1:
        return found[0]
    what = f"has {len(found)} .onnx files at its top ({_some(found)})" if found else "has no .onnx file at its top"
    rest = "" if found else f"; it has {_some(paths)}"
    message = f"the folder {what}{rest}; name the one to load after #, such as .../#{(found or ['onnx/model.onnx'])[0]}"
    raise errors.RejectedError("InvalidModel", message)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more


def walk(folder: Path) -> list[tuple[str, int, str]]:
    """Return path, size and version of each file below a folder.

    Raises:
        FolderError: There is something else than files and folders.
        OSError: It cannot be read.
    """
    found: list[tuple[str, int, str]] = []
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as listed:
            for item in listed:
                path = Path(item.path).relative_to(folder).as_posix()
                if len(found) + len(waiting) > FILES_MAX:
                    raise FolderError(f"has more than {FILES_MAX} files and folders, the limit")
                state = item.stat(follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    waiting.append(Path(item.path))
                elif stat.S_ISREG(state.st_mode):
                    found.append((path, state.st_size, f"{state.st_ino}.{state.st_mtime_ns}.{state.st_size}"))
                else:
                    kind = "a symbolic link" if stat.S_ISLNK(state.st_mode) else "neither file nor folder"
                    raise FolderError(f"{path!r} is {kind}; a model's folder holds files and folders only")
    return found


def held(folder: Path, digest: str) -> Model | None:
    """Return the model in a folder of ours if it has this digest, as a file or as a folder; else None."""
    try:
        files = [File(path, _hashed(folder / path), size) for path, size, _ in walk(folder)]
        if [file.path for file in files] == [FILE_NAME] and files[0].digest == digest:
            return of_files(files, is_folder=False)
        model = of_files(files, is_folder=True)
    except (OSError, FolderError):
        return None
    return model if model.digest == digest else None


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

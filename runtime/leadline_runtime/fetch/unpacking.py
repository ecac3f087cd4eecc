"""Files out of a tar archive that somebody else made: regular files only, none outside of the folder, none over a limit.

Links, devices and whiteouts of image layers are refused rather than left out: a model that needs them would not be the one
that its author packed.
"""

import errno
import hashlib
import tarfile
import zlib
from pathlib import Path
from typing import IO, Final, Self

from leadline_runtime.fetch import folders, stores

_CHUNK_BYTES: Final = 1 << 20
_WHITEOUT: Final = ".wh."
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}
_MEMBERS_MAX: Final = 2 * folders.FILES_MAX
"""Folders are entries as well."""
_HEADER_BYTES_MAX: Final = 1 << 20
"""Of what stands before an entry: names and attributes. tarfile has all of it in memory, twice."""
_HEADERS: Final = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Member(tarfile.TarInfo):
    """An entry whose headers are small."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block, before what belongs to it is read."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS and member.size > _HEADER_BYTES_MAX:
            raise folders.FolderError(
                f"the archive has a header of {member.size} bytes, the limit is {_HEADER_BYTES_MAX}"
            )
        return member


def unpack(archive: Path, folder: Path, *, gzipped: bool, limit_bytes: int) -> list[folders.File]:
    """Write an archive's files below a folder; return them.

    Raises:
        FolderError: It holds what a model's folder does not, or more than the limit.
        StoreError: It cannot be read as an archive.
    """
    try:
        with tarfile.open(archive, "r|gz" if gzipped else "r|", tarinfo=_Member) as packed:
            return _unpacked(packed, folder, limit_bytes)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise stores.StoreError(stores.Fault.UNREACHABLE, f"no room to unpack it: {error.strerror}") from error
        raise stores.StoreError(stores.Fault.UNUSABLE, f"not a tar archive that can be read: {error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise stores.StoreError(stores.Fault.UNUSABLE, f"not a tar archive that can be read: {error}") from error


def _unpacked(packed: tarfile.TarFile, folder: Path, limit_bytes: int) -> list[folders.File]:
    found: dict[str, folders.File] = {}
    try:
        _unpack_into(found, packed, folder, limit_bytes)
    except BaseException:
        # The next try begins with files that are not there.
        for path in found:
            (folder / path).unlink()
        raise
    return list(found.values())


def _unpack_into(found: dict[str, folders.File], packed: tarfile.TarFile, folder: Path, limit_bytes: int) -> None:
    left = limit_bytes
    for number, member in enumerate(packed):
        path = member.name.removeprefix("./").rstrip("/")
        if number >= _MEMBERS_MAX:
            raise folders.FolderError(f"the archive has more than {_MEMBERS_MAX} entries, the limit")
        if member.isdir():
            continue
        if not member.isreg():
            raise folders.FolderError(f"{path!r} in the archive is a link or a device; expected files only")
        folders.check_paths([path])
        if Path(path).name.startswith(_WHITEOUT):
            raise folders.FolderError(f"{path!r} in the archive removes a file of a layer below; expected one layer")
        left -= member.size
        if left < 0:
            raise folders.FolderError(f"the archive has more than {limit_bytes} bytes unpacked, the limit")
        if len(found) >= folders.FILES_MAX:
            raise folders.FolderError(f"the archive has more than {folders.FILES_MAX} files, the limit")
        content = packed.extractfile(member)
        assert content is not None
        if path in found:
            raise folders.FolderError(f"{path!r} is in the archive twice")
        found[path] = _written(content, folder, path)
    folders.check_paths(found)


def _written(content: IO[bytes], folder: Path, path: str) -> folders.File:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    hashed, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        try:
            while chunk := content.read(_CHUNK_BYTES):
                file.write(chunk)
                hashed.update(chunk)
                size += len(chunk)
        except BaseException:
            target.unlink()
            raise
    return folders.File(path, f"sha256:{hashed.hexdigest()}", size)

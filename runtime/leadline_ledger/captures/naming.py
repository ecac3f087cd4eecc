"""What the name of a captured file says: all that must be known of it without reading it.

    captures/NAMESPACE/MODEL/2026-11-27/FIRST-LAST-ROWS-EXPIRES-COLUMNS-DIGEST.parquet

FIRST and LAST are the times of its oldest and newest prediction, EXPIRES when it is to go, all in milliseconds since the epoch, 12
hexadecimal digits each; COLUMNS is a digest of its columns' names and types, DIGEST one of what was brought. So the listing of a
folder or bucket is the whole index: a file is there or it is not, however many ledgers write and whoever is killed, and somebody
else's lake may read it, or delete from it.

Pure.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

import msgspec
from leadline_wire import capture_files, captures

ROOT: Final = "captures"
_NAME: Final = re.compile(
    r"captures/([^/]+)/([^/]+)/[0-9-]{10}/([0-9a-f]{12})-([0-9a-f]{12})-([0-9]+)-([0-9a-f]{12})-([0-9a-f]{8})-[0-9a-f]{16}\.parquet"
)
_LATEST_MS: Final = (1 << 48) - 1


@dataclass(frozen=True, slots=True)
class File:
    """A captured file."""

    path: str
    model: str
    """`namespace/name`."""
    first_ms: int
    last_ms: int
    rows: int
    expires_ms: int
    columns: str
    """Two files of the same columns have the same."""
    size_bytes: int


def folder_of(model: str) -> str:
    """Return where the files of a ModelDeployment are."""
    return f"{ROOT}/{model}/"


def path_of(model: str, chunk: captures.Chunk, body: bytes, *, keep_ms: int) -> str:
    """Return the name of a chunk's file; `body` is the chunk as it came."""
    size = captures.ID_CHARACTERS
    times = [chunk.ids[at : at + 12] for at in range(0, len(chunk.ids), size)]
    first, last = min(times), max(times)
    columns = msgspec.json.encode([(each.name, each.datatype, each.shape) for each in chunk.columns])
    expires_ms = min(int(last, 16) + keep_ms, _LATEST_MS)
    kinds, digest = hashlib.sha256(columns).hexdigest()[:8], hashlib.sha256(body).hexdigest()[:16]
    day = capture_files.day_of(int(first, 16))
    return f"{folder_of(model)}{day}/{first}-{last}-{chunk.count}-{expires_ms:012x}-{kinds}-{digest}.parquet"


def path_of_merged(files: list[File], rows: int, digest: str) -> str:
    """Return the name of a file that takes the place of these; it stays until the last of them would have gone."""
    first_ms, last_ms = min(file.first_ms for file in files), max(file.last_ms for file in files)
    expires_ms, columns = max(file.expires_ms for file in files), files[0].columns
    day = capture_files.day_of(first_ms)
    name = f"{first_ms:012x}-{last_ms:012x}-{rows}-{expires_ms:012x}-{columns}-{digest}.parquet"
    return f"{folder_of(files[0].model)}{day}/{name}"


def read(path: str, size_bytes: int) -> File | None:
    """Return what a name says; None: it is not one of ours."""
    found = _NAME.fullmatch(path)
    if found is None:
        return None
    namespace, name, first, last, rows, expires, columns = found.groups()
    return File(
        path, f"{namespace}/{name}", int(first, 16), int(last, 16), int(rows), int(expires, 16), columns, size_bytes
    )


def to_delete(files: list[File], *, now_ms: int, most_bytes: int) -> list[File]:
    """Return which files are to go: those past their age, then the oldest until the others fit; 0: all fit."""
    gone = [file for file in files if file.expires_ms <= now_ms]
    kept = sorted((file for file in files if file.expires_ms > now_ms), key=lambda file: (file.last_ms, file.path))
    over = sum(file.size_bytes for file in kept) - most_bytes if most_bytes else 0
    for file in kept:
        if over <= 0:
            break
        gone.append(file)
        over -= file.size_bytes
    return gone

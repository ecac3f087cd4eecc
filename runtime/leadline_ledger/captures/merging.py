"""Many small files of an hour become few: each worker of each pod brings one a minute, and a listing is the whole index.

Pure but for the encoding; `kept` reads, writes and deletes. Rows are unique in what comes out, so that a merge that was cut off
after its file was written, or was done by two ledgers at once, changes nothing when it is done again.
"""

import hashlib
import io
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from leadline_wire import capture_files

from leadline_ledger.captures import joining, naming

SMALL_BYTES: Final = 1 << 20
"""A file of as many bytes is left as it is."""
MERGED_BYTES: Final = 4 << 20
_MERGED_FILES: Final = 1_000
_HOUR_MS: Final = 3_600_000
_LATE_MS: Final = 900_000
"""So long after its end an hour's files have come."""


def groups(files: Iterable[naming.File], *, now_ms: int) -> list[list[naming.File]]:
    """Return which files are to become one each: small ones of one model, hour and kind, that are not written to any more."""

    def of(file: naming.File) -> tuple[str, str, int]:
        return file.model, file.columns, file.first_ms // _HOUR_MS

    past = [
        file
        for file in files
        if file.size_bytes < SMALL_BYTES
        and file.expires_ms > now_ms
        and (file.last_ms // _HOUR_MS + 1) * _HOUR_MS + _LATE_MS <= now_ms
    ]
    found: list[list[naming.File]] = []
    for _, same in groupby(sorted(past, key=lambda file: (*of(file), file.path)), of):
        group: list[naming.File] = []
        size = 0
        for file in same:
            if group and (size + file.size_bytes > MERGED_BYTES or len(group) >= _MERGED_FILES):
                found.append(group)
                group, size = [], 0
            group.append(file)
            size += file.size_bytes
        found.append(group)
    return [group for group in found if len(group) > 1]


def merged(group: list[naming.File], contents: list[bytes | None]) -> tuple[str, bytes] | None:
    """Return name and bytes of the file that holds all rows of these, once each; None: there are none.

    Args:
        group: Of `groups`.
        contents: Of each; None: it is gone.
    """
    from arro3 import core  # noqa: PLC0415 - 35 MB
    from arro3 import io as parquet  # noqa: PLC0415

    batches = []
    seen = set[joining.Key]()
    for file, content in zip(group, contents, strict=True):
        reader = joining.reader_of(file, content)
        if reader is not None:
            batch, taken = reader.taken(key for key in reader.keys if key not in seen)
            seen.update(taken)
            batches.append(batch)
    if not seen:
        return None
    into = io.BytesIO()
    parquet.write_parquet(
        core.Table.from_batches(batches),
        into,
        compression="zstd(3)",
        created_by="leadline",
        max_row_group_size=capture_files.GROUP_ROWS,
    )
    digest = hashlib.sha256("\n".join(file.path for file in group).encode()).hexdigest()[:16]
    return naming.path_of_merged(group, len(seen), digest), into.getvalue()

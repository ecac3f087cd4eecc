"""Content keys: the same content always has the same key, so a cached binary or image is never stale.

Pure but for reading the files it is given.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

KEY_DIGITS: Final = 12
"""Hexadecimal digits of a key: 48 bits, no collision among the few builds of one machine."""

_LEFT_OUT: Final = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache"})


def content_key(parts: Iterable[tuple[str, bytes]]) -> str:
    """Return the key of named contents; neither order nor where one ends and the next begins can be confused.

    Args:
        parts: Names with their bytes; a name may come once.
    """
    total = hashlib.sha256()
    for name, content in sorted(parts):
        total.update(f"{len(name)} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()[:KEY_DIGITS]


def files_of(root: Path, names: Iterable[str]) -> list[tuple[str, bytes]]:
    """Return name and content of files and of all files in folders, without caches and bytecode.

    Args:
        root: What the returned names are relative to.
        names: Files or folders below it.

    Raises:
        FileNotFoundError: A named file or folder is not there.
    """
    found: list[tuple[str, bytes]] = []
    for name in names:
        start = root / name
        if start.is_dir():
            paths = [
                path
                for path in start.rglob("*")
                if path.is_file() and not _LEFT_OUT.intersection(path.relative_to(root).parts)
            ]
        else:
            paths = [start]
        found += [(str(path.relative_to(root)), path.read_bytes()) for path in paths]
    return found

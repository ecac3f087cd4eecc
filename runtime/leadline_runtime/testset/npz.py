"""Arrays of an .npz archive, as `numpy.savez` and `numpy.savez_compressed` write it.

Headers are looked at before anything is unpacked, so that a small archive cannot fill the memory; arrays of Python
objects are refused, for unpickling runs code.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from leadline_runtime.testset import sources
from leadline_runtime.testset.sources import Array, UnusableError, Wish

_SUFFIX: Final = ".npy"
_TEXT_BYTES_MAX: Final = 1 << 30


class Npz:
    """An open archive."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self.names: list[str] = [
            name.removesuffix(_SUFFIX) for name in self._archive.namelist() if name.endswith(_SUFFIX)
        ]
        if not self.names:
            raise UnusableError("is a zip archive without arrays; expected an .npz archive, as numpy.savez writes it")
        self.rows = 0

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """Check headers: all arrays need the same first dimension."""
        lengths: dict[str, int] = {}
        for name in wishes:
            shape, dtype = self._header(name)
            if not shape:
                raise UnusableError(f"{_place(name)} is a single value; expected one per row")
            count = 1
            for length in shape:
                count *= length
            sources.check_values(name, count)
            if count * dtype.itemsize > _TEXT_BYTES_MAX:
                raise UnusableError(f"{_place(name)} takes {count * dtype.itemsize} bytes; at most {_TEXT_BYTES_MAX}")
            lengths[name] = shape[0]
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f'"{name}" {length}' for name, length in lengths.items())
            raise UnusableError(f"has arrays of different lengths: {shown}; expected as many rows in each")
        self.rows = sources.check_rows(next(iter(lengths.values())))

    def is_scalar(self, name: str) -> bool:
        """Tell by the array's shape."""
        return len(self._header(name)[0]) == 1

    def column(self, name: str) -> Array:
        """Return one array."""
        with self._archive.open(name + _SUFFIX) as file:
            array: Array = npy.read_array(file, allow_pickle=False)
        if array.dtype.kind == "S":
            try:
                array = np.char.decode(array, "utf-8")
            except UnicodeDecodeError as error:
                raise UnusableError(f"{_place(name)} holds bytes that are not UTF-8; expected text") from error
        return np.ascontiguousarray(array)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def _header(self, name: str) -> tuple[tuple[int, ...], Any]:
        with self._archive.open(name + _SUFFIX) as file:
            version = npy.read_magic(file)
            if version not in {(1, 0), (2, 0)}:
                raise UnusableError(f"{_place(name)} has fields with names; expected a plain array")
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
        if dtype.kind not in "biufUS":
            raise UnusableError(
                f"{_place(name)} has type {dtype}; expected numbers, booleans or text (astype(str) makes text of objects)"
            )
        return shape, dtype


def _place(name: str) -> str:
    return f'array "{name}"'

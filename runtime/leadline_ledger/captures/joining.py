"""Finds the captured inputs of outcomes, page by page, with a bounded part of the files in memory.

The id of a prediction begins with its time, and the name of a file says of which times it holds predictions: so few files are
looked into for the outcomes of a page, where their answers took about as long. Must not know who asks, nor wait by itself: it is
given what reads a file.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
from leadline_wire import capture_files

from leadline_ledger import logs
from leadline_ledger.captures import naming

MEMORY_BYTES: Final = 48 << 20
"""Of files that were read: the last ones looked into."""
_encode: Final = msgspec.json.Encoder().encode

Key = tuple[str, int]
"""Prediction and row."""


class Joiner:
    """The captured files of one ModelDeployment, as they were when an export began."""

    def __init__(self, files: Iterable[naming.File], read: Callable[[naming.File], bytes | None]) -> None:
        """Set up, and read one file of each kind to know the columns.

        Args:
            files: All there are.
            read: Returns a file's bytes; None: it is gone.
        """
        self._files = sorted(files, key=lambda file: file.first_ms)
        self._read = read
        self._readers: OrderedDict[str, capture_files.Reader] = OrderedDict()
        self._held_bytes = 0
        self._near: list[naming.File] = []
        found: list[Mapping[str, capture_files.Kind]] = []
        self.row_bytes = 0
        """Of one row's inputs in memory, about, where they are largest."""
        known = set[str]()
        for file in reversed(self._files):
            reader = self._reader(file) if file.columns not in known else None
            if reader is not None:
                known.add(file.columns)
                found.append(reader.kinds)
                self.row_bytes = max(self.row_bytes, reader.row_bytes)
        self.kinds = capture_files.merged(found)
        """Of the columns of a table that holds all."""

    def look_for(self, identifiers: Iterable[str]) -> None:
        """Note which predictions are asked for next."""
        times = sorted({int(identifier[:12], 16) for identifier in identifiers})

        def may_hold(file: naming.File) -> bool:
            place = bisect_left(times, file.first_ms)
            return place < len(times) and times[place] <= file.last_ms

        self._near = [file for file in self._files if may_hold(file)]

    def inputs(self, key: Key) -> dict[str, Any] | None:
        """Return a row's inputs, by input; None: they were not captured, or are gone by now."""
        at_ms = int(key[0][:12], 16)
        for file in self._near:
            if file.first_ms <= at_ms <= file.last_ms:
                reader = self._reader(file)
                found = reader.inputs(key) if reader is not None else None
                if found is not None:
                    return {
                        name: self._fitting(name, reader, value) for name, value in found.items() if name in self.kinds
                    }
        return None

    def _fitting(self, name: str, reader: capture_files.Reader | None, value: Any) -> Any:
        assert reader is not None, "which the value is from"
        if reader.kinds[name] == self.kinds[name]:
            return value
        # A column that is text since files differ; or, of a file that came in between, another one: not known.
        return _encode(value).decode() if self.kinds[name] == capture_files.MIXED else None

    def _reader(self, file: naming.File) -> capture_files.Reader | None:
        found = self._readers.get(file.path)
        if found is not None:
            self._readers.move_to_end(file.path)
            return found
        reader = reader_of(file, self._read(file))
        if reader is None:
            self._files = [each for each in self._files if each is not file]
            self._near = [each for each in self._near if each is not file]
            return None
        self._readers[file.path] = reader
        self._held_bytes += reader.size_bytes
        while self._held_bytes > MEMORY_BYTES and len(self._readers) > 1:
            _, oldest = self._readers.popitem(last=False)
            self._held_bytes -= oldest.size_bytes
        return reader


def reader_of(file: naming.File, content: bytes | None) -> capture_files.Reader | None:
    """Return what reads a file; None: it is gone, or cannot be read."""
    try:
        return capture_files.Reader(content) if content is not None else None
    except ValueError as error:
        # Somebody else's, or torn when the machine lost power: without it the others are as good.
        logs.warning("a captured file cannot be read", path=file.path, reason=error)
        return None

"""HPACK, the reading side: header blocks of one connection to fields (RFC 7541).

Static table and Huffman code are the hpack library's. The rest is our own, for clients that send a deadline with each
call make each of their blocks a new one, and the library takes several times as long; the tests hold both against each other.
Must not know what a field means.
"""

from __future__ import annotations

from typing import Final

from hpack import exceptions, huffman_table, table

from leadline_runtime.http2 import frames

Field = tuple[bytes, bytes]

_STATIC: Final[tuple[Field, ...]] = tuple(table.HeaderTable.STATIC_TABLE)
_STATIC_LENGTH: Final = len(_STATIC)
_ENTRY_BYTES: Final = 32
"""What a field counts beside its name and value, in the table and in a list (RFC 7541, 4.1; RFC 9113, 6.5.2)."""
_INTEGER_BYTES_MAX: Final = 5
"""Of an integer after its first byte; more is beyond all that a block can hold."""


class Decoder:
    """Decodes the blocks of one connection, in their order."""

    __slots__ = ("_bytes", "_bytes_max", "_list_bytes_max", "_table")

    def __init__(self, list_bytes_max: int) -> None:
        self._table: list[Field] = []
        """The dynamic table, newest first."""
        self._bytes = 0
        self._bytes_max = frames.TABLE_BYTES
        self._list_bytes_max = list_bytes_max

    def decode(self, block: bytes) -> tuple[list[Field], bool]:
        """Return a block's fields, and whether it changed the dynamic table.

        Raises:
            ConnectionFaultError: It cannot be decoded, so that the tables of both sides differ from now on.
        """
        fields: list[Field] = []
        changes = False
        list_bytes = 0
        at, size = 0, len(block)
        try:
            while at < size:
                first = block[at]
                if first & 0x80:
                    at += 1
                    index = first & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    field = self._entry(index)
                elif first & 0x40:
                    field, at = self._literal(block, at, 0x3F)
                    self._add(field)
                    changes = True
                elif first & 0x20:
                    if fields:
                        raise _fault("table size update after a field")
                    at = self._resize(block, at)
                    changes = True
                    continue
                else:
                    field, at = self._literal(block, at, 0x0F)
                list_bytes += len(field[0]) + len(field[1]) + _ENTRY_BYTES
                if list_bytes > self._list_bytes_max:
                    raise frames.ConnectionFaultError(
                        frames.ENHANCE_YOUR_CALM, f"header list is larger than {self._list_bytes_max} bytes"
                    )
                fields.append(field)
        except IndexError as error:
            raise _fault("block ends within a field, or names an entry that is not there") from error
        return fields, changes

    def _entry(self, index: int) -> Field:
        if index <= _STATIC_LENGTH:
            if index == 0:
                raise _fault("entry 0 is named")
            return _STATIC[index - 1]
        return self._table[index - _STATIC_LENGTH - 1]

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        """Return a field whose value at least is in the block, and where it ends."""
        index = block[at] & mask
        at += 1
        if index == mask:
            index, at = _integer(block, at, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _add(self, field: Field) -> None:
        self._table.insert(0, field)
        self._bytes += len(field[0]) + len(field[1]) + _ENTRY_BYTES
        self._evict()

    def _resize(self, block: bytes, at: int) -> int:
        size = block[at] & 0x1F
        at += 1
        if size == 0x1F:
            size, at = _integer(block, at, 0x1F)
        if size > frames.TABLE_BYTES:
            raise _fault(f"table of {size} bytes, expected at most {frames.TABLE_BYTES}")
        self._bytes_max = size
        self._evict()
        return at

    def _evict(self) -> None:
        entries = self._table
        while self._bytes > self._bytes_max:
            name, value = entries.pop()
            self._bytes -= len(name) + len(value) + _ENTRY_BYTES


def _fault(message: str) -> frames.ConnectionFaultError:
    return frames.ConnectionFaultError(frames.COMPRESSION_ERROR, f"header block: {message}")


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """Return an integer whose first byte held no more than its greatest, and where it ends (RFC 7541, 5.1)."""
    for shift in range(0, 7 * _INTEGER_BYTES_MAX, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _fault("an integer never ends")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return a string and where it ends."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    end = at + length
    text = block[at:end]
    if len(text) != length:
        raise _fault("a string is longer than the block")
    if first & 0x80:
        try:
            text = huffman_table.decode_huffman(text)
        except exceptions.HPACKDecodingError as error:
            raise _fault("a string is no Huffman code") from error
    return text, end

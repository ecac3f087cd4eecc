"""Labelled rows: what one is, and the hash by which the same inputs are one row, in whatever file they stand.

Must not know models: a row is what somebody wrote down, and its columns are brought to a model's inputs by the runtime.
"""

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from leadline_wire.ledger import Plain

EXAMPLE: Final = '{"X": [0.5, 1.5], "label": 7}'
COLUMNS_MAX: Final = 65_536
VALUES_MAX: Final = 1 << 20
"""Of one row."""
TEXT_BYTES_MAX: Final = 4_096
"""Of a truth that is text."""
_FLOAT: Final = struct.Struct("<f")


class BadLabelError(ValueError):
    """No labelled row; the message says why."""


def row(found: Any, truth: str) -> tuple[dict[str, Any], Plain]:
    """Return inputs and true answer of a decoded line.

    Args:
        found: What JSON says.
        truth: Column with the true answer.

    Raises:
        BadLabelError: It is no object with that column, or holds something else than numbers, texts, booleans and lists.
    """
    if not isinstance(found, dict):
        raise BadLabelError(f"expected an object with a value for each column, such as {EXAMPLE}")
    if truth not in found:
        shown = ", ".join(list(found)[:20]) or "nothing"
        raise BadLabelError(f'column "{truth}" not found; it has {shown}')
    inputs = {name: value for name, value in found.items() if name != truth}
    answer = found[truth]
    if not isinstance(answer, bool | int | float | str):
        raise BadLabelError(
            f'column "{truth}" holds {answer!r:.80}; expected the true answer, a number, text or boolean'
        )
    if isinstance(answer, str) and len(answer.encode()) > TEXT_BYTES_MAX:
        raise BadLabelError(f'column "{truth}" holds text of more than {TEXT_BYTES_MAX} bytes')
    if not inputs or len(inputs) > COLUMNS_MAX:
        raise BadLabelError(
            f'{len(inputs)} columns beside "{truth}"; expected 1 to {COLUMNS_MAX}, the inputs of the model'
        )
    count = 0
    for name, value in inputs.items():
        for each in _flat(value):
            count += 1
            if isinstance(each, dict):
                raise BadLabelError(
                    f'column "{name}" holds an object; expected numbers, texts, booleans or lists of them'
                )
    if count > VALUES_MAX:
        raise BadLabelError(f"{count} values; expected at most {VALUES_MAX}")
    return inputs, answer


def hash_of(inputs: Mapping[str, Any]) -> bytes:
    """Return the hash of a row's inputs, 16 bytes.

    The order of columns, the nesting of lists, 1 or 1.0 and digits beyond a 32-bit float make no other row: files of the
    same data differ in these.
    """
    digest = hashlib.blake2s(digest_size=16, person=b"leadlabl")
    for name in sorted(inputs):
        digest.update(_part(b"c", name.encode()))
        for value in _flat(inputs[name]):
            digest.update(_value(value))
    return digest.digest()


def _flat(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(reversed(each))
        else:
            yield each


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return _part(b"s", value.encode())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return b"n"
    if isinstance(value, float) and not value.is_integer():
        try:
            return b"f" + _FLOAT.pack(value)
        except OverflowError:
            return _part(b"d", repr(value).encode())
    return _part(b"i", str(int(value)).encode())


def _part(kind: bytes, text: bytes) -> bytes:
    return b"%b%d:%b" % (kind, len(text), text)

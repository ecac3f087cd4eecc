"""Refuse numbers that make no sense, with messages that name them.

Every other module here checks its input through this one, so that a mistake is said in the same words everywhere and
never ends in a NaN that looks like "nothing found".

Must not know what the numbers mean.
"""

import operator
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def count(name: str, value: object) -> int:
    """Return a whole number of at least 0.

    Raises:
        ValueError: It is something else.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what it refuses is refused below
    except TypeError:
        raise ValueError(f"{name}: expected a whole number, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{name}: expected 0 or more, got {number}")
    return number


def within(name: str, value: float, low: float, high: float) -> float:
    """Return a number from `low` to `high`, both included.

    Raises:
        ValueError: It is outside, or NaN.
    """
    number = float(value)
    if not low <= number <= high:  # NaN is not
        raise ValueError(f"{name}: expected {low:g} to {high:g}, got {number:g}")
    return number


def level(name: str, value: float) -> float:
    """Return a probability strictly between 0 and 1.

    Raises:
        ValueError: It is not, or NaN.
    """
    number = float(value)
    if not 0 < number < 1:
        raise ValueError(f"{name}: expected a number between 0 and 1, got {number:g}")
    return number


def shares_of_one(name: str, values: npt.ArrayLike) -> FloatArray:
    """Return numbers in [0, 1], shape (n,); bits count as 0 and 1.

    Raises:
        ValueError: The shape is another, or a number is outside or NaN; the message gives its index.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected shape [-1], got {list(array.shape)}")
    inside = (array >= 0) & (array <= 1)
    if not inside.all():
        index = int(np.argmin(inside))
        raise ValueError(f"{name}[{index}]: expected 0 to 1, got {array[index]:g}")
    return array


def field(stored: Mapping[str, object], name: str, kind: type) -> object:
    """Return a field of a stored record.

    Raises:
        ValueError: It is missing or of another type.
    """
    value = stored.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name}: expected {kind.__name__}, got {value!r}")
    return value


def version(stored: Mapping[str, object], known: int) -> None:
    """Refuse a stored record of another version.

    Raises:
        ValueError: It is not the known one.
    """
    if stored.get("version") != known:
        raise ValueError(f"version: expected {known}, got {stored.get('version')!r}")


def record(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a record stored inside of another.

    Raises:
        ValueError: It is missing or something else.
    """
    value = parent.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected an object, got {value!r}")  # noqa: TRY004 - stored text, not a caller's type
    return value


def hexes(stored: Mapping[str, object], name: str, most: int, least: int = 0) -> tuple[float, ...]:
    """Return a stored list of finite floats, which are written as hexadecimal strings to keep every bit.

    Raises:
        ValueError: It is missing, too long or too short, or holds something else.
    """
    values = stored.get(name)
    if not isinstance(values, list) or not least <= len(values) <= most:
        raise ValueError(f"{name}: expected a list of {least} to {most} hexadecimal floats, got {values!r}")
    return tuple(_float(name, value) for value in values)


def hexed(stored: Mapping[str, object], name: str) -> float:
    """Return a stored finite float, which is written as a hexadecimal string to keep every bit.

    Raises:
        ValueError: It is missing or something else.
    """
    return _float(name, stored.get(name))


def _float(name: str, value: object) -> float:
    try:
        number = float.fromhex(value)  # type: ignore[arg-type]  # what it refuses is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: expected a hexadecimal float, got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return number

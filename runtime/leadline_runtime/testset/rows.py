"""One labelled row as a file of a single row, so that `fitting` brings it to a model's inputs as it does with test sets.

Must not know the model, and must not read files.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from leadline_runtime.oip import datatypes
from leadline_runtime.testset import sources
from leadline_runtime.testset.sources import Array, UnusableError, Wish

TRUTH = "\0truth"
"""Name of the true answer, which no column of JSON lines has."""


class Row:
    """See `sources.Source`, which this is one of."""

    def __init__(self, inputs: Mapping[str, Any], truth: Any) -> None:
        """Take what JSON says; no I/O."""
        self._values = {**inputs, TRUTH: truth}
        self.names = list(self._values)
        self.rows = 1
        self._wishes: Mapping[str, Wish] = {}

    def wish(self, wishes: Mapping[str, Wish]) -> None:
        """Note what is wanted."""
        self._wishes = wishes

    def is_scalar(self, name: str) -> bool:
        """Tell whether a column holds one value."""
        return not isinstance(self._values[name], list)

    def column(self, name: str) -> Array:
        """Return a column of one row."""
        value, wish = self._values[name], self._wishes.get(name)
        takes_missing = wish is not None and wish.kind is datatypes.Kind.FLOAT
        return _array([_filled(value, name, takes_missing=takes_missing)], name)

    def close(self) -> None:
        """Do nothing: there is no file."""


def _filled(value: Any, name: str, *, takes_missing: bool) -> Any:
    """Return a value with NaN for what is missing, where that can be."""
    if isinstance(value, list):
        return [_filled(each, name, takes_missing=takes_missing) for each in value]
    if value is None:
        if not takes_missing:
            raise UnusableError(f"{sources.place(name)} is empty; expected a value")
        return float("nan")
    return value


def _array(value: list[Any], name: str) -> Array:
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise UnusableError(f"{sources.place(name)} has lists of different lengths; expected the same") from error
    if array.dtype.kind not in "biufU":
        raise UnusableError(f"{sources.place(name)} holds values of several kinds; expected numbers, text or booleans")
    if array.dtype.kind == "U" and not _is_text(value):
        raise UnusableError(f"{sources.place(name)} holds text beside numbers; expected one of them")
    return array


def _is_text(value: Any) -> bool:
    return all(map(_is_text, value)) if isinstance(value, list) else isinstance(value, str)

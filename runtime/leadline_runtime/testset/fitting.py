"""From a file's columns to the model's inputs: which columns an input is made of, and whether their values fit.

An input is the column of its name. One of k elements may be spread over columns `name[0]` to `name[k-1]`; and where the
model has a single input, all columns beside the true answers may be its elements, in the file's order. What does not fit
is said by column and row. Must not know the file's format.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from leadline_wire import exchange

from leadline_runtime.oip import datatypes
from leadline_runtime.testset import sources
from leadline_runtime.testset.sources import Array, Source, UnusableError, Wish

_NAMES_SHOWN: Final = 20


class Plan:
    """Which columns each input is made of."""

    def __init__(self, source: Source, inputs: Sequence[exchange.TensorInfo], truth: str) -> None:
        """Find the columns.

        Raises:
            UnusableError: Some are missing.
        """
        self._source = source
        self.truth = truth
        if truth not in source.names:
            raise _not_found(truth, "spec.quality.testSet.truth", source)
        self._columns = {tensor.name: self._found(tensor, is_sole=len(inputs) == 1) for tensor in inputs}
        self._wishes = {truth: Wish(None)}
        for tensor in inputs:
            kind = datatypes.BY_NAME[tensor.datatype].kind
            whole = self._columns[tensor.name] == [tensor.name]
            nested = whole and _count(tensor.shape[1:]) != 1
            for name in self._columns[tensor.name]:
                if name == truth:
                    raise UnusableError(f"{sources.place(name)} is both input and true answer; expected two columns")
                self._wishes[name] = Wish(kind, is_nested=nested)

    def prepare(self) -> int:
        """Have the columns made ready; return the number of rows."""
        self._source.wish(self._wishes)
        return self._source.rows

    def truths(self) -> Array:
        """Return the true answers, shape (rows,)."""
        values = self._source.column(self.truth)
        if values.ndim > 1 and math.prod(values.shape[1:]) == 1:
            values = values.reshape(-1)
        if values.ndim > 1 or values.dtype.kind not in "biufU":
            shown = _shown(values.shape[1:])
            raise UnusableError(f"{sources.place(self.truth)} has {shown} values in each row; expected one true answer")
        if values.dtype.kind == "f":
            gaps = np.flatnonzero(~np.isfinite(values))
            if gaps.size:
                raise UnusableError(f"{sources.place(self.truth, int(gaps[0]))} is empty; expected the true answer")
        return values

    def values(self, tensor: exchange.TensorInfo) -> Array:
        """Return an input's values, typed and shaped as the model takes them, all rows."""
        names = self._columns[tensor.name]
        datatype = datatypes.BY_NAME[tensor.datatype]
        inner = tensor.shape[1:]
        if names == [tensor.name]:
            values = self._source.column(tensor.name)
            typed = _typed(values, datatype, tensor.name)
            return typed.reshape(len(values), *_fit(inner, list(values.shape[1:]), tensor.name))
        rows = self._source.rows
        sources.check_values(tensor.name, rows * len(names))
        columns = []
        for name in names:
            values = self._source.column(name)
            if values.ndim > 1:
                raise UnusableError(
                    f"{sources.place(name)} has {_shown(values.shape[1:])} values in each row; expected 1"
                )
            columns.append(_typed(values, datatype, name))
        shape = inner if -1 not in inner else [len(names)]
        return np.stack(columns, axis=1).reshape(rows, *shape)

    def _found(self, tensor: exchange.TensorInfo, *, is_sole: bool) -> list[str]:
        source, name = self._source, tensor.name
        if name in source.names:
            return [name]
        inner = tensor.shape[1:]
        count = _count(inner)
        known = set(source.names)
        if f"{name}[0]" in known:
            spread = [f"{name}[{place}]" for place in range(len(known)) if f"{name}[{place}]" in known]
            wanted = len(spread) if count == -1 else count
            missing = next((place for place in range(wanted) if f"{name}[{place}]" not in known), None)
            extra = f"{name}[{wanted}]" in known
            if missing is not None:
                raise UnusableError(
                    f'{sources.place(f"{name}[{missing}]")} not found; expected "{name}[0]" to "{name}[{wanted - 1}]"'
                )
            if extra:
                raise UnusableError(f'has a {sources.place(f"{name}[{wanted}]")}; expected {wanted} for input "{name}"')
            if len(inner) == 1 or -1 not in inner:
                return spread
        rest = [each for each in source.names if each != self.truth]
        if is_sole and rest and len(inner) <= 1 and all(source.is_scalar(each) for each in rest):
            if count in {-1, len(rest)}:
                return rest
            if len(rest) > 1:
                raise UnusableError(
                    f'has {len(rest)} columns beside "{self.truth}" ({_listed(rest)}); expected {count}, the elements of '
                    f'input "{name}" in their order, or a column "{name}"'
                )
        raise _not_found(name, "one column per model input", source)


def _not_found(name: str, why: str, source: Source) -> UnusableError:
    return UnusableError(f"{sources.place(name)} not found ({why}); it has {_listed(source.names)}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _count(inner: Sequence[int]) -> int:
    """Return how many elements a row has; -1: any number."""
    return -1 if -1 in inner else math.prod(inner)


def _typed(values: Array, datatype: datatypes.Datatype, name: str) -> Array:
    """Return values in the model's datatype, where that changes none of them.

    Raises:
        UnusableError: It would.
    """
    kind, wanted = values.dtype.kind, datatype.kind
    if kind == "O":  # whole numbers that no type of 64 bits holds all of
        kind = "i"
    if wanted is datatypes.Kind.TEXT:
        if kind != "U":
            raise UnusableError(
                f"{sources.place(name)} holds {_said(values)}; expected {wanted.value} for {datatype.name}"
            )
        return values
    if kind not in "biuf":
        raise UnusableError(f"{sources.place(name)} holds {_said(values)}; expected {wanted.value} for {datatype.name}")
    if wanted is datatypes.Kind.BOOLEAN:
        _refuse(values, (values != 0) & (values != 1), name, "true or false", datatype)
        return values.astype(np.bool_)
    if wanted is datatypes.Kind.INTEGER:
        if kind == "f":
            _refuse(values, ~(np.isfinite(values) & (values == np.trunc(values))), name, wanted.value, datatype)
        limits = np.iinfo(datatype.numpy)
        expected = f"{wanted.value} from {limits.min} to {limits.max}"
        if kind == "f":
            # The largest integers have no exact neighbour among floating-point numbers: compare by the power of two.
            outside = (values < float(limits.min)) | (values >= float(limits.max) + 1)
        else:
            outside = (values < limits.min) | (values > limits.max)
        _refuse(values, outside, name, expected, datatype)
        return values.astype(datatype.numpy)
    with np.errstate(over="ignore"):
        typed = values.astype(datatype.numpy)
    if kind == "f":
        lost = np.isfinite(values) & ~np.isfinite(typed)
        _refuse(values, lost, name, f"numbers up to {np.finfo(datatype.numpy).max:g}", datatype)
    return typed


def _refuse(values: Array, bad: Array, name: str, expected: str, datatype: datatypes.Datatype) -> None:
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = values[place]
    shown = "nothing" if values.dtype.kind == "f" and np.isnan(value) else f"{value}"
    raise UnusableError(f"{sources.place(name, int(place[0]))} holds {shown}; expected {expected} for {datatype.name}")


def _said(values: Array) -> str:
    return {"U": "text", "b": "booleans", "f": "numbers"}.get(values.dtype.kind, "whole numbers")


def _fit(inner: list[int], found: list[int], name: str) -> list[int]:
    """Return the shape of one row: nested as the input is, or flat with as many elements."""
    if len(found) == len(inner) and all(want in {-1, have} for want, have in zip(inner, found, strict=True)):
        return found
    have = math.prod(found)
    if -1 not in inner and len(found) <= 1 and have == math.prod(inner):
        return inner
    raise UnusableError(f"{sources.place(name)} has {_shown(found)} elements in each row; expected {_shown(inner)}")


def _shown(shape: Sequence[int]) -> str:
    return " x ".join("any number of" if length == -1 else str(length) for length in shape) or "1"

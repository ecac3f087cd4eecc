"""From what a caller in Python has to arrays for the model, or to the message that the server would give.

Lists go through the server's own decoder. Arrays are checked here by the same rules and in the same words, and are not
copied where they are already what the model takes. As with binary tensors, and other than in JSON, a float may be NaN.
Must not run the model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leadline_runtime import errors
from leadline_runtime.library import failures
from leadline_runtime.oip import datatypes, decoding, signature

Array = np.ndarray[Any, np.dtype[Any]]


def inputs_of(given: Any, model: signature.Signature) -> dict[str, Array]:
    """Return the model's inputs.

    Args:
        given: Arrays or lists by the inputs' names; of a model with one input also that one alone.
        model: What the model takes.

    Raises:
        InputError: The message names the input, what was expected and what came.
    """
    by_name = _by_name(given, model)
    try:
        arrays = {tensor.name: _array(by_name[tensor.name], tensor) for tensor in model.inputs}
    except errors.BadRequestError as error:
        raise failures.InputError(str(error)) from None
    if model.has_rows:
        rows = {name: array.shape[0] for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            raise failures.InputError(f"inputs: expected the same number of rows in all, got {rows}")
    return arrays


def outputs_of(wanted: Sequence[str] | None, model: signature.Signature) -> list[int]:
    """Return the places of the outputs asked for; of all where None are named.

    Raises:
        InputError: There is no such output.
    """
    known = {tensor.name: place for place, tensor in enumerate(model.outputs)}
    for place, name in enumerate(wanted or ()):
        if name not in known:
            raise failures.InputError(f"outputs[{place}].name: expected {model.output_names()}, got {name!r}")
    return [known[name] for name in wanted] if wanted is not None else list(known.values())


def _by_name(given: Any, model: signature.Signature) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        if len(model.inputs) != 1:
            raise failures.InputError(f"inputs: expected a dict of {model.input_names()}, got {type(given).__name__}")
        return {model.inputs[0].name: given}
    expected = [tensor.name for tensor in model.inputs]
    unknown = [name for name in given if name not in expected]
    if unknown:
        raise failures.InputError(f"inputs: expected {model.input_names()}, got {unknown[0]!r}")
    missing = [name for name in expected if name not in given]
    if missing:
        raise failures.InputError(f'inputs: "{missing[0]}" is missing; expected {model.input_names()}')
    return given


def _array(value: Any, tensor: signature.Tensor) -> Array:
    if isinstance(value, np.ndarray):
        return _checked(value, tensor)
    if hasattr(value, "__array__"):
        # Tables and tensors of other libraries.
        return _checked(np.asarray(value), tensor)
    return _decoded(value, tensor)


def _decoded(value: Any, tensor: signature.Tensor) -> Array:
    """Take lists by the way of a request."""
    shape: list[int] = []
    level = value
    while isinstance(level, list | tuple):
        shape.append(len(level))
        if not level:
            break
        level = level[0]
    flat = _plain(value) if shape else [value]
    request = {
        "inputs": [{"name": tensor.name, "datatype": tensor.datatype.name, "shape": shape, "data": flat}],
    }
    alone = signature.Signature((tensor,), (), has_rows=False)
    return decoding.decode(request, alone).arrays[tensor.name]


def _plain(value: Any) -> Any:
    """Return lists of Python's own values, which a request has, for lists of whatever is like them."""
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    return value.item() if isinstance(value, np.generic) else value


def _checked(array: Array, tensor: signature.Tensor) -> Array:
    where = f'input "{tensor.name}"'
    typed = _typed(array, tensor.datatype, where)
    lengths, expected = typed.shape, tensor.shape
    fits = len(lengths) == len(expected) and all(
        wanted in {-1, length} for length, wanted in zip(lengths, expected, strict=True)
    )
    if not fits:
        raise failures.InputError(f"{where}: expected shape {list(expected)}, got {list(lengths)}")
    if 0 in lengths and 0 not in expected:
        raise failures.InputError(f"{where}: expected at least one element, got shape {list(lengths)}")
    return typed


def _typed(array: Array, datatype: datatypes.Datatype, where: str) -> Array:
    """Return the array in the model's datatype, if each element can be had in it."""
    if array.dtype == datatype.numpy and datatype.kind is not datatypes.Kind.TEXT:
        return array
    kind = array.dtype.kind
    match datatype.kind:
        case datatypes.Kind.FLOAT if kind in "iuf":
            return _floats(array, datatype, where)
        case datatypes.Kind.INTEGER if kind in "iu":
            return _integers(array, datatype, where)
        case datatypes.Kind.TEXT if kind == "U":
            return array.astype(object)
        case datatypes.Kind.TEXT if kind == "O" and all(isinstance(element, str) for element in array.flat):
            return array
    raise failures.InputError(
        f"{where}: expected datatype {datatype.name} ({datatype.kind.value}), got an array of {array.dtype}"
    )


def _floats(array: Array, datatype: datatypes.Datatype, where: str) -> Array:
    with np.errstate(over="ignore"):
        typed: Array = array.astype(datatype.numpy)
    if np.isinf(typed).any():
        lost = np.flatnonzero(np.isinf(typed) & ~np.isinf(array.astype(np.float64)))
        if lost.size:
            place = int(lost[0])
            value = array.flat[place].item()
            raise failures.InputError(f"{where}: element {place}, {value!r}, is too large for {datatype.name}")
    return typed


def _integers(array: Array, datatype: datatypes.Datatype, where: str) -> Array:
    bounds = np.iinfo(datatype.numpy)
    if array.size:
        for place in (int(array.argmin()), int(array.argmax())):
            value = array.flat[place].item()
            if not bounds.min <= value <= bounds.max:
                raise failures.InputError(
                    f"{where}: element {place}: expected {bounds.min} to {bounds.max} for {datatype.name}, got {value}"
                )
    return array.astype(datatype.numpy)


def rows_of(arrays: Mapping[str, Array]) -> int:
    """Return the number of rows of a model that has rows."""
    return math.prod(next(iter(arrays.values())).shape[:1])

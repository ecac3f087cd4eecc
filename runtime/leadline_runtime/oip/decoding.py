"""From a request's JSON to arrays for the model, or to a message that says what was expected.

This is the general way: any number of inputs, any datatype, flat or nested data, many rows. The usual request (one
input, one row) takes the short way in `engine.lanes`, which accepts nothing that is refused here and comes here with
whatever it does not know. Must not run the model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from leadline_runtime import errors
from leadline_runtime.oip import datatypes, signature

Array = np.ndarray[Any, np.dtype[Any]]

_JSON_NAMES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


@dataclass(slots=True)
class Request:
    """One request, checked."""

    arrays: dict[str, Array]
    rows: int
    """Rows of all inputs where the model has rows, else 1."""
    identifier: bytes
    """The client's id, as JSON; empty: none."""
    outputs: tuple[int, ...] | None
    """Places of the outputs asked for; None: all."""
    parameters: dict[str, Any] | None = None
    """The request's own."""


def load(body: bytes, content_encoding: bytes | None = None) -> dict[str, Any]:
    """Return the JSON object in the body.

    Raises:
        BadRequestError: It is none.
    """
    try:
        request = orjson.loads(body)
    except ValueError as error:
        if content_encoding not in {None, b"identity"}:
            raise errors.BadRequestError("content-encoding: expected none, the body as it is", status=415) from error
        if not body:
            raise errors.BadRequestError("body: expected a JSON object, got nothing") from error
        raise errors.BadRequestError(f"body: expected a JSON object; {error}") from error
    if not isinstance(request, dict):
        raise errors.BadRequestError(f"body: expected a JSON object, got {_kind(request)}")
    return request


def decode(request: dict[str, Any], model: signature.Signature) -> Request:
    """Return the checked request.

    Args:
        request: The JSON object.
        model: What the model takes.

    Raises:
        BadRequestError: The message names the field, what was expected and what came.
    """
    identifier = encoded_id(request)
    _check_parameters(request, "parameters")
    outputs = _outputs(request, model)
    tensors = request.get("inputs")
    if not isinstance(tensors, list):
        raise errors.BadRequestError(f"inputs: expected a list of {model.input_names()}, got {_kind(tensors)}")
    arrays: dict[str, Array] = {}
    expected = {tensor.name: tensor for tensor in model.inputs}
    for place, tensor in enumerate(tensors):
        if not isinstance(tensor, dict):
            raise errors.BadRequestError(f"inputs[{place}]: expected an object, got {_kind(tensor)}")
        name = tensor.get("name")
        if not isinstance(name, str) or name not in expected:
            raise errors.BadRequestError(f"inputs[{place}].name: expected {model.input_names()}, got {_shown(name)}")
        if name in arrays:
            raise errors.BadRequestError(f'inputs[{place}].name: "{name}" is given twice')
        arrays[name] = _array(tensor, expected[name])
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise errors.BadRequestError(f'inputs: "{missing[0]}" is missing; expected {model.input_names()}')
    return Request(arrays, _rows(arrays, model), identifier, outputs, request.get("parameters"))


def encoded_id(request: dict[str, Any]) -> bytes:
    """Return the client's id as JSON; empty if there is none.

    Raises:
        BadRequestError: It is no string.
    """
    identifier = request.get("id")
    if identifier is None:
        return b""
    if not isinstance(identifier, str):
        raise errors.BadRequestError(f"id: expected a string, got {_kind(identifier)}")
    return orjson.dumps(identifier)


def _check_parameters(owner: dict[str, Any], where: str) -> None:
    parameters = owner.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise errors.BadRequestError(f"{where}: expected an object, got {_kind(parameters)}")


def _outputs(request: dict[str, Any], model: signature.Signature) -> tuple[int, ...] | None:
    wanted = request.get("outputs")
    if wanted is None:
        return None
    if not isinstance(wanted, list):
        raise errors.BadRequestError(f"outputs: expected a list, got {_kind(wanted)}")
    known = {tensor.name: place for place, tensor in enumerate(model.outputs)}
    places: list[int] = []
    for place, output in enumerate(wanted):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise errors.BadRequestError(f"outputs[{place}].name: expected {model.output_names()}, got {_shown(name)}")
        _check_parameters(output, f"outputs[{place}].parameters")
        if known[name] in places:
            raise errors.BadRequestError(f'outputs[{place}].name: "{name}" is given twice')
        places.append(known[name])
    # The protocol: no list, or an empty one, asks for all.
    return tuple(places) or None


def _array(tensor: dict[str, Any], expected: signature.Tensor) -> Array:
    where = f'input "{expected.name}"'
    datatype = expected.datatype
    if tensor.get("datatype") != datatype.name:
        raise errors.BadRequestError(
            f"{where}: expected datatype {datatype.name}, got {_shown(tensor.get('datatype'))}",
        )
    _check_parameters(tensor, f"{where}, parameters")
    shape = _shape(tensor.get("shape"), expected, where)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise errors.BadRequestError(f"{where}: expected data as a list, got {_kind(data)}")
    flat = _flat(data, shape, where)
    count = math.prod(shape)
    if len(flat) != count:
        raise errors.BadRequestError(
            f"{where}: expected {count} elements for shape {list(shape)}, got {len(flat)}",
        )
    return _READERS[datatype.kind](flat, datatype, where).reshape(shape)


def _shape(shape: object, expected: signature.Tensor, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(_is_length(length) for length in shape):
        raise errors.BadRequestError(
            f"{where}: expected shape {list(expected.shape)} as a list of whole numbers, got {_shown(shape)}",
        )
    lengths = tuple(int(length) for length in shape)
    fits = len(lengths) == len(expected.shape) and all(
        wanted in {-1, length} for length, wanted in zip(lengths, expected.shape, strict=True)
    )
    if not fits:
        raise errors.BadRequestError(f"{where}: expected shape {list(expected.shape)}, got {_shown(shape)}")
    if 0 in lengths and 0 not in expected.shape:
        raise errors.BadRequestError(f"{where}: expected at least one element, got shape {list(lengths)}")
    return lengths


def _is_length(length: object) -> bool:
    # JSON has one kind of number: 64.0 is 64.
    if isinstance(length, bool) or not isinstance(length, int | float):
        return False
    return length == int(length) and 0 <= length < 1 << 53


def _flat(data: list[Any], shape: tuple[int, ...], where: str) -> list[Any]:
    """Return the elements in row-major order; nested data must have the shape that was named."""
    if not data or not isinstance(data[0], list):
        return data
    level = data
    if not shape or len(data) != shape[0]:
        raise errors.BadRequestError(f"{where}: expected data flat or nested as shape {list(shape)}")
    for inner in shape[1:]:
        if any(type(part) is not list or len(part) != inner for part in level):
            raise errors.BadRequestError(f"{where}: expected data flat or nested as shape {list(shape)}")
        level = [element for part in level for element in part]
    return level


def _floats(flat: list[Any], datatype: datatypes.Datatype, where: str) -> Array:
    _check_types(flat, {int, float}, datatype, where)
    wide: Array = np.array(flat, dtype=np.float64)
    with np.errstate(over="ignore"):
        array: Array = wide.astype(datatype.numpy)
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise errors.BadRequestError(f"{where}: element {place}, {flat[place]!r}, is too large for {datatype.name}")
    return array


def _integers(flat: list[Any], datatype: datatypes.Datatype, where: str) -> Array:
    _check_types(flat, {int}, datatype, where)
    bounds = np.iinfo(datatype.numpy)
    for place in (flat.index(value) for value in (min(flat, default=0), max(flat, default=0)) if flat):
        if not bounds.min <= flat[place] <= bounds.max:
            raise errors.BadRequestError(
                f"{where}: element {place}: expected {bounds.min} to {bounds.max} for {datatype.name}, "
                f"got {flat[place]}",
            )
    return np.array(flat, dtype=datatype.numpy)


def _booleans(flat: list[Any], datatype: datatypes.Datatype, where: str) -> Array:
    _check_types(flat, {bool}, datatype, where)
    return np.array(flat, dtype=datatype.numpy)


def _texts(flat: list[Any], datatype: datatypes.Datatype, where: str) -> Array:
    _check_types(flat, {str}, datatype, where)
    return np.array(flat, dtype=datatype.numpy)


_READERS: Final[dict[datatypes.Kind, Callable[[list[Any], datatypes.Datatype, str], Array]]] = {
    datatypes.Kind.FLOAT: _floats,
    datatypes.Kind.INTEGER: _integers,
    datatypes.Kind.BOOLEAN: _booleans,
    datatypes.Kind.TEXT: _texts,
}


def _check_types(flat: list[Any], allowed: set[type], datatype: datatypes.Datatype, where: str) -> None:
    # One pass in C; only a refusal looks at the elements one by one.
    if set(map(type, flat)) <= allowed:
        return
    place = next(place for place, element in enumerate(flat) if type(element) not in allowed)
    raise errors.BadRequestError(
        f"{where}: element {place}: expected {datatype.kind.value} for {datatype.name}, got {_shown(flat[place])}",
    )


def _rows(arrays: dict[str, Array], model: signature.Signature) -> int:
    if not model.has_rows:
        return 1
    rows = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise errors.BadRequestError(f"inputs: expected the same number of rows in all, got {rows}")
    return int(next(iter(rows.values())))


def _kind(value: object) -> str:
    return "nothing" if value is None else _JSON_NAMES.get(type(value), "something else")


def _shown(value: object) -> str:
    """Return a value as a message shows it: short, as JSON."""
    return errors.shorten(orjson.dumps(value).decode(), 80)

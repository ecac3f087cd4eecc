"""From a request's JSON to arrays for the model, or to a message that says what was expected.

This is the general way: any number of inputs, any datatype, flat or nested data or raw tensors after the JSON, many
rows. The usual request (one input, one row) takes the short way in `inference`, which accepts nothing that is refused
here and comes here with whatever it does not know. Must not run the model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from leadline_runtime import errors
from leadline_runtime.oip import datatypes, raw, signature

Array = np.ndarray[Any, np.dtype[Any]]

_ELEMENTS_MAX: Final = 1 << 40
"""Of a tensor; more than any memory holds. Empty ones are measured as if they were not: numpy does so as well."""
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
    identifier: str | None = None
    """The client's id."""
    outputs: tuple[int, ...] | None = None
    """Places of the outputs asked for; None: all."""
    binary: frozenset[int] = frozenset()
    """Places of the outputs that are to come as raw tensors."""
    parameters: dict[str, Any] | None = None
    """The request's own."""

    @property
    def input_bytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())


class _Tail:
    """The raw tensors after a request's JSON, taken one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int, where: str) -> memoryview:
        """Return the next tensor."""
        left = len(self._data) - self._at
        if size > left:
            raise errors.BadRequestError(f"{where}: expected {size} bytes (binary_data_size), {left} are left")
        start = self._at
        self._at += size
        return self._data[start : self._at]

    def end(self) -> None:
        """Refuse bytes that belong to no tensor."""
        left = len(self._data) - self._at
        if left:
            raise errors.BadRequestError(
                f"body: {left} bytes after the last input's; expected as many as the inputs' binary_data_size say"
            )


def split(body: raw.Buffer, header_bytes: bytes) -> tuple[raw.Buffer, memoryview]:
    """Return a body's JSON and what comes after it.

    Args:
        body: The whole body.
        header_bytes: Length of the JSON, as the header inference-header-content-length says.

    Raises:
        BadRequestError: That is no length of a part of the body.
    """
    length = int(header_bytes) if header_bytes.isdigit() and len(header_bytes) < 19 else -1
    if not 0 <= length <= len(body):
        raise errors.BadRequestError(
            f"inference-header-content-length: expected 0 to {len(body)}, the bytes of the body that are JSON, "
            f"got {errors.shorten(header_bytes.decode('latin-1'), 80)!r}"
        )
    view = memoryview(body)
    return view[:length], view[length:]


def load(body: raw.Buffer) -> dict[str, Any]:
    """Return the JSON object in the body.

    Raises:
        BadRequestError: It is none.
    """
    try:
        request = orjson.loads(body)
    except ValueError as error:
        if not len(body):
            raise errors.BadRequestError("body: expected a JSON object, got nothing") from error
        raise errors.BadRequestError(f"body: expected a JSON object; {error}") from error
    if not isinstance(request, dict):
        raise errors.BadRequestError(f"body: expected a JSON object, got {_kind(request)}")
    return request


def decode(request: dict[str, Any], model: signature.Signature, tail: memoryview | None = None) -> Request:
    """Return the checked request.

    Args:
        request: The JSON object.
        model: What the model takes.
        tail: Raw tensors that came after it; None: the request is JSON alone.

    Raises:
        BadRequestError: The message names the field, what was expected and what came.
    """
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise errors.BadRequestError(f"id: expected a string, got {_kind(identifier)}")
    parameters = _parameters(request, "parameters")
    places, binary = outputs(request, model)
    rest = None if tail is None else _Tail(tail)
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
        arrays[name] = _array(tensor, expected[name], rest)
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise errors.BadRequestError(f'inputs: "{missing[0]}" is missing; expected {model.input_names()}')
    if rest is not None:
        rest.end()
    return Request(arrays, count_rows(arrays, model), identifier, places, binary, parameters)


def outputs(request: dict[str, Any], model: signature.Signature) -> tuple[tuple[int, ...] | None, frozenset[int]]:
    """Return the places of the outputs asked for (None: all), and of those that are to come as raw tensors.

    Raises:
        BadRequestError: There is no such output, or a flag is none.
    """
    is_binary = _flag(request.get("parameters"), "binary_data_output", "parameters", default=False)
    wanted = request.get("outputs")
    if wanted is not None and not isinstance(wanted, list):
        raise errors.BadRequestError(f"outputs: expected a list, got {_kind(wanted)}")
    if not wanted:
        # The protocol: no list, or an empty one, asks for all.
        return None, frozenset(range(len(model.outputs)) if is_binary else ())
    known = {tensor.name: place for place, tensor in enumerate(model.outputs)}
    places: list[int] = []
    binary: list[int] = []
    for place, output in enumerate(wanted):
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in known:
            raise errors.BadRequestError(f"outputs[{place}].name: expected {model.output_names()}, got {_shown(name)}")
        where = f"outputs[{place}].parameters"
        parameters = _parameters(output, where)
        if parameters:
            refuse_not_offered(parameters, where)
        if known[name] in places:
            raise errors.BadRequestError(f'outputs[{place}].name: "{name}" is given twice')
        places.append(known[name])
        if _flag(parameters, "binary_data", where, default=is_binary):
            binary.append(known[name])
    return tuple(places), frozenset(binary)


def count_rows(arrays: Mapping[str, Array], model: signature.Signature) -> int:
    """Return how many rows a request has; 1 where the model has none, which alone may take tensors without an element.

    Raises:
        BadRequestError: Not as many in all inputs, or none.
    """
    if not model.has_rows:
        return 1
    for name, array in arrays.items():
        if not array.size:
            raise errors.BadRequestError(
                f'input "{name}": expected at least one row and one element, got shape {list(array.shape)}'
            )
    rows = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise errors.BadRequestError(f"inputs: expected the same number of rows in all, got {rows}")
    return int(next(iter(rows.values())))


def check_shape(lengths: tuple[int, ...], expected: signature.Tensor, where: str) -> None:
    """Check a shape against what the model takes.

    Raises:
        BadRequestError: The model does not take it.
    """
    fits = len(lengths) == len(expected.shape) and all(
        wanted in {-1, length} for length, wanted in zip(lengths, expected.shape, strict=True)
    )
    if not fits:
        raise errors.BadRequestError(f"{where}: expected shape {list(expected.shape)}, got {_shown(lengths)}")
    if math.prod(length or 1 for length in lengths) > _ELEMENTS_MAX:
        raise errors.BadRequestError(
            f"{where}: expected lengths whose product, zeros left out, is at most {_ELEMENTS_MAX}, got {_shown(lengths)}"
        )


def _parameters(owner: dict[str, Any], where: str) -> dict[str, Any] | None:
    parameters = owner.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise errors.BadRequestError(f"{where}: expected an object, got {_kind(parameters)}")
    return parameters


def refuse_not_offered(parameters: Mapping[str, Any], where: str) -> None:
    """Refuse what Triton offers beside the protocol, and what would be answered otherwise than meant if passed over.

    Raises:
        BadRequestError: The parameters ask for it.
    """
    if "classification" in parameters:
        raise errors.BadRequestError(f"{where}: classification is not offered; ask for the output as it is")
    if "shared_memory_region" in parameters:
        raise errors.BadRequestError(f"{where}: shared memory is not offered; send and ask for tensors in the body")


def _flag(parameters: dict[str, Any] | None, name: str, where: str, *, default: bool) -> bool:
    flag = default if parameters is None else parameters.get(name, default)
    if not isinstance(flag, bool):
        raise errors.BadRequestError(f"{where}.{name}: expected true or false, got {_shown(flag)}")
    return flag


def _array(tensor: dict[str, Any], expected: signature.Tensor, tail: _Tail | None) -> Array:
    where = f'input "{expected.name}"'
    datatype = expected.datatype
    if tensor.get("datatype") != datatype.name:
        raise errors.BadRequestError(
            f"{where}: expected datatype {datatype.name}, got {_shown(tensor.get('datatype'))}",
        )
    parameters = _parameters(tensor, f"{where}, parameters")
    shape = _shape(tensor.get("shape"), expected, where)
    if parameters:
        refuse_not_offered(parameters, where)
    if parameters is not None and "binary_data_size" in parameters:
        return _raw_array(tensor, parameters["binary_data_size"], (expected, shape, where), tail)
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


def _raw_array(
    tensor: dict[str, Any], size: object, what: tuple[signature.Tensor, tuple[int, ...], str], tail: _Tail | None
) -> Array:
    expected, shape, where = what
    if tail is None:
        raise errors.BadRequestError(
            f"{where}: has binary_data_size, but the request has no header inference-header-content-length"
        )
    if not _is_length(size):
        raise errors.BadRequestError(f"{where}, parameters.binary_data_size: expected a length, got {_shown(size)}")
    if "data" in tensor:
        raise errors.BadRequestError(f"{where}: expected either data or binary_data_size, got both")
    return raw.to_array(tail.take(int(size), where), expected.datatype, shape, where)  # type: ignore[call-overload]


def _shape(shape: object, expected: signature.Tensor, where: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(_is_length(length) for length in shape):
        raise errors.BadRequestError(
            f"{where}: expected shape {list(expected.shape)} as a list of whole numbers, got {_shown(shape)}",
        )
    lengths = tuple(int(length) for length in shape)
    check_shape(lengths, expected, where)
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
    _check_types(flat, {int, float, type(None)}, datatype, where)
    # What is missing is not a number: pandas writes NaN as null, and models of tables know what to do with it.
    wide: Array = np.array(flat, dtype=np.float64)
    with np.errstate(over="ignore"):
        array: Array = wide.astype(datatype.numpy)
        too_large = np.isinf(raw.to_bf16(array) if datatype is datatypes.BF16 else array)
    if too_large.any():
        place = int(np.flatnonzero(too_large)[0])
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


def _kind(value: object) -> str:
    return "nothing" if value is None else _JSON_NAMES.get(type(value), "something else")


def _shown(value: object) -> str:
    """Return a value as a message shows it: short, as JSON."""
    return errors.shorten(orjson.dumps(value).decode(), 80)

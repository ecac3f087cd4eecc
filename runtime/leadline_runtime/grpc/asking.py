"""ModelInfer of one loaded model: reads a request, lets it join a batch.

A client repeats itself: all that stands before the raw tensor of a row (model, names, datatype, shape) is the same bytes in
each of its messages. Such a beginning is checked once, the general way, and remembered; a message that begins so and has
the row's length is one dictionary look and one copy into the batch. Must not know how calls come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson
from leadline_wire import exchange

from leadline_runtime import errors
from leadline_runtime.grpc import answering, bare, framing, protocol, service
from leadline_runtime.grpc.calls import Caller
from leadline_runtime.oip import datatypes, decoding, forms, raw, signature
from leadline_runtime.oip.batches import Origin
from leadline_runtime.oip.inference import Inference
from leadline_runtime.web.connection import Connection

Array = np.ndarray[Any, np.dtype[Any]]

_KNOWN_MAX: Final = 64
"""Beginnings that are remembered."""
_BEGIN_BYTES_MAX: Final = 4_096
"""Longest that is looked up or remembered."""
_FORMS_MAX: Final = 256
_COPY: Final = exchange.COPY_HEADER.encode()
_FORWARDED: Final = exchange.FORWARDED_HEADER.encode()
_TAGS: Final = "tags"
_UNSHAPED: Final = frozenset({"FP16", "BF16"})
"""Datatypes that typed contents have no field for."""


class Predictions:
    """Answers ModelInfer for one model."""

    def __init__(self, inference: Inference, model: signature.Signature, name: str, revision: str) -> None:
        self._inference = inference
        self._signature = model
        self._name = name
        self._revision = revision
        self._row_bytes = inference.row_bytes
        self._known: dict[bytes, forms.Form] = {}
        """By what stands before a row's raw tensor: the form of the answer."""
        self._forms: dict[tuple[tuple[int, ...] | None, bool], forms.Form] = {}

    def infer(self, caller: Caller) -> None:
        """Answer a call to the public port."""
        self._infer(caller, self._inference.public_origin)

    def infer_own(self, caller: Caller) -> None:
        """Answer a call to the revision's own port."""
        self._infer(caller, Origin.CLIENT if _FORWARDED in caller.headers else Origin.ASIDE)

    def infer_rest(self, connection: Connection) -> None:
        """Answer what comes to REST's path on the own port: a copy of a call as well, with the prediction in words."""
        headers = connection.headers
        if headers.get(b"content-type") != bare.TYPE or _COPY not in headers:
            self._inference.infer_own(connection)
        elif framing.is_whole(connection.body):
            self._infer(connection, Origin.COPY)
        else:
            connection.refuse(400, "body: expected a gRPC message in its frame")

    def _infer(self, caller: forms.Caller, origin: Origin) -> None:
        body, size = caller.body, self._row_bytes
        if size and len(body) <= size + _BEGIN_BYTES_MAX:
            form = self._known.get(body[:-size])
            if form is not None:
                self._inference.take_row(caller, body[-size:], form, None, origin)
                return
        self._infer_any(caller, origin)

    def _infer_any(self, caller: forms.Caller, origin: Origin) -> None:
        try:
            message = protocol.InferRequest.FromString(framing.message_of(caller.body))
        except protocol.DecodeError as error:
            caller.refuse(400, f"body: expected an inference.ModelInferRequest; {error}")
            return
        try:
            service.check_names(self._name, self._revision, message.model_name, message.model_version)
            request = decode(message, self._signature)
        except errors.BadRequestError as error:
            caller.refuse(error.status, str(error))
            return
        form = self._form(request.outputs, is_raw=bool(message.raw_input_contents))
        if self._row_bytes and request.rows == 1 and request.identifier is None and not request.parameters:
            self._learn(caller.body, message, form)
        self._inference.take(caller, request, form, origin)

    def _learn(self, body: bytes, message: Any, form: forms.Form) -> None:
        """Remember how a message for one row begins, where its raw tensor is its end."""
        size = self._row_bytes
        if [len(tensor) for tensor in message.raw_input_contents] != [size] or len(body) > size + _BEGIN_BYTES_MAX:
            return
        begin = body[:-size]
        # The bytes at the end are the tensor, and nothing else is, exactly if other bytes there make another tensor.
        other = bytes(byte ^ 0xFF for byte in body[-size:])
        try:
            changed = protocol.InferRequest.FromString(framing.message_of(begin + other))
        except protocol.DecodeError:
            return
        if list(changed.raw_input_contents) != [other]:
            return
        changed.raw_input_contents[0] = message.raw_input_contents[0]
        if changed == message:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[begin] = form

    def _form(self, places: tuple[int, ...] | None, *, is_raw: bool) -> forms.Form:
        """Return the form of an answer with these outputs."""
        outputs = self._signature.outputs
        chosen: Sequence[int] = range(len(outputs)) if places is None else places
        if any(outputs[place].datatype.name in _UNSHAPED for place in chosen):
            is_raw = True
        form = self._forms.get((places, is_raw))
        if form is None:
            if len(self._forms) >= _FORMS_MAX:
                self._forms.clear()
            make = answering.RawForm if is_raw else answering.TypedForm
            form = self._forms[places, is_raw] = make(outputs, chosen, self._name, self._revision)
        return form


def decode(message: Any, model: signature.Signature) -> decoding.Request:
    """Return a checked request.

    Args:
        message: A ModelInferRequest.
        model: What the model takes.

    Raises:
        BadRequestError: The message names the field, what was expected and what came.
    """
    tensors = message.raw_input_contents
    if tensors and len(tensors) != len(message.inputs):
        raise errors.BadRequestError(
            f"raw_input_contents: expected one for each of {len(message.inputs)} inputs, got {len(tensors)}"
        )
    expected = {tensor.name: tensor for tensor in model.inputs}
    arrays: dict[str, Array] = {}
    for place, given in enumerate(message.inputs):
        tensor = expected.get(given.name)
        if tensor is None:
            raise errors.BadRequestError(
                f'inputs[{place}].name: expected {model.input_names()}, got "{given.name[:80]}"'
            )
        if tensor.name in arrays:
            raise errors.BadRequestError(f'inputs[{place}].name: "{tensor.name}" is given twice')
        arrays[tensor.name] = _array(given, tensor, tensors[place] if tensors else None)
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise errors.BadRequestError(f'inputs: "{missing[0]}" is missing; expected {model.input_names()}')
    rows = decoding.count_rows(arrays, model)
    parameters = {name: _parameter(name, value) for name, value in message.parameters.items()}
    return decoding.Request(arrays, rows, message.id or None, _outputs(message, model), parameters=parameters or None)


def _outputs(message: Any, model: signature.Signature) -> tuple[int, ...] | None:
    known = {tensor.name: place for place, tensor in enumerate(model.outputs)}
    places: list[int] = []
    for place, output in enumerate(message.outputs):
        found = known.get(output.name)
        if found is None:
            raise errors.BadRequestError(
                f'outputs[{place}].name: expected {model.output_names()}, got "{output.name[:80]}"'
            )
        if output.parameters:
            decoding.refuse_not_offered(output.parameters, f"outputs[{place}].parameters")
        if found in places:
            raise errors.BadRequestError(f'outputs[{place}].name: "{output.name}" is given twice')
        places.append(found)
    return tuple(places) or None


def _parameter(name: str, value: Any) -> Any:
    """Return a parameter's value; tags, which are an object, come as its JSON."""
    kind = value.WhichOneof("parameter_choice")
    told = getattr(value, kind) if kind is not None else None
    if name == _TAGS and isinstance(told, str):
        try:
            return orjson.loads(told)
        except ValueError:
            return told
    return told


def _array(given: Any, expected: signature.Tensor, tensor: bytes | None) -> Array:
    where = f'input "{expected.name}"'
    datatype = expected.datatype
    if given.datatype != datatype.name:
        raise errors.BadRequestError(f'{where}: expected datatype {datatype.name}, got "{given.datatype[:80]}"')
    if given.parameters:
        decoding.refuse_not_offered(given.parameters, f"{where}, parameters")
    shape = tuple(given.shape)
    if any(length < 0 for length in shape):
        raise errors.BadRequestError(f"{where}: expected shape {list(expected.shape)}, got {list(shape)[:32]}")
    decoding.check_shape(shape, expected, where)
    if tensor is not None:
        if given.HasField("contents"):
            raise errors.BadRequestError(f"{where}: expected either contents or raw_input_contents, got both")
        return raw.to_array(tensor, datatype, shape, where)
    return _typed(given.contents, datatype, where, math.prod(shape)).reshape(shape)


def _typed(contents: Any, datatype: datatypes.Datatype, where: str, count: int) -> Array:
    """Return the elements that came as typed contents."""
    wanted = answering.CONTENTS.get(datatype.name)
    if wanted is None:
        raise errors.BadRequestError(
            f"{where}: expected raw_input_contents, for contents have no field for {datatype.name}"
        )
    others = [field.name for field, _ in contents.ListFields() if field.name != wanted]
    if others:
        raise errors.BadRequestError(f"{where}: expected {datatype.name} in contents.{wanted}, got {others[0]}")
    elements = getattr(contents, wanted)
    if len(elements) != count:
        raise errors.BadRequestError(f"{where}: expected {count} elements in contents.{wanted}, got {len(elements)}")
    if datatype.kind is datatypes.Kind.TEXT:
        return _texts(elements, where)
    if datatype.kind is not datatypes.Kind.INTEGER:
        array: Array = np.array(elements, datatype.numpy)
        return array
    wide: Array = np.array(elements, np.uint64 if datatype.name == "UINT64" else np.int64)
    bounds = np.iinfo(datatype.numpy)
    outside = (wide < bounds.min) | (wide > bounds.max)
    if outside.any():
        place = int(np.flatnonzero(outside)[0])
        raise errors.BadRequestError(
            f"{where}: element {place}: expected {bounds.min} to {bounds.max} for {datatype.name}, got {wide[place]}"
        )
    return wide.astype(datatype.numpy)


def _texts(elements: Sequence[bytes], where: str) -> Array:
    array: Array = np.empty(len(elements), object)
    for place, element in enumerate(elements):
        try:
            array[place] = element.decode()
        except UnicodeDecodeError as error:
            raise errors.BadRequestError(
                f"{where}: element {place}: expected UTF-8, for tensors of ONNX hold text; {error.reason}"
            ) from error
    return array

"""A prediction: from inputs to a request of the Open Inference Protocol, and from the answer to outputs by name.

Tensors go as raw bytes both ways. Their datatypes are the model's: its metadata is asked for once, and again where the server
refuses a request or an input has a name that it lacks, for another revision may serve by then. Must not do I/O.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from leadline_client import errors, retrying, steps, tensors

_LENGTH: Final = "inference-header-content-length"
_OWN_PARAMETERS: Final = frozenset({"tags", "binary_data_output"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered."""

    outputs: Mapping[str, Any]
    """By name: arrays where numpy is, else nested lists."""
    revision: str
    """That answered."""
    receipt: str | None
    """By which the true answer is reported; None: this prediction is not among those that can be."""
    id: str | None
    """As it was sent."""


class Signature(NamedTuple):
    """What a model takes."""

    inputs: tuple[tensors.Tensor, ...]

    def named(self, name: str) -> tensors.Tensor:
        """Return one input.

        Raises:
            InputError: There is none of this name.
        """
        for each in self.inputs:
            if each.name == name:
                return each
        known = ", ".join(f'"{each.name}"' for each in self.inputs)
        raise errors.InputError(f'inputs["{name}"]: the model has no such input; expected {known}')


class Known:
    """The signature that was learned last."""

    __slots__ = ("signature",)

    def __init__(self) -> None:
        self.signature: Signature | None = None


class Asked(NamedTuple):
    """What is asked of the model."""

    inputs: Any
    id: str | None = None
    tags: Mapping[str, str] = MappingProxyType({})
    entity: Mapping[str, str | int] = MappingProxyType({})
    outputs: Sequence[str] = ()


Unpack = Callable[[str, Sequence[int], bytes], Any]


def predict(
    asked: Asked, known: Known, budget: retrying.Budget, edge: steps.Edge, unpack: Unpack
) -> steps.Flow[Answer]:
    """Return the model's answer.

    Raises:
        InputError, Refused, Unavailable: See there.
    """
    parameters = _parameters(asked)
    signature, is_new = known.signature, False
    while True:
        if signature is None:
            signature = known.signature = yield from _learned(budget, edge)
            is_new = True
        refusal: errors.ClientError
        try:
            request = _request(asked, parameters, signature)
        except errors.InputError as error:
            refusal = error
        else:
            response = yield from retrying.exchanged(request, budget, edge)
            if response.status == 200:
                return answer(response, unpack)
            refusal = errors.Refused(response.status, retrying.said(response))
            if response.status != 400:
                raise refusal
        if is_new:
            raise refusal
        # Another revision may serve by now, which takes something else.
        known.signature = yield from _learned(budget, edge)
        if known.signature == signature:
            raise refusal
        signature, is_new = known.signature, True


def answer(response: steps.Response, unpack: Unpack) -> Answer:
    """Read a prediction.

    Raises:
        Unavailable: That is none: something else than a model server answered 200.
    """
    try:
        size = int(response.headers.get(_LENGTH, len(response.body)))
        told = json.loads(response.body[:size])
        at, outputs = size, {}
        for output in told["outputs"]:
            name, datatype, shape = output["name"], output["datatype"], output["shape"]
            length = output.get("parameters", {}).get("binary_data_size")
            if length is None:
                raise ValueError(f"output {name} came otherwise than asked for")  # noqa: TRY301 - said in one place
            outputs[name] = unpack(datatype, shape, response.body[at : at + length])
            at += length
        receipt = told.get("parameters", {}).get("receipt")
        return Answer(outputs, told.get("model_version", ""), receipt, told.get("id"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Unavailable(f"the server's answer cannot be read: {error!r}") from error


def _learned(budget: retrying.Budget, edge: steps.Edge) -> steps.Flow[Signature]:
    response = yield from retrying.exchanged(steps.Request("GET", ""), budget, edge)
    if response.status != 200:
        raise errors.Refused(response.status, retrying.said(response))
    try:
        told = json.loads(response.body)["inputs"]
        return Signature(tuple(tensors.Tensor(each["name"], each["datatype"], tuple(each["shape"])) for each in told))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Unavailable(f"the server's metadata cannot be read: {error!r}") from error


def _request(asked: Asked, parameters: Mapping[str, Any], signature: Signature) -> steps.Request:
    given = asked.inputs
    if not isinstance(given, Mapping):
        if len(signature.inputs) != 1:
            known = ", ".join(f'"{each.name}"' for each in signature.inputs)
            raise errors.InputError(f"inputs: expected values by name, for the model takes {known}")
        given = {signature.inputs[0].name: given}
    described, raw = [], []
    for name, value in given.items():
        tensor = signature.named(name)
        shape, packed = _packed(tensor, value)
        size = {"binary_data_size": len(packed)}
        described.append({"name": name, "datatype": tensor.datatype, "shape": shape, "parameters": size})
        raw.append(packed)
    head: dict[str, Any] = {"inputs": described, "parameters": parameters}
    if asked.id is not None:
        head["id"] = asked.id
    if asked.outputs:
        head["outputs"] = [{"name": name} for name in asked.outputs]
    text = json.dumps(head, separators=(",", ":")).encode()
    headers = {_LENGTH: str(len(text)), "content-type": "application/octet-stream"}
    return steps.Request("POST", "/infer", b"".join((text, *raw)), headers)


def _packed(tensor: tensors.Tensor, value: Any) -> tuple[list[int], bytes]:
    if not hasattr(value, "__array__"):
        return tensors.pack(tensor, value)
    from leadline_client import arrays  # noqa: PLC0415 - needs numpy, which whoever has arrays has

    return arrays.pack(tensor, value)


def _parameters(asked: Asked) -> dict[str, Any]:
    """Return the request's parameters.

    The server leaves out of a receipt what it cannot take, and answers; whoever calls this hears of it.

    Raises:
        InputError: The id, a tag or the entity is none.
    """
    if asked.id is not None and not (isinstance(asked.id, str) and 0 < len(asked.id) <= 256):
        raise errors.InputError(f"id: expected a string of 1 to 256 characters, got {tensors.shown(asked.id)}")
    if isinstance(asked.outputs, str):
        raise errors.InputError(f"outputs: expected a list of names, got {tensors.shown(asked.outputs)}")
    parameters: dict[str, Any] = {"binary_data_output": True}
    if asked.tags:
        from leadline_wire import receipts  # noqa: PLC0415 - 10 ms for those who tag

        for name, value in asked.tags.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise errors.InputError(f"tags[{name!r}]: expected a string, got {tensors.shown(value)}")
        try:
            receipts.encoded_tags(dict(asked.tags))
        except receipts.BadReceiptError as error:
            raise errors.InputError(f"tags: {error}") from error
        parameters["tags"] = dict(asked.tags)
    for name, who in asked.entity.items():
        if not isinstance(name, str) or name in _OWN_PARAMETERS:
            raise errors.InputError(f"entity[{name!r}]: expected the name in spec.outcomes.entity")
        if isinstance(who, bool) or not isinstance(who, str | int):
            raise errors.InputError(f"entity[{name!r}]: expected a string or a whole number, got {tensors.shown(who)}")
        parameters[name] = who
    return parameters

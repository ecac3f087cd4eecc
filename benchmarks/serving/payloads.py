"""Requests as bytes, and answers as numbers: the Open Inference Protocol in JSON, with binary tensors, and over gRPC.

Written from the protocol's definition, with no client library: the bytes are handed to load generators. Servers that do
not speak it get `{"rows": [...]}`. Must not open connections.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .models import Model

PROTOCOLS = ("json", "binary", "grpc")
GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
NUMPY = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8"}
# Fields of ModelInferResponse's contents that hold numbers, by datatype.
CONTENTS = {"FP32": (6, "<f4"), "FP64": (7, "<f8")}
HEADERS = {
    "accept": "*/*",
    # Some servers would compress, which costs them more than it is worth here.
    "accept-encoding": "identity",
    "user-agent": "bench/1.0",
    "connection": "keep-alive",
    "x-request-id": "0123456789abcdef",
}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Request:
    """One request, the same for all servers that speak the protocol."""

    path: str
    headers: dict[str, str]
    body: bytes


def make(protocol: str, model: Model, rows: int, own_path: str = "") -> Request:
    """Return the request; a server with a path of its own gets the plain JSON."""
    data = model.rows[:rows]
    if protocol == "grpc":
        return Request(GRPC_PATH, {"content-type": "application/grpc", "te": "trailers"}, grpc_body(model, data))
    path = own_path or f"/v2/models/{model.name}/infer"
    # As float64, so that JSON shows what the float32 is.
    if own_path:
        body = json.dumps({"rows": data.astype(float if data.dtype.kind == "f" else int).tolist()}).encode()
        return Request(path, {"content-type": "application/json", **HEADERS}, body)
    tensor = {"name": model.input, "shape": list(data.shape), "datatype": model.datatype}
    if protocol == "json":
        tensor["data"] = data.astype(float if data.dtype.kind == "f" else int).ravel().tolist()
        return Request(path, {"content-type": "application/json", **HEADERS}, json.dumps({"inputs": [tensor]}).encode())
    raw = data.astype(NUMPY[model.datatype]).tobytes()
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    length = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Request(path, {**length, **HEADERS}, head + raw)


def read(protocol: str, model: Model, headers: dict[str, str], body: bytes) -> np.ndarray:
    """Return the answer's last output, shape (rows, classes).

    Raises:
        ValueError: The body does not say it.
    """
    try:
        if protocol == "grpc":
            return _read_grpc(model, body)
        if "inference-header-content-length" in headers:
            return _read_binary(model, int(headers["inference-header-content-length"]), body)
        answer = json.loads(body)
        if isinstance(answer, list):
            return np.array(answer, float)
        if model.output in answer:
            return np.array(answer[model.output], float)
        (output,) = [each for each in answer["outputs"] if each["name"] == model.output]
        return np.array(output["data"], float).reshape(output["shape"])
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise ValueError(f"{type(error).__name__} {error} in {body[:200]!r}") from error


def check(model: Model, rows: int, answer: np.ndarray) -> None:
    """Compare an answer with onnxruntime's.

    Raises:
        ValueError: They differ.
    """
    expected = model.expected[:rows]
    if answer.shape != expected.shape:
        raise ValueError(f"expected an answer of shape {expected.shape}, got {answer.shape}")
    difference = float(np.abs(answer - expected).max())
    if not difference <= TOLERANCE:
        raise ValueError(f"answers differ from onnxruntime's by {difference:.3g}")


def grpc_body(model: Model, data: np.ndarray) -> bytes:
    """Return a ModelInferRequest with raw contents, with gRPC's prefix of five bytes."""
    tensor = _field(1, model.input.encode()) + _field(2, model.datatype.encode())
    tensor += _field(3, b"".join(_varint(size) for size in data.shape))
    raw = data.astype(NUMPY[model.datatype]).tobytes()
    message = _field(1, model.name.encode()) + _field(5, tensor) + _field(7, raw)
    return b"\x00" + struct.pack(">I", len(message)) + message


def _read_binary(model: Model, length: int, body: bytes) -> np.ndarray:
    place = length
    for output in json.loads(body[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if output["name"] == model.output:
            if size is None:
                return np.array(output["data"], float).reshape(output["shape"])
            return np.frombuffer(body[place : place + size], NUMPY[output["datatype"]]).reshape(output["shape"])
        place += size or 0
    raise ValueError(f"no output {model.output}")


def _read_grpc(model: Model, body: bytes) -> np.ndarray:
    if not body or body[0] != 0:
        raise ValueError("an empty or compressed message")
    outputs, raws = [], []
    for number, value in _fields(body[5 : 5 + int.from_bytes(body[1:5])]):
        if number == 5:
            outputs.append(value)
        elif number == 6:
            raws.append(value)
    for place, output in enumerate(outputs):
        parts = list(_fields(output))
        name, datatype = (next(value for number, value in parts if number == wanted) for wanted in (1, 2))
        if name.decode() != model.output:
            continue
        shape = [size for number, value in parts if number == 3 for size in _sizes(value)]
        if raws:
            return np.frombuffer(raws[place], NUMPY[datatype.decode()]).reshape(shape)
        wanted, kind = CONTENTS[datatype.decode()]
        contents = next(value for number, value in parts if number == 5)
        return np.frombuffer(next(value for number, value in _fields(contents) if number == wanted), kind).reshape(
            shape
        )
    raise ValueError(f"no output {model.output}")


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _sizes(value: bytes | int) -> list[int]:
    if isinstance(value, int):
        return [value]
    sizes, place = [], 0
    while place < len(value):
        size, place = _take(value, place)
        sizes.append(size)
    return sizes


def _take(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield number and value of each field of a message; only varints and bytes are expected."""
    place = 0
    while place < len(data):
        key, place = _take(data, place)
        size, place = _take(data, place)
        if key & 7 == 0:
            yield key >> 3, size
        elif key & 7 == 2:
            yield key >> 3, data[place : place + size]
            place += size
        else:
            raise ValueError(f"wire type {key & 7}")

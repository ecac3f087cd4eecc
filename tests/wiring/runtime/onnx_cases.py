"""The ONNX project's own backend test cases, and a worker's parts that serve them one after the other over one socket.

Cases are those of package `onnx`: node tests, which it generates, and models that it ships as files. What a worker does
with one model for its life is done here with each in turn; nothing else of the product is stood in for.

`onnx_disagreements.json` lists the cases that are not answered as the package expects, by reason. Each is refused at load
for what the protocol or onnxruntime does not have, or answered as onnxruntime itself answers it: the harness compares.
Written anew by `python -m tests.wiring.runtime.onnx_cases`.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import struct
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.backend.test
import onnxruntime
import uvloop
from leadline_runtime import errors
from leadline_runtime.engine import batching, counters, session
from leadline_runtime.oip import encoding, inference, routes
from leadline_runtime.web import server
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

DATA = Path(onnx.backend.test.__file__).parent / "data"
LIST = Path(__file__).with_name("onnx_disagreements.json")
FILE_KINDS = ("simple", "pytorch-converted", "pytorch-operator")
BF16_TOLERANCE = 2**-6
"""Two units in the last place, as the package's own runner has it."""
DTYPES = {
    "FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_,
    "BYTES": np.object_,
} | {f"{sign}INT{bits}": np.dtype(f"{sign}int{bits}".lower()).type for sign in ("", "U") for bits in (8, 16, 32, 64)}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One model with what it is to answer."""

    name: str
    model: bytes
    data_sets: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float


def cases() -> Iterator[Case]:
    """Yield all cases that need no download."""
    for case in load_model_tests(kind="node"):
        yield Case(f"node/{case.name}", case.model.SerializeToString(), case.data_sets, case.rtol, case.atol)
    for kind in FILE_KINDS:
        for case in load_model_tests(kind=kind):
            folder = Path(case.model_dir)
            model = onnx.load(folder / "model.onnx")
            sets = [_data_set(place, model) for place in sorted(folder.glob("test_data_set*"))]
            yield Case(f"{kind}/{case.name}", model.SerializeToString(), sets, case.rtol, case.atol)
    for case in load_model_tests(kind="real"):
        path = DATA / "light" / case.url.rpartition("/")[2]
        model = onnx.load(path)
        weights = {weight.name for weight in model.graph.initializer}
        inputs = [
            Runner.generate_dummy_data(value, seed=0, name=case.model_name, random=False)
            for value in model.graph.input
            if value.name not in weights
        ]
        outputs = [
            onnx.load_tensor(path.with_name(f"{path.stem}_output_{place}.pb"))
            for place in range(len(model.graph.output))
        ]
        yield Case(f"light/{case.name}", model.SerializeToString(), [(inputs, outputs)], case.rtol, case.atol)


def _data_set(folder: Path, model: onnx.ModelProto) -> tuple[list[Any], list[Any]]:
    def read(role: str, values: Any) -> list[Any]:
        found = []
        for place, value in enumerate(values):
            path = folder / f"{role}_{place}.pb"
            if path.exists():
                kind = value.type.WhichOneof("value")
                found.append(onnx.load_tensor(path) if kind == "tensor_type" else kind)
        return found

    return read("input", model.graph.input), read("output", model.graph.output)


class Host:
    """A socket behind which one model after the other is served."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "model.onnx"
        self._loop = uvloop.new_event_loop()
        self._server = server.Server(lambda _: None, server.Limits(body_bytes=256 << 20))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._listener = self._call(self._loop.create_server(self._server.connection, "127.0.0.1", 0))
        port = self._listener.sockets[0].getsockname()[1]
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        self._client.close()
        self._loop.call_soon_threadsafe(self._listener.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def disagreement(self, case: Case) -> str:
        """Return why a case is not answered as the package expects; empty: it is."""
        self._path.write_bytes(case.model)
        try:
            model = session.load(self._path, threads=1, max_rows=4)
        except errors.RejectedError as error:
            return _steady(error.trouble.message)
        batcher = batching.Batcher(model, counters.Counters(), max_rows=4, max_queue_rows=4_096, loop=self._loop)
        handlers = inference.Inference(batcher, encoding.Encoder(model.signature, "m", "m-1"))
        paths = routes.Routes("m", "m-1")
        paths.attach(model.signature, handlers.infer)
        self._server.app = paths.handle
        try:
            for inputs, outputs in case.data_sets:
                why = self._differs(case, model, inputs, outputs)
                if why:
                    return why
        finally:
            batcher.close()
        return ""

    def _differs(self, case: Case, model: session.Model, inputs: list[Any], outputs: list[Any]) -> str:
        graph = onnx.load_from_string(case.model).graph
        taken = [value.name for value in graph.input]
        weights = {weight.name for weight in graph.initializer}
        if len(inputs) < len(taken):
            taken = [name for name in taken if name not in weights]
        given = dict(zip(taken, inputs, strict=False))
        tensors, raw = [], []
        for tensor in model.signature.inputs:
            array = _array(given[tensor.name])
            raw.append(_raw(array, tensor.datatype.name))
            tensors.append(
                {
                    "name": tensor.name,
                    "datatype": tensor.datatype.name,
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": len(raw[-1])},
                }
            )
        header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        headers = {"inference-header-content-length": str(len(header))}
        self._client.request("POST", "/v2/models/m/infer", b"".join([header, *raw]), headers)
        answer = self._client.getresponse()
        body = answer.read()
        if answer.status != 200:
            return _steady(json.loads(body)["error"])
        told = _told(body, int(answer.headers["inference-header-content-length"]))
        for place, (expected, got) in enumerate(zip(map(_array, outputs), told, strict=True)):
            why = _difference(expected, got, case)
            if why:
                arrays = {tensor.name: _array(given[tensor.name]) for tensor in model.signature.inputs}
                alone = onnxruntime.InferenceSession(case.model).run(None, arrays)[place]
                itself = np.array_equal(alone, got, equal_nan=alone.dtype.kind == "f")
                return f"{'onnxruntime' if itself else 'NOT onnxruntime'} answers otherwise: {why}"
        return ""

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@contextlib.contextmanager
def hosted(folder: Path) -> Iterator[Host]:
    host = Host(folder)
    try:
        yield host
    finally:
        host.close()


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _raw(array: np.ndarray, datatype: str) -> bytes:
    if datatype == "BYTES":
        texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel().tolist()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.ascontiguousarray(array, dtype=DTYPES[datatype]).tobytes()


def _told(body: bytes, at: int) -> list[np.ndarray]:
    arrays = []
    for output in json.loads(body[:at])["outputs"]:
        data = body[at : at + output["parameters"]["binary_data_size"]]
        at += len(data)
        if output["datatype"] != "BYTES":
            arrays.append(np.frombuffer(data, DTYPES[output["datatype"]]).reshape(output["shape"]))
            continue
        texts, place = [], 0
        while place < len(data):
            (length,) = struct.unpack_from("<I", data, place)
            texts.append(data[place + 4 : place + 4 + length].decode())
            place += 4 + length
        arrays.append(np.array(texts, np.object_).reshape(output["shape"]))
    assert at == len(body)
    return arrays


def _difference(expected: np.ndarray, got: np.ndarray, case: Case) -> str:
    if expected.shape != got.shape:
        return f"expected shape {list(expected.shape)}, got {list(got.shape)}"
    if expected.dtype.kind in "OUS":
        return "" if expected.astype(str).tolist() == got.astype(str).tolist() else "other texts"
    if expected.dtype != got.dtype:
        return f"expected datatype {expected.dtype}, got {got.dtype}"
    rtol = case.rtol
    if got.dtype == ml_dtypes.bfloat16:
        expected, got, rtol = expected.astype(np.float32), got.astype(np.float32), max(rtol, BF16_TOLERANCE)
    return "" if np.allclose(got, expected, rtol=rtol, atol=case.atol, equal_nan=True) else "other numbers"


def _steady(message: str) -> str:
    """Return a message without what differs between releases of onnxruntime, and without what all have in common."""
    for pattern, kept in (
        (r"onnxruntime \d+\.\d+\.\d+", "onnxruntime"),
        (r"Exception during initialization: .*(layout_ == 0|Failed to construct locale)", r"\1"),
        (r"(layout == 1\) are not supported|Failed to construct locale).*", r"\1"),
        (r"/onnxruntime_src/\S+ .*?\) ", ""),
        (r"Fatal error: (\S+?)\(-1\)", r"\1"),
        (r"(which the protocol does not have);.*", r"\1"),
        (r"^(input|output) \"[^\"]*\" ", r"\1 "),
        (r" node with name ''.*| \(node:''.*", ""),
        (r"^the model failed: .*? running (\w+) node\. Name:'[^']*' Status Message: ", r"the model failed: \1: "),
    ):
        message = re.sub(pattern, kept, message)
    return message[:160]


def disagreements(folder: Path) -> tuple[int, dict[str, str]]:
    """Return how many cases there are, and why those that do not agree do not, by name."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases divides by zero and casts what does not fit, on purpose
        every = list(cases())
    with hosted(folder) as host:
        for case in every:
            why = host.disagreement(case)
            if why:
                found[case.name] = why
    return len(every), found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        count, found = disagreements(Path(folder))
    reasons: dict[str, list[str]] = {}
    for name, why in sorted(found.items()):
        reasons.setdefault(why, []).append(name)
    LIST.write_text(json.dumps(dict(sorted(reasons.items())), indent=1) + "\n")
    print(f"{count - len(found)} of {count} agree")


if __name__ == "__main__":
    main()

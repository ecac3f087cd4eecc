"""Small ONNX models, and a served one without processes or sockets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
from leadline_runtime.engine import batching, counters, session
from leadline_runtime.oip import encoding, inference, routes
from leadline_runtime.outcomes import minting, recording, words
from leadline_runtime.web import server
from leadline_wire import receipts
from onnx import TensorProto, helper

from tests.unit.runtime.wires import Answer, Transport, answers, request

FLOAT = TensorProto.FLOAT


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Any]],
    outputs: dict[str, tuple[int, Any]],
    metadata: dict[str, str] | None = None,
    *,
    opset: int = 17,
) -> Path:
    """Write a model; tensors are given as name: (element type, shape)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
    )
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9 if opset < 19 else 11)
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def digest(path: Path) -> str:
    """Return a file's digest as a ModelDeployment has it."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def identity(path: Path, element: int = FLOAT, shape: Any = ("N", 3)) -> Path:
    """Write a model that gives back what it takes."""
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], {"x": (element, shape)}, {"y": (element, shape)})


def classifier(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a model whose label is the place of the largest of three numbers, which it gives back as scores."""
    return save(
        path,
        [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0), helper.make_node("Identity", ["x"], ["y"])],
        {"x": (FLOAT, ("N", 3))},
        {"label": (TensorProto.INT64, ("N",)), "y": (FLOAT, ("N", 3))},
        metadata,
    )


KEY = receipts.key_of(bytes(range(32)))
NOW_MS = 1_764_110_000_000


class Loop:
    """An event loop that runs what was called soon when the test says so."""

    def __init__(self) -> None:
        self.soon: list[tuple[Any, tuple[Any, ...]]] = []
        self.now = 0.0

    def call_soon(self, function: Any, *arguments: Any) -> None:
        self.soon.append((function, arguments))

    def time(self) -> float:
        return self.now

    def run(self) -> None:
        while self.soon:
            function, arguments = self.soon.pop(0)
            function(*arguments)


class Served:
    """A model behind the protocol, answering in the test's own thread."""

    def __init__(
        self,
        path: Path | None,
        *,
        max_rows: int = 8,
        max_queue_rows: int = 64,
        max_queue_bytes: int = 1 << 30,
        row_layout: bool = True,
        model: session.Model | None = None,
        attached: bool = True,
        has_rows: bool = True,
    ) -> None:
        if model is None:
            assert path is not None
            model = session.load(path, threads=1, max_rows=max_rows)
        if not has_rows:
            model = dataclasses.replace(model, signature=dataclasses.replace(model.signature, has_rows=False))
        self.model = model
        self.loop: Any = Loop()
        self.counters = counters.Counters()
        self.batcher = batching.Batcher(
            self.model,
            self.counters,
            max_rows=max_rows,
            max_queue_rows=max_queue_rows,
            max_queue_bytes=max_queue_bytes,
            loop=self.loop,
        )
        # How fast this machine is must not decide what the test looks at.
        self.batcher.inline = True
        self.recorder = recording.Recorder(self.counters)
        self.inference = inference.Inference(
            self.batcher,
            encoding.Encoder(self.model.signature, "m", "m-1"),
            self.recorder,
            pack_rows=row_layout,
        )
        self.routes = routes.Routes("m", "m-1")
        if attached:
            self.routes.attach(self.model.signature, self.inference.infer, max_rows=max_rows)
        self.server = server.Server(self.routes.handle, server.Limits())

        own = routes.Routes("m", "m-1")
        own.attach(self.model.signature, self.inference.infer_own)
        self.own = server.Server(own.handle, server.Limits())

    def sign(self, *, share: int = receipts.WHOLE_SHARE, entity: str = "") -> Served:
        """Give receipts from now on."""
        self.recorder.words = words.Words(self.model)
        assert self.recorder.words.is_known
        self.recorder.sign(minting.Minter(KEY, "m-1", share, lambda: NOW_MS), "m-1")
        self.recorder.entity = entity
        return self

    def send(self, sent: bytes, *, own: bool = False) -> Transport:
        """Send bytes on a connection of their own, to the public or the own port, without running the model."""
        connection, transport = (self.own if own else self.server).connection(), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(sent)
        return transport

    def ask(
        self,
        body: Any,
        path: str = "/v2/models/m/infer",
        *,
        method: str = "POST",
        head: str = "",
        own: bool = False,
    ) -> Answer:
        """Return the answer to one request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        transport = self.send(request(path, data, method=method, head=f"host: x\r\n{head}"), own=own)
        self.loop.run()
        (answer,) = answers(transport.sent)
        return answer

    def ask_binary(self, header: Any, tensors: bytes = b"", *, head: str = "", **more: Any) -> Answer:
        """Return the answer to a request with raw tensors after its JSON."""
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        length = f"inference-header-content-length: {len(text)}\r\n"
        return self.ask(text + tensors, head=f"{length}{head}", **more)


def told(answer: Answer) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return an answer's JSON and its raw tensors by name, taken apart as the binary tensor data extension says."""
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/octet-stream"
    at = int(answer.headers["inference-header-content-length"])
    header = json.loads(answer.body[:at])
    tensors = {}
    for output in header["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in output
            tensors[output["name"]] = answer.body[at : at + size]
            at += size
    assert at == len(answer.body)
    return header, tensors


def tensor(data: Any, shape: list[Any], name: str = "x", datatype: str = "FP32", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def asking(*tensors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": list(tensors), **more}

"""gRPC's own client, with the messages of the protocol: what any language's generated code does."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Sequence
from typing import Any, Self

import grpc
import numpy as np
import tritonclient.grpc as triton
from leadline_runtime.grpc import protocol

from tests.wiring.runtime.pods import CHANGE_SECONDS

WHAT = {
    "ModelInfer": (protocol.InferRequest, protocol.InferResponse),
    "ServerMetadata": (protocol.ModelRequest, protocol.ServerMetadata),
    "ModelMetadata": (protocol.ModelRequest, protocol.ModelMetadata),
    "ModelReady": (protocol.ModelRequest, protocol.ModelReadyResponse),
    "ServerReady": (protocol.ModelRequest, protocol.ReadyResponse),
}


def method(channel: Any, name: str) -> Any:
    """Return a method of the inference service, as a generated stub has it."""
    asked, answered = WHAT[name]
    return channel.unary_unary(
        protocol.path(protocol.INFERENCE, name).decode(),
        request_serializer=asked.SerializeToString,
        response_deserializer=answered.FromString,
    )


def request(rows: Sequence[Sequence[float]], *, typed: bool = False, **more: Any) -> Any:
    """Return a request to the digits model, raw or typed."""
    message = protocol.InferRequest(model_name="digits", **more)
    tensor = message.inputs.add(name="X", datatype="FP32", shape=[len(rows), len(rows[0])])
    numbers = [number for row in rows for number in row]
    if typed:
        tensor.contents.fp32_contents.extend(numbers)
    else:
        message.raw_input_contents.append(struct.pack(f"<{len(numbers)}f", *numbers))
    return message


def labels(answer: Any) -> list[int]:
    """Return the labels in a raw answer of the digits model."""
    return [int(label) for label in np.frombuffer(answer.raw_output_contents[0], np.int64)]


def infer(port: int, rows: Sequence[Sequence[float]], **more: Any) -> Any:
    """Return the answer to one request on a channel of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return method(channel, "ModelInfer")(request(rows, **more), timeout=CHANGE_SECONDS)


class Clients:
    """Triton's clients that keep asking until they are stopped, and note what they see."""

    def __init__(self, port: int, row: list[float], *, count: int = 4) -> None:
        self.port = port
        self.tensor = triton.InferInput("X", [1, len(row)], "FP32")
        self.tensor.set_data_from_numpy(np.array([row], np.float32))
        self.seen: list[tuple[float, str]] = []
        """When a request was sent, and the revision that answered it."""
        self.failures: list[str] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(CHANGE_SECONDS)

    def _run(self) -> None:
        # Without this, grpcio's channels to one address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with triton.InferenceServerClient(f"127.0.0.1:{self.port}", channel_args=options) as client:
            while not self.stop.wait(0.002):
                sent = time.monotonic()
                try:
                    answer = client.infer("digits", [self.tensor], client_timeout=CHANGE_SECONDS)
                except triton.InferenceServerException as error:
                    self.failures.append(str(error))
                    continue
                self.seen.append((sent, answer.get_response().model_version))

"""What every server in this folder shares: the model with one thread, and where to listen.

serving/contenders.py starts the servers, each with the Python of its own environment, so this imports numpy and
onnxruntime only. Everything comes from the environment. Must not know any server's framework.
"""

import os
from pathlib import Path

import numpy as np
import onnxruntime

NAME = os.environ["BENCH_MODEL_NAME"]
PORT = int(os.environ["BENCH_PORT"])
GRPC_PORT = int(os.environ["BENCH_GRPC_PORT"])
MORE_PORTS = [int(port) for port in os.environ["BENCH_MORE_PORTS"].split(",")]
MAX_ROWS = int(os.environ["BENCH_MAX_ROWS"])
FOLDER = Path(os.environ["BENCH_FOLDER"])
"""An empty one, for whatever the server writes."""

_NUMPY = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


class Model:
    """The ONNX model, as one function of its only input."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        (given,) = self.session.get_inputs()
        self.input, self.dtype, self.width = given.name, _NUMPY[given.type], int(given.shape[1])
        self.outputs = [(each.name, _NUMPY[each.type], each.shape) for each in self.session.get_outputs()]
        self.names = [name for name, _, _ in self.outputs]
        self.run(np.zeros((1, self.width), self.dtype))

    def run(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.session.run(None, {self.input: rows})

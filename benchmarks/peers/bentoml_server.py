"""BentoML with one worker and adaptive batching; its own JSON on `/predict`. It answers the last output alone."""

import os
import sys

import bentoml
import common
import numpy as np


@bentoml.service(workers=1, metrics={"enabled": False}, logging={"access": {"enabled": False}})
class Onnx:
    def __init__(self) -> None:
        self.onnx = common.Model()

    @bentoml.api(batchable=True, max_batch_size=common.MAX_ROWS, max_latency_ms=10_000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.onnx.run(rows.astype(self.onnx.dtype))[-1]


if __name__ == "__main__":
    os.environ |= {"BENTOML_HOME": str(common.FOLDER), "BENTOML_DO_NOT_TRACK": "True"}
    os.chdir(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    command = ["serve", "bentoml_server:Onnx", "--host", "127.0.0.1", "--port", str(common.PORT)]
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", *command])

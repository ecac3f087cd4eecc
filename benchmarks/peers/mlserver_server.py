"""MLServer with a runtime of our own around onnxruntime, as its documentation shows for models that it has no runtime for.

Its own process for each model (`parallel_workers`) is off: on one core it only adds a hop. So is adaptive batching: it costs
more than it saves with models as small as these. REST with JSON, and gRPC; it does not speak the binary tensor extension.
"""

import json
import runpy
import sys

import common
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        self.onnx = common.Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self.onnx.run(rows)
        outputs = [
            NumpyCodec.encode_output(name, answer) for name, answer in zip(self.onnx.names, answers, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def main() -> None:
    settings = {
        "host": "127.0.0.1",
        "http_port": common.PORT,
        "grpc_port": common.GRPC_PORT,
        "metrics_port": common.MORE_PORTS[0],
        "debug": False,
        "parallel_workers": 0,
    }
    model = {"name": common.NAME, "implementation": "mlserver_server.Onnx"}
    (common.FOLDER / "settings.json").write_text(json.dumps(settings))
    (common.FOLDER / "model-settings.json").write_text(json.dumps(model))
    sys.argv = ["mlserver", "start", str(common.FOLDER)]
    runpy.run_module("mlserver.cli.main", run_name="__main__")


if __name__ == "__main__":
    main()

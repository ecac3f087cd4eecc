"""KServe's Python server with a subclass of its Model around onnxruntime. REST with JSON and binary tensors, and gRPC.

It has no batching of its own: KServe batches in a sidecar.
"""

import common
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid


class Onnx(Model):
    def __init__(self) -> None:
        super().__init__(common.NAME)
        self.onnx = common.Model()
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:  # noqa: ARG002
        answers = self.onnx.run(payload.inputs[0].as_numpy())
        binary = payload.from_grpc or payload.use_binary_outputs
        outputs = []
        for name, answer in zip(self.onnx.names, answers, strict=True):
            output = InferOutput(name, list(answer.shape), from_np_dtype(answer.dtype))
            output.set_data_from_numpy(answer, binary_data=binary)
            outputs.append(output)
        return InferResponse(
            payload.id or generate_uuid(),
            self.name,
            outputs,
            from_grpc=payload.from_grpc,
            use_binary_outputs=payload.use_binary_outputs,
        )


if __name__ == "__main__":
    ModelServer(
        http_port=common.PORT, grpc_port=common.GRPC_PORT, workers=1, enable_grpc=True, enable_latency_logging=False
    ).start([Onnx()])

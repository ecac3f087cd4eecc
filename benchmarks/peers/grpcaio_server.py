"""The Open Inference Protocol's ModelInfer on grpc.aio, with no server framework: what gRPC in Python costs by itself."""

import asyncio

import common
import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

_DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.int64): "INT64"}


class Onnx(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self) -> None:
        self.onnx = common.Model()

    async def ModelInfer(self, request, context):  # noqa: ARG002, N802
        rows = np.frombuffer(request.raw_input_contents[0], self.onnx.dtype).reshape(request.inputs[0].shape)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for name, answer in zip(self.onnx.names, self.onnx.run(rows), strict=True):
            response.outputs.add(name=name, datatype=_DATATYPES[answer.dtype], shape=answer.shape)
            response.raw_output_contents.append(answer.tobytes())
        return response


async def serve() -> None:
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Onnx(), server)
    server.add_insecure_port(f"127.0.0.1:{common.GRPC_PORT}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())

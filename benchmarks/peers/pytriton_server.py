"""PyTriton: Triton's server with its Python backend (there is no ONNX backend in the package) and dynamic batching.

REST with JSON and binary tensors, and gRPC.
"""

import common
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

onnx = common.Model()


@batch
def infer(**inputs: np.ndarray) -> list[np.ndarray]:
    answers = onnx.run(inputs[onnx.input])
    # Triton wants at least one dimension beside the rows'.
    return [answer if answer.ndim > 1 else answer[:, None] for answer in answers]


if __name__ == "__main__":
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=common.PORT,
        grpc_address="127.0.0.1",
        grpc_port=common.GRPC_PORT,
        allow_metrics=False,
    )
    with Triton(config=config, workspace=common.FOLDER / "triton") as triton:
        triton.bind(
            model_name=common.NAME,
            infer_func=infer,
            inputs=[Tensor(name=onnx.input, dtype=onnx.dtype, shape=(onnx.width,))],
            outputs=[
                Tensor(name=name, dtype=dtype, shape=tuple(shape[1:]) or (1,)) for name, dtype, shape in onnx.outputs
            ],
            config=ModelConfig(max_batch_size=common.MAX_ROWS, batcher=DynamicBatcher()),
        )
        triton.serve()

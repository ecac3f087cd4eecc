"""LitServe with one worker, batching and its faster queue; its own JSON on `/predict`."""

import common
import litserve
import numpy as np


class Onnx(litserve.LitAPI):
    def setup(self, device) -> None:  # noqa: ARG002
        self.onnx = common.Model()

    def decode_request(self, request) -> np.ndarray:
        return np.array(request["rows"], self.onnx.dtype)

    def batch(self, inputs: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
        return np.concatenate(inputs), [len(each) for each in inputs]

    def predict(self, batch: tuple[np.ndarray, list[int]]) -> tuple[list[np.ndarray], list[int]]:
        rows, counts = batch
        return self.onnx.run(rows), counts

    def unbatch(self, output: tuple[list[np.ndarray], list[int]]) -> list[list[np.ndarray]]:
        answers, counts = output
        ends = np.cumsum(counts)[:-1]
        return list(zip(*(np.split(answer, ends) for answer in answers), strict=True))

    def encode_response(self, output) -> dict:
        return {name: answer.tolist() for name, answer in zip(self.onnx.names, output, strict=True)}


if __name__ == "__main__":
    api = Onnx(max_batch_size=common.MAX_ROWS, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=common.PORT,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )

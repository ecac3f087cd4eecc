"""mosec with one worker and dynamic batching, as its documentation advises; its own JSON on `/inference`.

Its codec is the standard library's JSON unless a worker brings another one: with BENCH_MOSEC_ORJSON it brings orjson.
"""

import os
import sys

import common
import numpy as np
import orjson
from mosec import Server, Worker


class Onnx(Worker):
    def __init__(self) -> None:
        super().__init__()
        self.onnx = common.Model()

    def forward(self, data: list[dict]) -> list[dict]:
        rows = [np.array(each["rows"], self.onnx.dtype) for each in data]
        answers = self.onnx.run(np.concatenate(rows))
        ends = np.cumsum([len(each) for each in rows])[:-1]
        parts = [[part.tolist() for part in np.split(answer, ends)] for answer in answers]
        return [dict(zip(self.onnx.names, each, strict=True)) for each in zip(*parts, strict=True)]


class WithOrjson(Onnx):
    def deserialize(self, data: bytes) -> dict:
        return orjson.loads(data)

    def serialize(self, data: dict) -> bytes:
        return orjson.dumps(data)


if __name__ == "__main__":
    sys.argv = ["mosec", "--address", "127.0.0.1", "--port", str(common.PORT), "--log-level", "warning"]
    server = Server()
    worker = WithOrjson if os.environ.get("BENCH_MOSEC_ORJSON") else Onnx
    server.append_worker(worker, num=1, max_batch_size=common.MAX_ROWS, max_wait_time=1)
    server.run()

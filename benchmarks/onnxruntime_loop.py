"""The raw loop that bench-serving compares with: the model alone, one thread, no HTTP and no JSON.

Arguments: model, file with the input's bytes, rows in it, seconds. Prints runs per second.
"""

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

NUMPY = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
ASKED_SECONDS = 0.01
"""About how often the clock is read."""


def main():
    model, content, rows, seconds = sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), float(sys.argv[4])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    batch = {given.name: np.frombuffer(content, NUMPY[given.type]).reshape(rows, -1)}
    session.run(None, batch)
    start = time.perf_counter()
    session.run(None, batch)
    chunk = max(1, int(ASKED_SECONDS / (time.perf_counter() - start)))
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(chunk):
            session.run(None, batch)
        runs += chunk
    print(runs / (time.perf_counter() - start))


if __name__ == "__main__":
    main()

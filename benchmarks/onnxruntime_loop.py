"""The raw loop that `serving.py` compares with: one row per run, one thread, no HTTP and no JSON.

Arguments: model, request, seconds. Prints runs per second.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

CHUNK = 100


def main():
    model, request, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (tensor,) = json.loads(request.read_text())["inputs"]
    row = {tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])}
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(CHUNK):
            session.run(None, row)
        runs += CHUNK
    print(runs / (time.perf_counter() - start))


if __name__ == "__main__":
    main()

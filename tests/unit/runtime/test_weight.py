"""What a process imports is its weight: the supervisor stays small, the model server knows no Kubernetes."""

import json
import subprocess
import sys

import pytest

FOREIGN = {"kopf", "kubernetes", "leadline_operator", "leadline_api", "leadline_stats", "pydantic", "aiohttp", "scipy"}


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("leadline_runtime.main", FOREIGN | {"numpy", "onnxruntime", "pyarrow"}),
        ("leadline_runtime.worker.app", FOREIGN | {"pyarrow", "obstore"}),
    ],
)
def test_process_does_not_import_what_it_must_not(module, banned):
    code = f"import json, sys, {module}; print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert banned & set(json.loads(done.stdout)) == set()

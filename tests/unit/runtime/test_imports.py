"""The model server knows no Kubernetes: neither of its processes imports any of it.

That the supervisor stays small is measured on one that serves: tests/wiring/runtime/test_serving.py.
"""

import json
import subprocess
import sys

import pytest

FOREIGN = {"kopf", "kubernetes", "leadline_operator", "leadline_api", "leadline_stats", "pydantic", "aiohttp", "scipy"}

HEAVY = {"obstore", "cryptography", "pyarrow"}
"""Needed by some models only."""


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("leadline_runtime.main", FOREIGN | HEAVY | {"numpy", "onnxruntime"}),
        ("leadline_runtime.worker.app", FOREIGN | HEAVY),
    ],
)
def test_process_does_not_import_what_it_must_not(module, banned):
    code = f"import json, sys, {module}; print(json.dumps(sorted(name.partition('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert banned & set(json.loads(done.stdout)) == set()

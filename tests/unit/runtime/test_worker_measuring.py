"""What the first worker finds out about a model; how fast this machine is must not decide what is tested."""

import numpy as np
import pytest
from leadline_runtime import messages, sizing
from leadline_runtime.worker import measuring
from onnx import helper, numpy_helper

from tests.unit.runtime import models


@pytest.fixture
def path(tmp_path):
    return models.identity(tmp_path / "m.onnx")


def load(path, threads=1, try_threads=0, most=4):
    return measuring.load(messages.Load(str(path), threads, try_threads), max_rows=4, most=most)


def test_what_is_decided_is_not_asked_again(path):
    model, threads, workers = load(path, threads=3)
    assert model.signature.has_rows
    assert (threads, workers) == (3, 0)


def test_a_short_run_makes_a_worker_per_cpu(path, monkeypatch):
    monkeypatch.setattr(sizing, "LONG_SECONDS", 1_000.0)
    _, threads, workers = load(path, try_threads=4)
    assert (threads, workers) == (1, 4)


def test_a_long_run_is_tried_with_all_threads_and_loaded_again_with_what_is_decided(path, monkeypatch):
    monkeypatch.setattr(sizing, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(sizing, "GAIN_MIN", 0.0)
    assert load(path, try_threads=2)[1:] == (2, 1)
    monkeypatch.setattr(sizing, "GAIN_MIN", 1_000.0)
    assert load(path, try_threads=2, most=2)[1:] == (1, 2)


def test_a_real_long_run_gives_the_same_answers_whatever_is_decided(tmp_path):
    weights = np.eye(512, dtype=np.float32)
    nodes = [helper.make_node("MatMul", [f"t{place}", "w"], [f"t{place + 1}"]) for place in range(20)]
    graph = helper.make_graph(
        nodes,
        "long",
        [helper.make_tensor_value_info("t0", models.FLOAT, ("N", 512))],
        [helper.make_tensor_value_info("t20", models.FLOAT, ("N", 512))],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "long.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    loaded, threads, workers = load(path, try_threads=2, most=2)
    assert (threads, workers) in {(1, 2), (2, 1)}
    row = np.arange(512, dtype=np.float32).reshape(1, 512)
    (answer,) = loaded.run({"t0": row})
    assert np.array_equal(answer, row)

"""Service objectives on a real cluster: a model that answers right and too slowly is left, and refused as a canary."""

import time
from typing import Any

import numpy as np
import onnx
import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from onnx import TensorProto, helper, numpy_helper

from tests.cluster import limits
from tests.cluster.feeding import feed
from tests.cluster.support import Place, condition, is_up_to_date

OBJECTIVES: dict[str, Any] = {"errorRate": "0.01", "latency": {"under": "25ms", "share": "0.9"}}
WIDTH, LAYERS = 2048, 400
"""Of the work beside the answer: 1.7 billion multiplications, 120 ms where a cache holds the numbers and more where none does."""
CANARY = {"strategy": "Canary", "steps": [{"weight": 30, "until": {"duration": "1h"}}]}


def slowed(model: bytes) -> bytes:
    """Return a model with the same answers that multiplies large matrices for each of them."""
    found = onnx.load_from_string(model)
    graph, made = found.graph, "slow_0"
    (shape,) = (each.type.tensor_type.shape.dim[1].dim_value for each in graph.input)
    chance = np.random.default_rng(1)
    weights = {
        "slow_first": chance.normal(size=(shape, WIDTH)).astype(np.float32) / WIDTH,
        "slow_next": chance.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH,
        "slow_nothing": np.zeros((WIDTH, 1), dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(each, name) for name, each in weights.items())
    nodes = [helper.make_node("MatMul", [graph.input[0].name, "slow_first"], [made])]
    for layer in range(LAYERS):
        nodes.append(helper.make_node("MatMul", [made, "slow_next"], [f"slow_{layer + 1}"]))
        made = f"slow_{layer + 1}"
    label = next(each.name for each in graph.output if each.type.tensor_type.elem_type == TensorProto.INT64)
    for node in graph.node:
        node.output[:] = ["slow_label" if name == label else name for name in node.output]
        node.input[:] = ["slow_label" if name == label else name for name in node.input]
    nodes += [
        helper.make_node("MatMul", [made, "slow_nothing"], ["slow_column"]),
        helper.make_node("Cast", ["slow_column"], ["slow_whole"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["slow_whole", "slow_axis"], ["slow_zeros"]),
        helper.make_node("Add", ["slow_label", "slow_zeros"], [label]),
    ]
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "slow_axis"))
    graph.node.extend(nodes)
    content: bytes = found.SerializeToString()
    return content


@pytest.fixture(scope="module")
def slow(store, digits) -> str:
    store.put({"slow.onnx": slowed(digits.files["good.onnx"])})
    return "slow"


def met(place: Place, digits: Any) -> str:
    """Apply a good model, and feed it until its objectives are found to be met; return its revision."""
    place.apply(place.model_deployment(model="good", objectives=OBJECTIVES, rollout={"strategy": "RollingUpdate"}))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    fed_until(place, digits, lambda status: condition(status, "ObjectivesMet")[0] == "True")
    return str(place.status()["servingRevision"])


def fed_until(place: Place, digits: Any, is_so: Any) -> list[str]:
    """Ask until it is so, for a minute or two: slots last 10 s; return the revision of each answer."""
    seen: list[str] = []
    end = time.monotonic() + 2 * limits.VERDICT
    while time.monotonic() < end:
        fed = feed(place, digits, range(20), reports=False)
        assert fed.failed == []
        seen += fed.seen
        if is_so(place.status()):
            return seen
    raise AssertionError(place.explain())


def test_slow_model_is_left_for_the_last_good_one_though_it_is_right(place, digits, slow):
    good = met(place, digits)
    (said,) = [each["message"] for each in place.status()["conditions"] if each["type"] == "ObjectivesMet"]
    assert "0 % of" in said
    assert "requests failed (at most 1 %)" in said
    place.apply(place.model_deployment(model=slow, objectives=OBJECTIVES, rollout={"strategy": "RollingUpdate"}))
    place.until(lambda each: each["servingRevision"] != good and is_up_to_date(each), within=limits.ROLLOUT)
    seen = fed_until(place, digits, lambda status: status["servingRevision"] == good)
    place.until_condition("Stalled", "True", "RolledBack", within=limits.VERDICT)
    status = place.status()
    ((revision, reason),) = [(each["revision"], each["reason"]) for each in status["rejected"]]
    assert (reason, set(seen)) == ("ObjectivesMissed", {revision, good})
    kept = place.cluster.get(f"controllerrevision/{revision}", place.namespace)
    record = records.read(kept["metadata"]["annotations"][names.RECORD_ANNOTATION])
    assert record.rejections[0].measured["metric"] == "latency"
    assert set(feed(place, digits, range(50), reports=False).seen) == {good}


def test_slow_canary_is_refused(place, digits, slow):
    good = met(place, digits)
    place.apply(place.model_deployment(model=slow, objectives=OBJECTIVES, rollout=CANARY))
    place.until(lambda each: [share["percent"] for share in each["traffic"]] == [70, 30], within=limits.ROLLOUT)
    fed_until(place, digits, lambda status: status["rejected"])
    place.until_condition("Stalled", "True", "ObjectivesMissed", within=limits.VERDICT)
    assert place.status()["servingRevision"] == good
    place.until(lambda each: each["traffic"] == [{"revision": good, "percent": 100}], within=limits.MESSAGE)

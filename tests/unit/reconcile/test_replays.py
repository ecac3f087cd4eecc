"""A replay of the test set against the answers at admission."""

import numpy as np
import pytest
from leadline_api.reasons import Reason
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.reconcile import records, testing
from leadline_operator.reconcile.gate import gate_of
from leadline_stats.test_sets import count_right

from tests.unit.reconcile.world import GOOD, World

QUALITY = {
    "metrics": [{"name": "accuracy", "metric": "accuracy", "margin": "0.02"}],
    "testSet": {"uri": "s3://models/testset.csv", "truth": "y", "interval": "10s"},
}
GATE = gate_of(ModelDeploymentSpec.model_validate({"model": {"uri": "s3://models/m.onnx"}, "quality": QUALITY}))


def result(right, *, rows=1_000, changed=0):
    bits = np.packbits(np.arange(rows) < right).tobytes()
    assert count_right(bits, rows) == right
    return records.TestResult("k", "sha256:" + "d" * 64, rows, records.compressed(bits), "x", changed=changed)


@pytest.mark.parametrize(("lost", "reason"), [(20, None), (21, Reason.DEGRADED)])
def test_a_deterministic_model_may_lose_the_margin_and_no_row_more(lost, reason):
    assert testing.judge_replay(GATE, result(980), result(980 - lost)).reason == reason


@pytest.mark.parametrize(("lost", "reason"), [(50, None), (51, Reason.DEGRADED)])
def test_rows_that_were_not_deterministic_at_admission_may_be_lost_besides(lost, reason):
    assert testing.judge_replay(GATE, result(980, changed=30), result(980 - lost)).reason == reason


def test_rows_that_are_not_deterministic_are_told():
    assert testing.describe(GATE, result(980)).endswith("on 1000 rows")
    told = testing.describe(GATE, result(980, changed=30))
    assert told.endswith("on 1000 rows, 30 of them answered differently in two passes")


def test_a_replay_may_take_half_of_its_interval_and_an_admission_is_not_slowed_down():
    world = World({"model": {"uri": "s3://models/m.onnx"}, "quality": QUALITY}, {"s3://models/m.onnx": GOOD})
    world.settle()
    admission = testing.admission_request(GATE, world.observe().revisions[0])
    assert (admission.passes, admission.pace_seconds) == (2, 0.0)
    (replay,) = [told.test_set for _, told in world.pods.values()]
    assert (replay.run.partition(".")[2], replay.passes, replay.pace_seconds) == ("r0", 1, 5.0)

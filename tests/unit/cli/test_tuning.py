"""What `leadline tune` tries, and what it proposes for which figures."""

import json

import pytest
import yaml
from leadline_api.pods import Runtime
from leadline_cli import errors, tuning
from leadline_cli.tuning import Try
from leadline_runtime.engine import session
from leadline_runtime.oip import decoding

from tests.unit.runtime import models


def tried(workers, per_second, p99_ms, *, failed=0):
    return Try(workers, 2 // workers, 64, True, per_second, p99_ms / 2e3, p99_ms / 1e3, failed)


@pytest.mark.parametrize(("cpus", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_one_worker_one_per_cpu_and_some_between_are_tried(cpus, expected):
    assert tuning.candidates(cpus) == expected


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({1: 5e-6, 4: 5e-6, 16: 6e-6, 64: 9e-6}, 16),
        ({1: 0.001, 4: 0.004, 16: 0.016}, 1),
        ({1: 0.001, 4: 0.0012, 16: 0.002, 64: 0.004}, 64),
        ({1: 0.002, 4: 0.007, 16: 0.02, 64: 0.06}, 16),
        ({1: 0.5}, 1),
    ],
    ids=["a run is cheap beside a request", "rows bring nothing", "rows are nearly free", "a run gets long", "slow"],
)
def test_rows_of_a_run_are_as_few_as_answer_nearly_the_most(seconds, rows):
    assert tuning.best_rows(seconds) == rows


def test_of_settings_that_answer_nearly_the_most_the_one_with_short_waits_is_best():
    slow, good, long = tried(1, 500, 1.0), tried(2, 990, 5.0), tried(2, 1_000, 9.0)
    assert tuning.best([slow, good, long]) is good
    assert tuning.best([slow, tried(2, 1_000, 0.1, failed=3)]) is slow


def test_the_proposal_is_what_spec_runtime_takes():
    lines = tuning.report({1: {1: 1e-5, 4: 2e-5}, 2: {1: 1e-5, 4: 2e-5}}, [tried(1, 500, 2), tried(2, 900, 3)], cpus=2)
    proposal = yaml.safe_load("\n".join(lines[lines.index("spec:") :]))
    runtime = Runtime.model_validate(proposal["spec"]["runtime"])
    assert (runtime.batching.max_rows, str(runtime.resources.limits["cpu"])) == (64, "2")
    (marked,) = [line for line in lines if line.endswith("<- proposed")]
    assert marked.split()[0] == "2"


@pytest.mark.parametrize("element", [models.FLOAT, 7, 8, 9], ids=["FP32", "INT64", "BYTES", "BOOL"])
def test_a_made_up_request_is_one_that_the_runtime_takes(element, tmp_path):
    model = session.load(models.identity(tmp_path / "m.onnx", element), threads=1, max_rows=1)
    request = json.loads(tuning.request_of(model.signature))
    assert decoding.decode(request, model.signature).rows == 1


def test_more_cpus_than_there_are_and_what_is_no_model_are_refused(tmp_path):
    with pytest.raises(errors.Refused, match=r"--cpus: expected at most \d+"):
        tuning.tune(tmp_path / "m.onnx", seconds=1.0, cpus=10_000, say=print)
    with pytest.raises(errors.Refused, match="No such file"):
        tuning.tune(tmp_path / "m.onnx", seconds=1.0, cpus=1, say=print)
    (tmp_path / "m.onnx").write_bytes(b"<html>")
    with pytest.raises(errors.Refused, match="not an ONNX model"):
        tuning.tune(tmp_path / "m.onnx", seconds=1.0, cpus=1, say=print)

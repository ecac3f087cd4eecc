"""A test set, answered by a real pod while it serves."""

import hashlib
import shutil
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_wire import exchange

from tests.wiring.runtime.pods import Clients, eventually


def asked(uri, run, **more):
    return exchange.TestSetRequest(uri=uri, truth="digit", run=run, **more)


def answered(pod, request, state="Done"):
    report = pod.report(
        f"test set {state}",
        lambda report: report.test_set and report.test_set.run == request.run and report.test_set.state == state,
        test_set=request,
    )
    return report.test_set


def test_right_and_wrong_are_those_that_scikit_learn_counts(served, digits):
    report = answered(served, asked(digits.uri("test.parquet"), "a0", passes=2))
    assert (report.rows, report.changed, report.invalid) == (digits.test_rows, 0, 0)
    bits = np.unpackbits(np.frombuffer(report.right, np.uint8))
    assert bits[: report.rows].sum() == digits.good_right
    assert bits[report.rows :].sum() == 0
    assert report.digest == digits.digest("test.parquet")
    assert report.answers.startswith("sha256:")


def test_a_replay_gives_the_same_answers_and_is_not_run_twice(served, digits):
    first = answered(served, asked(digits.uri("test.parquet"), "r1"))
    again = answered(served, asked(digits.uri("test.parquet"), "r2"))
    assert (first.right, first.answers) == (again.right, again.answers)
    lines = served.log.read_text().count("run=r2")
    answered(served, asked(digits.uri("test.parquet"), "r2"))
    assert served.log.read_text().count("run=r2") == lines


def test_a_replay_of_known_bytes_does_not_need_the_store(served, digits, tmp_path):
    place = tmp_path / "here.parquet"
    shutil.copy(digits.folder / "test.parquet", place)
    digest = digits.digest("test.parquet")
    first = answered(served, asked(place.as_uri(), "s1", digest=digest))
    place.unlink()
    assert answered(served, asked(place.as_uri(), "s2", digest=digest)).answers == first.answers


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"X": [[0.0] * 64], "label": [1]}, 'column "digit" not found (spec.quality.testSet.truth); it has X, label'),
        (
            {"image": [[0.0] * 64], "digit": [1]},
            'column "X" not found (one column per model input); it has image, digit',
        ),
        ({"X": [[0.0] * 63], "digit": [1]}, 'column "X" has 63 elements in each row; expected 64'),
        ({"X": [[0.0] * 64], "digit": ["seven"]}, "column \"digit\", row 1 holds 'seven'; expected whole numbers"),
    ],
    ids=["no truth", "no input", "wrong width", "other kind of truth"],
)
def test_a_test_set_that_does_not_fit_says_what_is_missing(served, tmp_path, columns, said):
    place = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), place)
    run = hashlib.sha256(said.encode()).hexdigest()[:8]
    trouble = answered(served, asked(place.as_uri(), run), "Failed").trouble
    assert (trouble.reason, trouble.blame) == ("InvalidTestSet", "surroundings")
    assert said in trouble.message
    assert served.ready() == "ok"


def test_an_output_that_holds_no_class_is_told_with_those_that_are_there(served, digits):
    report = answered(served, asked(digits.uri("test.parquet"), "o1", output="probabilities"), "Failed")
    assert 'spec.model.predictions: output "probabilities" holds no class' in report.trouble.message


def test_other_bytes_than_asked_for_are_told(served, digits):
    report = answered(served, asked(digits.uri("test.parquet"), "d1", digest="sha256:" + "0" * 64), "Failed")
    assert report.trouble.reason == "TestSetDigestMismatch"
    assert digits.digest("test.parquet") in report.trouble.message


def test_a_test_set_that_is_not_there_is_told_and_answered_once_it_is(served, digits, tmp_path):
    place = tmp_path / "later.parquet"
    request = asked(place.as_uri(), "l1")
    trouble = answered(served, request, "Failed").trouble
    assert trouble.reason == "TestSetNotFound"
    shutil.copy(digits.folder / "test.parquet", place)
    assert answered(served, request).rows == digits.test_rows


def test_requests_go_on_while_a_test_set_is_answered(served, digits):
    with Clients(served.public, digits.rows[0]) as clients:
        eventually("served", lambda: len(clients.seen) > 20)
        began = time.monotonic()
        answered(served, asked(digits.uri("test.parquet"), "w1", passes=10))
        during = sum(sent > began for sent, _ in clients.seen)
    assert clients.failures == []
    assert during > 20

"""Labelled rows from the real ledger through real runtime processes and back, killed in between.

Not covered: who decides that rows are answered (tests/unit/reconcile/test_labels.py), and who may bring them
(tests/wiring/ledger/test_labels.py).
"""

import json
import os
import signal

import msgspec
import pyarrow.parquet as pq
import pytest
from leadline_wire import exchange, ledger, predictions
from leadline_wire.exchange import Copy, LabelsRequest, OutcomeSettings

from tests.wiring.ledger.parts import ApiServer, Process
from tests.wiring.runtime.pods import Pod, call, eventually

OWNER = "system:serviceaccount:ml:default"
PATH = "/v1/namespaces/ml/models/digits"
SECONDS = 30.0


@pytest.fixture(scope="module")
def pods(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    token = folder / "token"
    token.write_text(OWNER)
    environment = {"LEADLINE_LEDGER_TOKEN_FILE": str(token)}
    made = [
        Pod(
            folder / name,
            digits.uri(f"{name}.onnx"),
            digest=digits.digest(f"{name}.onnx"),
            revision=f"digits-{name}",
            environment=environment,
        )
        for name in ("worse", "good")
    ]
    try:
        yield [pod.wait_ready() for pod in made]
    finally:
        for pod in made:
            pod.stop()


@pytest.fixture
def running(tmp_path):
    api, folder = ApiServer(), tmp_path / "volume"
    folder.mkdir()
    api.allowed = {(OWNER, verb, "modeldeployments/labels", "ml") for verb in ("create", "get")}
    made = Process(folder, api).start()
    yield made
    made.end()
    api.close()


@pytest.fixture
def table(digits):
    found = pq.read_table(digits.folder / "test.parquet").to_pydict()
    return [{"X": x, "digit": digit} for x, digit in zip(found["X"], found["digit"], strict=True)]


def bring(running, rows):
    body = "\n".join(map(json.dumps, rows)).encode()
    headers = {"authorization": f"Bearer {OWNER}"}
    answer = call(running.port, "POST", f"{PATH}/labels?truth=digit", body, headers)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body, type=ledger.LabelsAnswer)


def state(running):
    status, body = running.call("GET", f"{PATH}/labels", token=OWNER)
    assert status == 200, body
    return msgspec.json.decode(body, type=ledger.LabelsState)


def settings(running):
    return OutcomeSettings(ledger=f"http://127.0.0.1:{running.port}")


def order(other):
    return LabelsRequest(other=Copy(other.revision, "127.0.0.1", other.own))


def entries(running):
    found = [each for each in running.log() if not isinstance(each, ledger.DecisionEntry)]
    outcomes = [each for each in found if isinstance(each, ledger.OutcomeEntry)]
    return outcomes, [each for each in found if isinstance(each, ledger.PairEntry)]


def answered(running, seconds=SECONDS):
    eventually("all answered", lambda: state(running).waiting == 0, seconds)


def predicted(pod, rows):
    """Return what a pod's own port says of rows."""
    tensor = {"name": "X", "shape": [len(rows), 64], "datatype": "FP32", "data": [row["X"] for row in rows]}
    answer = call(pod.own, "POST", "/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode())
    return next(each["data"] for each in answer.json()["outputs"] if each["datatype"] == "INT64")


def test_each_row_is_answered_by_both_revisions_and_counts_once(pods, running, table):
    worse, good = pods
    rows = table[:100]
    assert bring(running, rows).accepted == 100
    before = good.exchange("standby", outcomes=settings(running)).requests
    worse.exchange(outcomes=settings(running), labels=order(good))
    answered(running)
    assert bring(running, rows).duplicates == 100
    outcomes, pairs = entries(running)
    own, others = predicted(worse, rows), predicted(good, rows)
    of_id = {each.id: each for each in pairs}
    assert len(outcomes) == len(pairs) == len(of_id) == 100
    told = sorted((each.prediction, of_id[each.id].other_prediction, each.truth) for each in outcomes)
    words = [[predictions.of_class(each) for each in said] for said in (own, others, [row["digit"] for row in rows])]
    assert told == sorted(zip(*words, strict=True))
    right = {(each.fate.right, each.fate.other_right): each.rows for each in state(running).counted}
    assert sum(count for (own_right, _), count in right.items() if own_right) == sum(
        said == row["digit"] for said, row in zip(own, rows, strict=True)
    )
    assert good.exchange("standby", outcomes=settings(running)).requests == before, "copies are no client's requests"
    worse.exchange(outcomes=settings(running))


def test_without_another_revision_rows_are_outcomes_alone(pods, running, table):
    worse, _ = pods
    bring(running, table[:20])
    worse.exchange(outcomes=settings(running), labels=LabelsRequest())
    answered(running)
    outcomes, pairs = entries(running)
    assert (len(outcomes), pairs) == (20, [])
    worse.exchange(outcomes=settings(running))


def test_rows_wait_while_the_other_revision_is_not_reached(pods, running, table, start, digits):
    worse, good = pods
    gone = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-gone").wait_ready()
    gone.stop()
    bring(running, table[:20])
    worse.exchange(outcomes=settings(running), labels=order(gone))
    eventually("tried", lambda: "labelled rows wait" in worse.log.read_text())
    assert (state(running).waiting, entries(running)) == (20, ([], []))
    worse.exchange(outcomes=settings(running), labels=order(good))
    answered(running)
    assert len(entries(running)[1]) == 20
    worse.exchange(outcomes=settings(running))


def test_rows_that_cannot_be_inputs_are_refused_with_the_reason_and_the_others_go_on(pods, running, table):
    worse, good = pods
    bad = [
        {"Y": [1.0] * 64, "digit": 1},
        {"X": [1.0] * 63, "digit": 1},
        {"X": ["a"] * 64, "digit": 1},
        {"X": [3.0] * 64, "digit": "cat"},
        {"X": [None, *[1.0] * 63], "digit": 1},
    ]
    bring(running, [*bad, *table[:5]])
    worse.exchange(outcomes=settings(running), labels=order(good))
    answered(running)
    refused = sorted(each.fate.refused for each in state(running).counted if each.fate.refused)
    assert len(refused) == 5, refused
    for said in ('column "X" not found', "63 elements", "holds text", "'cat'", "missing values"):
        assert any(said in each for each in refused), (said, refused)
    assert len(entries(running)[0]) == 5
    worse.exchange(outcomes=settings(running))


def test_rows_of_the_test_set_are_no_evidence_again(running, table, digits, start, tmp_path):
    token = tmp_path / "token"
    token.write_text(OWNER)
    pod = start(
        digits.uri("good.onnx"),
        digest=digits.digest("good.onnx"),
        environment={"LEADLINE_LEDGER_TOKEN_FILE": str(token)},
    ).wait_ready()
    request = exchange.TestSetRequest(uri=digits.uri("test.parquet"), truth="digit", run="1")
    told = {"outcomes": settings(running), "test_set": request}
    pod.report("tested", lambda report: report.test_set and report.test_set.state == "Done", **told)
    new = {"X": [0.25] * 64, "digit": 3}
    bring(running, [*table[:10], new])
    os.kill(pod.worker_pid(), signal.SIGKILL)
    pod.exchange(labels=LabelsRequest(), **told)
    answered(running)
    counts = {each.fate.refused.partition(",")[0]: each.rows for each in state(running).counted}
    assert counts == {"a row of the test set": 10, "": 1}
    assert len(entries(running)[0]) == 1


def test_kills_of_worker_pod_and_ledger_leave_each_row_counted_once(pods, running, table):
    worse, good = pods
    rows = table[100:400]
    bring(running, rows)
    for number in range(6):
        worse.exchange(outcomes=settings(running), labels=order(good))
        if number % 3 == 0:
            os.kill(worse.worker_pid(), signal.SIGKILL)
        elif number % 3 == 1:
            running.kill()
            running.start()
        else:
            os.kill(good.worker_pid(), signal.SIGKILL)
        waiting = state(running).waiting
        outcomes, pairs = entries(running)
        assert len(outcomes) + waiting == len(rows)
        assert len(pairs) == len(outcomes)
    worse.exchange(outcomes=settings(running), labels=order(good))
    answered(running, 90.0)
    outcomes, pairs = entries(running)
    told = sorted((each.prediction, each.other_prediction, each.truth) for each in pairs)
    own, others = predicted(worse, rows), predicted(good, rows)
    words = [[predictions.of_class(each) for each in said] for said in (own, others, [row["digit"] for row in rows])]
    assert told == sorted(zip(*words, strict=True))
    assert len({each.id for each in outcomes}) == len(outcomes) == len(rows)
    worse.exchange(outcomes=settings(running))

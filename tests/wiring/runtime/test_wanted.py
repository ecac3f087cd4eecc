"""From predictions of two revisions to the few answers that are wanted, and from those to pairs: all processes are real."""

import json

import pytest
from leadline_wire import ledger
from leadline_wire.exchange import Copy, OutcomeSettings
from sklearn.datasets import load_digits

from tests.wiring.ledger.parts import ApiServer, Process
from tests.wiring.runtime.pods import Pod, call, eventually, infer

ROWS = 120
WANTED = "/v2/models/digits/outcomes/wanted"


@pytest.fixture
def kept(tmp_path):
    """A real ledger."""
    (tmp_path / "volume").mkdir()
    api = ApiServer()
    process = Process(tmp_path / "volume", api)
    yield process.start()
    process.end()
    api.close()


@pytest.fixture
def pods(digits, tmp_path, kept):
    """A pod of each model; the good one serves, and copies to the worse one."""
    token = tmp_path / "token"
    token.write_text("system:serviceaccount:ml:default")
    made = [
        Pod(
            tmp_path / name,
            digits.uri(f"{name}.onnx"),
            digest=digits.digest(f"{name}.onnx"),
            revision=f"digits-{name}",
            environment={"LEADLINE_LEDGER_TOKEN_FILE": str(token)},
        )
        for name in ("good", "worse")
    ]
    try:
        good, worse = (pod.wait_ready() for pod in made)
        settings = OutcomeSettings(ledger=f"http://127.0.0.1:{kept.port}")
        worse.exchange("candidate", outcomes=settings)
        good.exchange(outcomes=settings)
        eventually("told", lambda: call(good.public, "GET", WANTED).status == 404)  # nothing is compared yet
        good.exchange(outcomes=settings, copies=[Copy(revision="digits-worse", host="127.0.0.1", port=worse.own)])
        yield good, worse
    finally:
        for pod in made:
            pod.stop()


def test_few_answers_make_pairs_and_nothing_else(pods, kept):
    good, _ = pods
    features, labels = load_digits(return_X_y=True)
    rows, truths = (features[600 : 600 + ROWS] / 16).tolist(), labels[600 : 600 + ROWS].tolist()
    # What is answered before the way to the other pod is open is not copied.
    eventually(
        "copied", lambda: infer(good.public, rows[0]).status == 200 and call(good.public, "GET", WANTED).status == 200
    )
    before = call(good.public, "GET", WANTED).json()["compared"]
    known = {}
    for row, truth in zip(rows, truths, strict=True):
        receipt = infer(good.public, row).headers["leadline-receipt"]
        known[receipt.split(".")[-3]] = (receipt, int(truth))
    eventually("all copied", lambda: call(good.public, "GET", WANTED).json()["compared"] >= before + ROWS)
    told = call(good.public, "GET", f"{WANTED}?limit=500").json()
    assert (told["compared_with"], told["agreements"] > 1) == ("digits-worse", True)
    items = [item for item in told["wanted"] if item["prediction_id"] in known]
    assert 3 < len(items) < ROWS / 2
    assert all(item["prediction"] != item["other_prediction"] for item in items)
    report = [
        {"receipt": known[item["prediction_id"]][0], "truth": known[item["prediction_id"]][1], "wanted": item["token"]}
        for item in items
    ]
    answer = call(good.public, "POST", "/v2/models/digits/outcomes", json.dumps(report).encode())
    assert (answer.status, answer.json()) == (200, {"accepted": len(items), "duplicates": 0})
    entries = kept.log()
    outcomes = [entry for entry in entries if isinstance(entry, ledger.OutcomeEntry)]
    pairs = [entry for entry in entries if isinstance(entry, ledger.PairEntry)]
    assert {entry.wanted for entry in outcomes} == {"digits-worse"}
    assert [entry.id for entry in pairs] == [item["prediction_id"] for item in items]
    assert {entry.agreements for entry in pairs} == {told["agreements"]}
    left = call(good.public, "GET", WANTED).json()
    assert not {item["prediction_id"] for item in left["wanted"]} & set(known)
    assert left["agreements"] == pytest.approx(told["agreements"], rel=0.2)

"""The closed loop on a real cluster: true answers come back, and the traffic follows the evidence.

Seen through the API server, the model's URL and the ledger's log. What each verdict rests on: tests/unit/reconcile.
"""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_wire.ledger import DecisionEntry, Log, OutcomeEntry, PairEntry, Resume

from tests.cluster import limits
from tests.cluster.conftest import SYSTEM, operator_pod
from tests.cluster.feeding import feed, operator_token
from tests.cluster.support import Place, condition, is_up_to_date, wait
from tests.cluster.test_rules import kill_operator

LEDGER = "leadline-ledger-0"
KILLED_REQUESTS = 5
"""That may fail beside a serving pod that is killed, until the Service knows."""
OUTCOMES: dict[str, Any] = {
    "rollout": {"strategy": "RollingUpdate"},
    "quality": {"metrics": [{"name": "accuracy", "metric": "accuracy", "margin": "0.02"}]},
    "outcomes": {"maturity": "0s"},
}


def serving(place: Place, model: str, **more: Any) -> str:
    """Apply a model and wait until it serves and its pods give receipts."""
    place.apply(place.model_deployment(model=model, **(OUTCOMES | more)))
    return str(
        place.until(
            lambda each: is_up_to_date(each) and condition(each, "Reconciling")[0] == "False", within=limits.ROLLOUT
        )["servingRevision"]
    )


def ledger_says(place: Place, path: str, kind: type) -> Any:
    """Ask the ledger as the operator would."""
    with place.cluster.forwarded("svc/leadline-ledger", SYSTEM, 8080) as port:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        request.add_header("authorization", f"Bearer {operator_token(place.cluster, SYSTEM)}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return msgspec.json.decode(answer.read(), type=kind)


def log_of(place: Place) -> list[Any]:
    path = f"/v1/namespaces/{place.namespace}/models/digits/log?after=0&limit=10000"
    entries: list[Any] = ledger_says(place, path, Log).entries
    return entries


def replay(place: Place, name: str = "digits") -> subprocess.CompletedProcess[str]:
    """Recompute every decision as a user would."""
    kubectl = place.cluster.kubectl_path
    environment = {**os.environ, "KUBECONFIG": place.cluster.kubeconfig, "KUBECTL": kubectl}
    program = str(Path(sys.executable).with_name("leadline"))
    command = [program, "replay", "-n", place.namespace, name]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120, check=False)


def kill_ledger(place: Place) -> None:
    """Kill the ledger without a chance to say anything."""
    place.cluster.kubectl("delete", "pod", LEDGER, "-n", SYSTEM, "--grace-period=0", "--force")


def until_rolled_back(place: Place, good: str) -> dict[str, Any]:
    place.until_condition("Stalled", "True", "RolledBack", within=limits.VERDICT)
    return place.until(
        lambda each: each["servingRevision"] == good and condition(each, "Reconciling")[0] == "False",
        within=limits.ROLLOUT,
    )


def test_worse_revision_is_rolled_back_by_true_answers_and_the_log_alone_says_so(place, digits):
    good = serving(place, "good")
    first = feed(place, digits, range(30))
    assert (first.failed, {status for status, _ in first.fates}) == ([], {200})
    place.until(lambda each: condition(each, "OutcomesFlowing")[0] == "True", within=limits.MESSAGE)
    worse = serving(place, "worse")
    second = feed(place, digits, range(400))
    status = until_rolled_back(place, good)
    assert second.failed == []
    assert set(second.seen) == {good, worse}
    assert second.seen == sorted(second.seen, key=lambda revision: revision == good), "never back to the worse one"
    assert [(each["revision"], each["reason"]) for each in status["rejected"]] == [(worse, "Degraded")]
    pairs = [each for each in log_of(place) if isinstance(each, PairEntry)]
    assert {(each.revision, each.other) for each in pairs} == {(worse, good)}
    told = replay(place)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "DIFFERS" not in told.stdout
    successor = serving(place, "successor")
    third = feed(place, digits, range(300))
    assert (third.failed, set(third.seen)) == ([], {successor})
    assert place.status()["servingRevision"] == successor


def test_kills_of_operator_ledger_and_a_serving_pod_change_neither_evidence_nor_the_deciding_outcome(place, digits):
    two = {"runtime": {"replicas": 2}}
    good = serving(place, "good", **two)
    worse = serving(place, "worse", **two)
    acknowledged: list[str] = []
    for number, begin in enumerate(range(0, 1_180, 20)):
        fed = feed(place, digits, range(begin, begin + 20))
        assert len(fed.failed) <= KILLED_REQUESTS * (number == 4)
        acknowledged += fed.acknowledged
        if number == 3:
            pod = place.pods(worse)[0]["metadata"]["name"]
            place.cluster.kubectl("delete", "pod", pod, "-n", place.namespace, "--grace-period=0", "--force")
        if number == 1:
            kill_operator(place)
        if number == 2:
            kill_ledger(place)
        if number == 4:
            kill_ledger(place)
            kill_operator(place)
        if set(fed.seen) == {good}:
            break
    until_rolled_back(place, good)
    log = log_of(place)
    kept = [each.id for each in log if isinstance(each, OutcomeEntry)]
    assert sorted(kept) == sorted(set(acknowledged)), "each acknowledged outcome once, and no other"
    evidence = fold(Evidence(), log)
    compared = evidence.first.pairs[worse, good]
    assert compared.is_worse
    (rejected,) = [each for each in log if isinstance(each, DecisionEntry) and each.kind == "Rejected"]
    assert f"{compared.comparison.worse.evidence:.3g}"[:3] in rejected.data["message"]
    assert replay(place).returncode == 0

    def checkpoint() -> Any:
        resume = ledger_says(place, "/v1/resume", Resume)
        (state,) = [each for each in resume.models if each.model == f"{place.namespace}/digits"]
        return state.checkpoint

    kept_state = wait(
        checkpoint,
        lambda found: found is not None and found.cursor >= compared.decided_seq,
        within=limits.VERDICT,
        explain=place.explain,
    )
    upto = fold(Evidence(), [each for each in log_of(place) if each.seq <= kept_state.cursor])
    assert kept_state.state == evidence_state.write(upto), "to the last digit"


def test_rejection_and_last_good_survive_the_object_and_the_store(place, digits, store):
    """The object is deleted and made again, and the bytes behind the URI of the last good one are gone."""
    own = f"{place.namespace}.onnx"
    store.put({own: digits.files["good.onnx"]})
    good = serving(place, place.namespace)
    place.until_kept(good)
    serving(place, "worse")
    feed(place, digits, range(400))
    until_rolled_back(place, good)
    place.cluster.kubectl("delete", "mdep/digits", "-n", place.namespace, "--wait=true")
    wait(lambda: place.pods(good), lambda pods: not pods, within=limits.ROLLOUT, explain=place.explain)
    store.remove([own])
    place.apply(place.model_deployment(model="worse", **OUTCOMES))
    status = until_rolled_back(place, good)
    assert [each["reason"] for each in status["rejected"]] == ["Degraded"]
    # The node's rules follow the pods a moment later.
    wait(
        lambda: place.predict(digits.rows[0])[0],
        lambda code: code == 200,
        within=limits.PUT_BACK,
        explain=place.explain,
    )
    answered = feed(place, digits, range(20))
    assert (answered.failed, set(answered.seen)) == ([], {good})


def test_ledger_that_is_away_costs_no_prediction_and_moves_no_verdict(place, digits):
    serving(place, "good")
    feed(place, digits, range(20))
    place.cluster.kubectl("scale", "sts/leadline-ledger", "-n", SYSTEM, "--replicas=0")
    try:
        place.until_condition("OutcomesFlowing", "Unknown", "LedgerUnreachable", within=limits.VERDICT)
        away = feed(place, digits, range(20, 30), patient=False)
        assert (away.failed, {status for status, _ in away.fates}) == ([], {503})
        assert all("ledger" in error for _, error in away.fates), away.fates
        assert condition(place.status(), "Ready")[0] == "True"
    finally:
        place.cluster.kubectl("scale", "sts/leadline-ledger", "-n", SYSTEM, "--replicas=1")
    place.until(lambda each: condition(each, "OutcomesFlowing")[0] == "True", within=limits.VERDICT)
    assert {status for status, _ in feed(place, digits, range(30, 40)).fates} == {200}


@pytest.mark.parametrize("attack", ["forged", "foreign", "other-truth", "no-such-class", "replayed"])
def test_outcome_that_must_not_count_is_refused_with_a_message(place, digits, attack):
    serving(place, "good")
    (receipt,) = feed(place, digits, range(1)).receipts
    truth = digits.truths[0]
    body: dict[str, Any] = {"receipt": receipt, "truth": truth}
    expected, words = 400, ""
    if attack == "forged":
        body["receipt"], words = receipt[:-1] + ("0" if receipt[-1] != "0" else "1"), "signature"
    elif attack == "foreign":
        parts = receipt.split(".")
        body["receipt"], words = ".".join([parts[0], "00000000", *parts[2:]]), "another ModelDeployment"
    elif attack == "other-truth":
        body["truth"], expected, words = (truth + 1) % 10, 409, ""
    elif attack == "no-such-class":
        body["truth"], words = 17, "17"
    else:
        expected = 200
    before = len(log_of(place))
    code, answer = place.ask("/v2/models/digits/outcomes", body)
    assert code == expected, answer
    assert words in json.dumps(answer)
    assert len(log_of(place)) == before
    assert operator_pod(place.cluster)


def test_answers_by_the_clients_own_id_are_judged_at_their_maturity(place, digits):
    outcomes = {"maturity": "10s", "keyBy": "id"}
    serving(place, "good", **{**OUTCOMES, "outcomes": outcomes})
    path, truth = "/v2/models/digits", digits.truths[0]
    tensor = {"name": "image", "shape": [1, 64], "datatype": "FP32", "data": digits.rows[0]}
    for number in range(3):
        code, answer = place.ask(f"{path}/infer", {"id": f"order {number}", "inputs": [tensor]})
        assert (code, answer["id"]) == (200, f"order {number}")
    assert place.ask(f"{path}/outcomes", {"id": "order 0", "truth": truth}) == (200, {"accepted": 1})
    code, answer = place.ask(f"{path}/outcomes", {"id": "never served", "truth": truth})
    assert (code, "no prediction is kept under this id" in answer["error"]) == (404, True)
    assert [each for each in log_of(place) if isinstance(each, OutcomeEntry)] == [], "not before its maturity"

    def judged() -> list[str]:
        return [each.prediction for each in log_of(place) if isinstance(each, OutcomeEntry)]

    assert wait(judged, bool, within=limits.VERDICT, explain=place.explain) == [f"i{truth}"]
    code, answer = place.ask(f"{path}/outcomes", {"id": "order 1", "truth": truth})
    assert (code, "matur" in json.dumps(answer)) == (200, True)
    assert judged() == [f"i{truth}"], "what comes after its maturity is kept, and never judged"


def test_scores_are_the_mean_that_is_judged(place, digits):
    quality = {"metrics": [{"name": "thumbs", "metric": "score", "margin": "0.05"}]}
    serving(place, "good", **{**OUTCOMES, "quality": quality})
    receipts = feed(place, digits, range(8), reports=False, keeps=True).receipts
    reports = [{"receipt": receipt, "score": number / 8} for number, receipt in enumerate(receipts)]
    assert place.ask("/v2/models/digits/outcomes", reports) == (200, {"accepted": 8, "duplicates": 0})
    status = place.until(lambda each: each["summary"]["outcomes"] == "8", within=limits.VERDICT)
    assert status["summary"]["quality"] == "thumbs 0.438"

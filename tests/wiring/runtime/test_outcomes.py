"""From a prediction to its outcome in the ledger, and copies from pod to pod, with real runtime processes."""

import json
import os
import signal
import threading

import pytest
from leadline_wire import predictions, receipts
from leadline_wire.exchange import Copy, Forward, OutcomeSettings

from tests.wiring.runtime.pods import KEY, Clients, Pod, call, eventually, infer, inference

KEYS = [receipts.key_of(KEY, rotation) for rotation in range(3)]


@pytest.fixture(scope="module")
def pods(digits, tmp_path_factory):
    """A pod of each model; every test tells them anew what they are."""
    folder = tmp_path_factory.mktemp("outcomes")
    token = folder / "token"
    token.write_text("a token\n")
    environment = {"LEADLINE_LEDGER_TOKEN_FILE": str(token)}
    made = [
        Pod(
            folder / name,
            digits.uri(f"{name}.onnx"),
            digest=digits.digest(f"{name}.onnx"),
            revision=f"digits-{name}",
            environment=environment,
        )
        for name in ("good", "worse")
    ]
    try:
        yield [pod.wait_ready() for pod in made]
    finally:
        for pod in made:
            pod.stop()


@pytest.fixture
def settings(ledgers):
    return OutcomeSettings(ledger=ledgers.edge.url)


def report(port, item):
    return call(port, "POST", "/v2/models/digits/outcomes", json.dumps(item).encode())


def receipted(pod, row, **more):
    """Return the first answer that has a receipt: the worker hears of it a moment after the supervisor."""
    return eventually(
        "receipt", lambda: (answer := infer(pod.public, row, **more)).headers["leadline-receipt"] and answer
    )


def keys(count):
    return {key.id: key for key in KEYS[:count]}


def test_a_prediction_is_reported_by_its_receipt_and_is_in_the_ledger_once(pods, digits, ledgers, settings):
    good, _ = pods
    good.exchange(outcomes=settings)
    answer = receipted(good, digits.rows[0])
    token = answer.headers["leadline-receipt"]
    assert answer.json()["parameters"] == {"receipt": token}
    told = report(good.public, {"receipt": token, "truth": digits.label})
    assert (told.status, told.json()) == (200, {"accepted": 1})
    assert report(good.public, {"receipt": token, "truth": digits.label}).json() == {"duplicate": 1}
    assert report(good.public, {"receipt": token, "truth": (digits.label + 1) % 10}).status == 409
    (outcome,) = ledgers.edge.outcomes.values()
    assert (outcome.revision, outcome.prediction, outcome.truth) == (
        "digits-good",
        f"i{digits.label}",
        f"i{digits.label}",
    )
    assert ledgers.edge.paths[0] == "/v1/namespaces/ml/models/digits/intake"
    assert set(ledgers.edge.tokens) == {"Bearer a token"}
    counted = eventually(
        "counted", lambda: (told := good.exchange(outcomes=settings).outcomes) and told.accepted >= 2 and told
    )
    assert counted.receipts >= 1
    for _ in range(8):
        receipted(good, digits.rows[0])
    good.report("classes", lambda told: told.outcomes.predicted.get(f"i{digits.label}", 0) >= 2, outcomes=settings)
    assert counted.reported == {f"i{digits.label}": 1}
    assert counted.refused >= 1
    assert counted.trouble is None
    metrics = good.metrics()
    assert metrics['leadline_outcomes_total{fate="Accepted"}'] >= 1
    assert metrics["leadline_receipts_total"] >= 1


def test_without_outcomes_there_are_no_receipts_and_reports_are_refused(pods, digits):
    good, _ = pods
    good.exchange()
    eventually("no receipt", lambda: "leadline-receipt" not in infer(good.public, digits.rows[0]).headers)
    answer = report(good.public, {"receipt": "1.a", "truth": 1})
    assert (answer.status, "spec.outcomes" in answer.error) == (404, True)
    assert good.exchange().outcomes is None


def test_a_pod_that_no_operator_has_called_says_so(start, digits):
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    answer = report(pod.public, {"receipt": "1.a", "truth": 1})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "not said yet" in answer.error
    assert "leadline-receipt" not in infer(pod.public, digits.rows[0]).headers


def test_a_rotated_key_signs_at_once_and_the_former_ones_are_still_believed(pods, digits, settings, ledgers):
    good, _ = pods
    good.exchange(outcomes=settings)
    old = receipted(good, digits.rows[0]).headers["leadline-receipt"]
    assert receipts.verify(old, keys(1))
    good.exchange(outcomes=OutcomeSettings(ledger=settings.ledger, rotation=2))
    new = eventually(
        "new key",
        lambda: (
            (token := receipted(good, digits.rows[0]).headers["leadline-receipt"]).split(".")[1] == KEYS[2].id and token
        ),
    )
    assert {report(good.public, {"receipt": token, "correct": True}).status for token in (old, new)} == {200}
    good.exchange(outcomes=settings)
    eventually("later key refused", lambda: report(good.public, {"receipt": new, "correct": True}).status == 400)


def test_receipts_of_other_deployments_and_of_the_past_are_refused(pods, digits, settings, ledgers):
    good, _ = pods
    good.exchange(outcomes=OutcomeSettings(ledger=settings.ledger, max_age_ms=1))
    token = receipted(good, digits.rows[0]).headers["leadline-receipt"]
    assert eventually("expired", lambda: report(good.public, {"receipt": token, "truth": 1}).status == 410)
    foreign = receipts.mint(receipts.key_of(b"f" * 32), receipts.Receipt("digits-good", "0" * 32, {0: "i1"}))
    assert report(good.public, {"receipt": foreign, "truth": 1}).status == 400


def test_who_reports_is_in_the_ledger_and_a_forged_token_is_refused(pods, digits, settings, ledgers):
    good, _ = pods
    ledgers.edge.sources["crm-token"] = "ml/crm"
    good.exchange(outcomes=OutcomeSettings(ledger=settings.ledger, sources="Required", per_hour=100))

    def told(token, **bearer):
        body = json.dumps({"receipt": token, "truth": 1}).encode()
        return call(good.public, "POST", "/v2/models/digits/outcomes", body, bearer)

    first = eventually(
        "required",
        lambda: (
            (token := receipted(good, digits.rows[0]).headers["leadline-receipt"])
            and told(token).status == 401
            and token
        ),
    )
    assert told(first, authorization="Bearer forged").status == 401
    assert told(first, authorization="Bearer crm-token").status == 200
    brought = ledgers.edge.outcomes[first.split(".")[6], 0]
    assert (brought.source, brought.per_hour) == ("ml/crm", 100)


def test_a_worker_that_is_killed_is_told_again(pods, digits, settings):
    good, _ = pods
    good.exchange(outcomes=settings)
    receipted(good, digits.rows[0])
    before = good.worker_pid()
    os.kill(before, signal.SIGKILL)
    eventually("another worker", lambda: good.worker_pid() != before)
    good.wait_ready()
    receipted(good, digits.rows[0])


def test_a_candidates_answers_are_nobodys_predictions_but_those_that_were_passed_on(pods, digits, settings):
    good, _ = pods
    good.exchange("candidate", outcomes=settings)
    eventually("no receipt", lambda: "leadline-receipt" not in infer(good.public, digits.rows[0]).headers)
    assert "leadline-receipt" not in infer(good.own, digits.rows[0]).headers
    body = inference(digits.rows[0])
    passed_on = call(good.own, "POST", "/v2/models/digits/infer", body, {"leadline-forwarded": "1"})
    assert receipts.verify(passed_on.headers["leadline-receipt"], keys(1)).revision == "digits-good"


def test_a_demoted_pod_passes_predictions_and_outcomes_on(pods, digits, settings, ledgers):
    good, worse = pods
    good.exchange(outcomes=settings)
    worse.exchange(outcomes=settings)
    of_worse = receipted(worse, digits.rows[0]).headers["leadline-receipt"]
    forward = Forward(revision="digits-good", host="127.0.0.1", port=good.own)
    assert worse.exchange("standby", forward=forward, outcomes=settings).forwarding
    answer = receipted(worse, digits.rows[0])
    token = answer.headers["leadline-receipt"]
    assert receipts.verify(token, keys(1)).revision == answer.json()["model_version"] == "digits-good"
    for each in (token, of_worse):
        assert report(worse.public, {"receipt": each, "truth": digits.label}).json() == {"accepted": 1}
    assert {outcome.revision for outcome in ledgers.edge.outcomes.values()} == {"digits-good", "digits-worse"}
    worse.exchange()


def test_by_the_clients_id_an_outcome_finds_its_prediction(pods, digits, settings, ledgers):
    good, _ = pods
    good.exchange(outcomes=OutcomeSettings(ledger=settings.ledger, key_by="id", entity="customer"))
    receipted(good, digits.rows[0])
    tensor = json.loads(inference(digits.rows[0]))["inputs"]
    for number, parameters in enumerate([None, {"customer": "jo", "tags": {"country": "de"}}]):
        body = {"id": f"order {number}", "inputs": tensor} | ({"parameters": parameters} if parameters else {})
        answer = call(good.public, "POST", "/v2/models/digits/infer", json.dumps(body).encode())
        assert answer.json()["id"] == f"order {number}"
    eventually("kept", lambda: len(ledgers.edge.stored) == 2)
    kept = ledgers.edge.stored["order 1"]
    assert (kept.revision, kept.predictions, kept.tags) == ("digits-good", f"i{digits.label}", {"country": "de"})
    assert kept.entity == receipts.entity_hash(KEYS[0], "jo")
    assert report(good.public, {"id": "order 1", "truth": digits.label}).json() == {"accepted": 1}
    assert report(good.public, {"id": "order 9", "truth": digits.label}).status == 404


def test_a_ledger_that_is_down_costs_reports_and_no_prediction(pods, digits, settings, ledgers):
    good, _ = pods
    good.exchange(outcomes=settings)
    token = receipted(good, digits.rows[0]).headers["leadline-receipt"]
    ledgers.down()
    with Clients(good.public, digits.rows[0]) as clients:
        refused = report(good.public, {"receipt": token, "truth": 1})
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "the ledger does not answer" in refused.error
        trouble = eventually("trouble", lambda: good.exchange(outcomes=settings).outcomes.trouble)
        assert trouble.reason == "LedgerUnreachable"
        eventually("served on", lambda: len(clients.seen) > 100)
        ledgers.up()
        assert report(good.public, {"receipt": token, "truth": 1}).json() == {"accepted": 1}
    assert clients.failures == []
    eventually("no trouble", lambda: good.exchange(outcomes=settings).outcomes.trouble is None)


def test_a_ledger_that_hangs_holds_up_reports_and_no_prediction(pods, digits, settings, ledgers):
    good, _ = pods
    good.exchange(outcomes=settings)
    token = receipted(good, digits.rows[0]).headers["leadline-receipt"]
    ledgers.hold()
    with Clients(good.public, digits.rows[0]) as clients:
        many = [{"receipt": token, "row": 0, "correct": True}] * 4_000
        told = []
        thread = threading.Thread(target=lambda: told.append(report(good.public, many)))
        thread.start()
        eventually("served on", lambda: len(clients.seen) > 300)
        ledgers.release()
        thread.join(10.0)
    assert clients.failures == []
    assert (told[0].status, told[0].json()["accepted"], told[0].json()["duplicates"]) == (200, 1, 3_999)


def test_requests_are_copied_while_the_pod_serves_and_its_role_holds(pods, digits, settings, ledgers):
    good, worse = pods
    worse.exchange("candidate", outcomes=settings)
    copies = [Copy(revision="digits-worse", host="127.0.0.1", port=worse.own)]
    before = worse.exchange("candidate", outcomes=settings).requests
    good.exchange(outcomes=settings, copies=copies)
    receipted(good, digits.rows[0])
    with Clients(good.public, digits.rows[0]) as clients:
        eventually("pairs", lambda: len(ledgers.edge.copies) > 100)
        eventually("counted", lambda: good.exchange(outcomes=settings, copies=copies).outcomes.copies)
        good.exchange(outcomes=settings, copies=copies, lease_seconds=0.3)
        eventually("role expired", lambda: "copied no more" in good.log.read_text())

        def no_more() -> bool:
            copied, seen = len(ledgers.edge.copies), len(clients.seen)
            eventually("served on", lambda: len(clients.seen) > seen + 100)
            return len(ledgers.edge.copies) == copied

        eventually("no copies any more", no_more)
    assert clients.failures == []
    pair = ledgers.edge.copies[-1]
    assert (pair.revision, pair.other, pair.predictions) == ("digits-good", "digits-worse", f"i{digits.label}")
    assert isinstance(predictions.read(pair.other_predictions), int)
    assert worse.exchange("candidate", outcomes=settings).requests == before, "copies are no client's requests"
    eventually("in metrics", lambda: good.metrics()['leadline_copies_total{fate="Answered"}'] > 100)
    for role in ("candidate", "standby"):
        good.exchange(role, outcomes=settings, copies=copies)
        assert "leadline-receipt" not in infer(good.public, digits.rows[0]).headers
    good.exchange(outcomes=settings)


def test_a_target_that_is_gone_is_no_evidence_and_costs_no_client(pods, digits, settings, ledgers, start):
    good, _ = pods
    gone = start(digits.uri("worse.onnx"), digest=digits.digest("worse.onnx"), revision="digits-gone").wait_ready()
    copies = [Copy(revision="digits-gone", host="127.0.0.1", port=gone.own)]
    good.exchange(outcomes=settings, copies=copies)
    with Clients(good.public, digits.rows[0]) as clients:
        eventually("pairs", lambda: len(ledgers.edge.copies) > 20)
        gone.stop()
        seen = len(clients.seen)
        eventually("served on", lambda: len(clients.seen) > seen + 300)
    assert clients.failures == []
    assert not any(predictions.is_failure(pair.other_predictions) for pair in ledgers.edge.copies)
    good.exchange(outcomes=settings)

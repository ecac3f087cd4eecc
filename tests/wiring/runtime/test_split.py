"""A canary: a share of the requests to a serving pod is answered by another revision's pod, with real pods and clients."""

import contextlib
import http.client
import json
import math
import os
import signal

import pytest
from leadline_wire import receipts
from leadline_wire.exchange import OutcomeSettings, Split

from tests.wiring.runtime import calling
from tests.wiring.runtime.pods import (
    CHANGE_SECONDS,
    KEY,
    Clients,
    Pod,
    call,
    eventually,
    free_ports,
    infer,
    inference,
    send,
)

KEYS = {key.id: key for key in [receipts.key_of(KEY, 0)]}
INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def pods(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("split")
    old = Pod(
        folder / "old", digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-old", workers=2
    )
    new = Pod(folder / "new", digits.uri("worse.onnx"), digest=digits.digest("worse.onnx"), revision="digits-new")
    try:
        yield old.wait_ready(), new.wait_ready()
    finally:
        old.stop()
        new.stop()


@pytest.fixture
def two(pods):
    """The serving pod, and that of a canary."""
    serving, canary = pods
    serving.exchange("serving", outcomes=OutcomeSettings())
    canary.exchange("candidate", outcomes=OutcomeSettings())
    return serving, canary


def share(percent, pod, **more):
    return Split(revision=pod.revision, host="127.0.0.1", port=pod.own, share=percent * 10_000, **more)


def body(row, **more):
    return json.dumps({**json.loads(inference(row)), **more}).encode()


def asked(pod, rows, count, parameters=None):
    """Ask over one kept connection; return who answered each."""
    seen = []
    more = {"parameters": parameters} if parameters else {}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", pod.public, timeout=CHANGE_SECONDS)) as connection:
        for number in range(count):
            answer = send(connection, "POST", INFER, body(rows[number % len(rows)], **more))
            assert answer.status == 200, answer.body
            assert answer.headers.get("connection") != "close", "the connection stays"
            seen.append(answer.json()["model_version"])
    return seen


def test_share_is_what_was_asked_for_and_the_connection_stays(two, digits):
    serving, canary = two
    report = serving.exchange(splits=[share(20, canary)])
    assert report.split_share == 200_000, "in force when it is answered"
    seen = asked(serving, digits.rows, 2_000)
    assert abs(seen.count("digits-new") - 400) < 5 * math.sqrt(2_000 * 0.2 * 0.8)
    eventually("counted", lambda: serving.exchange(splits=[share(20, canary)]).split == seen.count("digits-new"))
    assert serving.exchange(splits=[]).split_share == 0
    assert set(asked(serving, digits.rows, 200)) == {"digits-old"}


def test_canary_answers_as_itself_with_a_receipt_of_its_own_and_everything_else_stays_here(two, digits):
    serving, canary = two
    serving.exchange(splits=[share(100, canary)], outcomes=OutcomeSettings())
    answer = infer(serving.public, digits.rows[0])
    receipt = receipts.verify(answer.headers["leadline-receipt"], KEYS)
    assert (answer.json()["model_version"], receipt.revision) == ("digits-new", "digits-new")
    assert answer.json()["outputs"] == infer(canary.own, digits.rows[0]).json()["outputs"]
    assert call(serving.public, "POST", INFER, b"no json").status == 400
    assert call(serving.public, "GET", "/v2/models/digits").json()["versions"] == ["digits-old"]
    by_version = call(serving.public, "POST", "/v2/models/digits/versions/digits-old/infer", inference(digits.rows[0]))
    assert by_version.json()["model_version"] == "digits-old", "who asks for a revision by name gets it"
    assert infer(serving.own, digits.rows[0]).json()["model_version"] == "digits-old", "nothing loops"


def test_somebody_always_meets_the_same_revision_and_stays_with_the_canary_as_it_grows(two, digits):
    serving, canary = two
    settings = OutcomeSettings(entity="customer")

    def who(percent):
        serving.exchange(splits=[share(percent, canary)], outcomes=settings)
        return {
            customer: set(asked(serving, digits.rows, 3, parameters={"customer": customer}))
            for customer in [*range(60), "anna"]
        }

    few, many = who(30), who(60)
    assert all(len(revisions) == 1 for revisions in (*few.values(), *many.values()))
    first = {customer for customer, revisions in few.items() if revisions == {"digits-new"}}
    later = {customer for customer, revisions in many.items() if revisions == {"digits-new"}}
    assert 5 < len(first) < 35
    assert first < later


def test_grpc_calls_are_split_as_well(two, digits):
    serving, canary = two
    serving.exchange(splits=[share(50, canary)])
    with calling.Clients(serving.public, digits.rows[0], count=3) as clients:
        eventually("both answer", lambda: {revision for _, revision in clients.seen} == {"digits-old", "digits-new"})
        eventually("many", lambda: len(clients.seen) > 400)
    assert clients.failures == []
    of_canary = sum(revision == "digits-new" for _, revision in clients.seen) / len(clients.seen)
    assert 0.35 < of_canary < 0.65


def test_a_canary_that_is_gone_or_not_ready_costs_no_request(two, digits, tmp_path):
    serving, _ = two
    (nowhere,) = free_ports(1)
    gone = Split(revision="digits-gone", host="127.0.0.1", port=nowhere, share=1_000_000)
    serving.exchange(splits=[gone])
    assert set(asked(serving, digits.rows, 20)) == {"digits-old"}
    assert eventually("counted", lambda: serving.exchange(splits=[gone]).unsplit) >= 20
    starting = Pod(tmp_path / "starting", f"file://{tmp_path}/nothing.onnx", digest="", revision="digits-starting")
    try:
        eventually("it answers", lambda: infer(starting.own, digits.rows[0]).status == 503)
        serving.exchange(splits=[share(100, starting)])
        assert set(asked(serving, digits.rows, 20)) == {"digits-old"}
    finally:
        starting.stop()


def test_requests_under_way_survive_the_canarys_death(two, digits, tmp_path):
    serving, _ = two
    canary = Pod(tmp_path / "dies", digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-dies")
    try:
        canary.wait_ready()
        serving.exchange(splits=[share(80, canary)])
        with Clients(serving.public, digits.rows[0], count=6) as clients:
            eventually("it answers", lambda: "digits-dies" in {revision for _, revision in clients.seen})
            for pid in [*canary.worker_pids(), canary.process.pid]:
                signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)
            seen = len(clients.seen)
            eventually("served on", lambda: len(clients.seen) > seen + 100)
        assert clients.failures == []
    finally:
        canary.stop()


def test_shares_end_with_the_lease_and_with_the_role(two, digits):
    serving, canary = two
    serving.exchange(splits=[share(100, canary)], lease_seconds=0.3)
    eventually(
        "the lease is over", lambda: infer(serving.public, digits.rows[0]).json()["model_version"] == "digits-old"
    )
    assert canary.exchange("candidate", splits=[share(100, serving)]).split_share == 0, "only who serves splits"
    assert infer(canary.public, digits.rows[0]).json()["model_version"] == "digits-new"

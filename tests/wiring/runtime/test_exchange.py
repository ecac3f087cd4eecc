"""The operator's call: who is heard, what it changes, what comes back."""

import json

from leadline_wire import exchange

from tests.wiring.runtime.pods import KEY, call, eventually, infer


def test_a_report_tells_what_the_pod_is(served, digits):
    report = served.exchange()
    assert (report.phase, report.role, report.digest) == ("Ready", "serving", digits.digest("good.onnx"))
    assert report.model is not None
    assert [tensor.name for tensor in report.model.inputs] == ["X"]
    assert report.model.prediction == "label"
    assert report.bytes_done == report.bytes_total > 0
    assert report.trouble is None


def test_a_report_counts_requests(served, digits):
    before = served.exchange().requests
    infer(served.own, digits.rows[0])
    eventually("counted", lambda: served.exchange().requests == before + 1)


def test_a_call_that_is_not_sealed_with_our_key_changes_nothing_and_learns_nothing(served):
    status, body = served.exchange_raw("standby", key=b"x" * 32)
    assert (status, body) == (401, b"{}")
    unsealed = call(served.admin, "POST", "/exchange", b'{"nonce":"a"}')
    assert (unsealed.status, unsealed.body) == (401, b"{}")
    odd_mac = call(served.admin, "POST", "/exchange", b"{}", {exchange.MAC_HEADER: "ü"})
    assert odd_mac.status == 401
    assert served.exchange().role == "serving"


def test_a_call_that_was_overheard_cannot_be_played_again(served):
    assert served.exchange_raw(nonce="once")[0] == 200
    assert served.exchange_raw(nonce="once")[0] == 401


def test_a_call_for_another_pod_or_revision_is_refused_under_seal(served):
    status, refusal = served.exchange_raw(pod_uid="uid-2")
    assert (status, refusal.reason, refusal.pod_uid) == (409, "OtherPod", "uid-1")
    status, refusal = served.exchange_raw(revision="digits-2")
    assert (status, refusal.reason, refusal.revision) == (409, "OtherRevision", "digits-1")


def test_a_replaced_operator_is_refused_and_told_the_newer_epoch(served):
    assert served.exchange(epoch=7).epoch == 7
    status, refusal = served.exchange_raw("standby", epoch=6)
    assert (status, refusal.reason, refusal.epoch) == (409, "OldEpoch", 7)
    assert served.exchange(epoch=7).role == "serving"
    served.epoch = 7


def test_a_field_of_a_newer_operator_is_passed_over(served):
    body = json.dumps(
        {
            "nonce": "newer",
            "pod_uid": "uid-1",
            "revision": "digits-1",
            "epoch": 9,
            "role": "serving",
            "something_new": {"a": 1},
        },
    ).encode()
    mac = exchange.seal(KEY, "request", "newer", body)
    assert call(served.admin, "POST", "/exchange", body, {exchange.MAC_HEADER: mac}).status == 200
    served.epoch = 9


def test_a_new_key_holds_as_soon_as_it_is_mounted(served):
    key_file = served.folder / "keys" / "exchange"
    key_file.write_bytes(b"n" * 32)
    try:
        assert served.exchange_raw()[0] == 401
        assert served.exchange_raw(key=b"n" * 32)[0] == 200
    finally:
        key_file.write_bytes(KEY)


def test_a_pod_without_a_key_refuses_every_call_and_serves(served, digits):
    key_file = served.folder / "keys" / "exchange"
    key_file.unlink()
    try:
        assert served.exchange_raw()[0] == 401
        assert served.exchange_raw(key=b"")[0] == 401
        assert infer(served.public, digits.rows[0]).status == 200
    finally:
        key_file.write_bytes(KEY)


def test_an_exchange_has_a_bounded_body(served):
    assert call(served.admin, "POST", "/exchange", b" " * ((1 << 20) + 1)).status == 413

"""What holds for REST holds for gRPC: demotion, candidates, receipts and copies, with real pods and Triton's clients."""

import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from leadline_runtime.grpc import protocol
from leadline_wire import predictions, receipts
from leadline_wire.exchange import Copy, Forward, OutcomeSettings

from tests.wiring.runtime import calling
from tests.wiring.runtime.pods import CHANGE_SECONDS, KEY, Pod, eventually, free_ports

KEYS = {key.id: key for key in [receipts.key_of(KEY, 0)]}


@pytest.fixture(scope="module")
def pods(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("roles")
    old = Pod(folder / "old", digits.uri("worse.onnx"), digest=digits.digest("worse.onnx"), revision="digits-old")
    new = Pod(folder / "new", digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-new")
    try:
        yield old.wait_ready(), new.wait_ready()
    finally:
        old.stop()
        new.stop()


@pytest.fixture
def two(pods):
    """The pod of the old revision, and that of the one that is to serve; both serve."""
    for pod in pods:
        pod.exchange("serving")
    return pods


def to(pod):
    return Forward(revision=pod.revision, host="127.0.0.1", port=pod.own)


def channel_to(port):
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def receipt_of(answer):
    return answer.parameters["receipt"].string_param if "receipt" in answer.parameters else None


def test_clients_of_a_demoted_pod_see_no_failure_and_no_answer_of_its_model_after_the_word(two, digits):
    old, new = two
    with calling.Clients(old.public, digits.rows[0], count=6) as clients:
        eventually("clients are served", lambda: len(clients.seen) > 50)
        report = old.exchange("standby", forward=to(new))
        acknowledged = time.monotonic()
        assert report.forwarding
        eventually("forwarded", lambda: sum(sent > acknowledged for sent, _ in clients.seen) > 200)
    assert clients.failures == []
    assert {revision for sent, revision in clients.seen if sent > acknowledged} == {"digits-new"}
    assert {revision for _, revision in clients.seen} == {"digits-old", "digits-new"}


def test_a_demoted_pod_passes_everything_on_and_sends_clients_away(two, digits):
    old, new = two
    with channel_to(old.public) as channel:
        assert calling.method(channel, "ModelInfer")(calling.request(digits.rows[:1])).model_version == "digits-old"
        old.exchange("standby", forward=to(new))
        for typed in (False, True):
            answer = calling.method(channel, "ModelInfer")(calling.request(digits.rows[:3], typed=typed, id="x"))
            assert (answer.model_version, answer.id) == ("digits-new", "x")
        metadata = calling.method(channel, "ModelMetadata")(protocol.ModelRequest(name="digits"))
        assert list(metadata.versions) == ["digits-new"]
        with pytest.raises(grpc.RpcError) as error:
            calling.method(channel, "ModelInfer")(calling.request([[1.0, 2.0]]))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert 'input "X": expected shape [-1, 64], got [1,2]' in error.value.details()
        stream = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=protocol.InferRequest.SerializeToString,
            response_deserializer=protocol.StreamResponse.FromString,
        )
        told = list(stream(iter([calling.request(digits.rows[:1])] * 3), timeout=CHANGE_SECONDS))
        assert [one.infer_response.model_version for one in told] == ["digits-new"] * 3
    states = []
    with channel_to(old.public) as channel:
        channel.subscribe(states.append)
        calling.method(channel, "ServerReady")(protocol.ModelRequest(), timeout=CHANGE_SECONDS)
        eventually("sent away", lambda: grpc.ChannelConnectivity.IDLE in states[1:])
    assert calling.infer(old.own, digits.rows[:1]).model_version == "digits-old"


def test_a_target_that_is_gone_is_told_and_never_an_answer_of_the_demoted_model(two, digits):
    old, _ = two
    old.exchange("standby", forward=Forward(revision="digits-gone", host="127.0.0.1", port=free_ports(1)[0]))
    with pytest.raises(grpc.RpcError) as error:
        calling.infer(old.public, digits.rows[:1])
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "digits-gone" in error.value.details()
    old.exchange("serving")
    assert calling.infer(old.public, digits.rows[:1]).model_version == "digits-old"


def test_answers_have_receipts_as_their_role_has_it(two, digits, ledgers):
    old, new = two
    settings = OutcomeSettings(ledger=ledgers.edge.url)
    new.exchange(outcomes=settings)
    token = eventually("receipt", lambda: receipt_of(calling.infer(new.public, digits.rows[:1])))
    found = receipts.verify(token, KEYS)
    assert (found.revision, found.predictions) == ("digits-new", {0: f"i{digits.label}"})
    assert receipt_of(calling.infer(new.own, digits.rows[:1])) is None, "nobody's prediction"
    old.exchange("standby", forward=to(new), outcomes=settings)
    assert receipts.verify(receipt_of(calling.infer(old.public, digits.rows[:1])), KEYS).revision == "digits-new"
    new.exchange("candidate", outcomes=settings)
    eventually("none", lambda: receipt_of(calling.infer(new.public, digits.rows[:1])) is None)


def test_calls_are_copied_to_other_revisions(two, digits, ledgers):
    old, new = two
    settings = OutcomeSettings(ledger=ledgers.edge.url)
    copies = [Copy(revision="digits-old", host="127.0.0.1", port=old.own)]
    new.exchange(outcomes=settings, copies=copies)
    requests = old.exchange("candidate", outcomes=settings).requests
    with channel_to(new.public) as channel:
        infer = calling.method(channel, "ModelInfer")

        def paired():
            for typed in (False, True):
                infer(calling.request(digits.rows[:1], typed=typed), timeout=CHANGE_SECONDS)
            return len(ledgers.edge.copies) > 20

        eventually("pairs", paired)
    pair = ledgers.edge.copies[-1]
    assert (pair.revision, pair.other, pair.predictions) == ("digits-new", "digits-old", f"i{digits.label}")
    assert not any(predictions.is_failure(each.other_predictions) for each in ledgers.edge.copies)
    own = np.frombuffer(calling.infer(old.own, digits.rows[:1]).raw_output_contents[0], np.int64)[0]
    assert {each.other_predictions for each in ledgers.edge.copies} == {f"i{own}"}
    counted = old.exchange("candidate", outcomes=settings).requests
    assert counted < requests + 10, "copies are no client's requests"


def test_a_pod_that_is_not_ready_says_so(start, digits):
    pod = start(digits.uri("missing.onnx"), digest=digits.digest("good.onnx"))
    eventually("listening", lambda: pod.ready() and pod.worker_pid() and _is_open(pod.public))
    with triton.InferenceServerClient(f"127.0.0.1:{pod.public}") as client:
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("digits")
        with pytest.raises(triton.InferenceServerException, match="is not ready") as error:
            client.get_model_metadata("digits")
        assert error.value.status() == "StatusCode.UNAVAILABLE"
        (model,) = client.get_model_repository_index().models
        assert model.state == "UNAVAILABLE"
        assert "the model is being fetched" in model.reason


def _is_open(port):
    with channel_to(port) as channel:
        grpc.channel_ready_future(channel).result(CHANGE_SECONDS)
        return True

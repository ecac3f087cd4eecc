"""Calls: frames of messages, compression, deadlines, statuses, streams of messages; and requests that are no calls."""

import gzip
import json
import zlib

import pytest
from leadline_runtime.grpc import framing, protocol, status
from leadline_runtime.http2 import frames
from leadline_runtime.web import server

from tests.unit.runtime import models
from tests.unit.runtime.called import GRPC, INFER, usual_client
from tests.unit.runtime.models import Served, asking, tensor
from tests.unit.runtime.test_grpc_predictions import floats, infer_request

STREAM = protocol.path(protocol.INFERENCE, "ModelStreamInfer").decode()
MESSAGE = infer_request(1, 2, 3).SerializeToString()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(models.identity(tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture
def client(served):
    return usual_client(served)


def reply(client, body, **more):
    number = client.begin(body, **more)
    return client.replies()[number]


def packed(data):
    return b"\1" + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_messages_may_be_compressed(client, coding, pack):
    for body in (packed(pack(MESSAGE)), framing.framed(MESSAGE)):
        answer = reply(client, body, more=[("grpc-encoding", coding)]).answer
        assert floats(answer.raw_output_contents[0]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "coding", "code", "said"),
    [
        (packed(gzip.compress(MESSAGE)), "snappy", status.UNIMPLEMENTED, "expected identity, deflate or gzip"),
        (packed(gzip.compress(MESSAGE)), "identity", status.INVALID_ARGUMENT, "grpc-encoding does not say how"),
        (packed(b"rubbish"), "gzip", status.INVALID_ARGUMENT, "does not decompress as gzip"),
        (packed(gzip.compress(MESSAGE)[:-9]), "gzip", status.INVALID_ARGUMENT, "it ends too early or too late"),
        (packed(gzip.compress(MESSAGE) + b"x"), "gzip", status.INVALID_ARGUMENT, "it ends too early or too late"),
        (packed(gzip.compress(bytes(1 << 20))), "gzip", status.RESOURCE_EXHAUSTED, "larger than 100000 bytes once"),
        (b"\2" + framing.framed(MESSAGE)[1:], "gzip", status.INVALID_ARGUMENT, "expected 0 or 1 as its first byte"),
        (framing.framed(MESSAGE) * 2, "gzip", status.INVALID_ARGUMENT, "expected one message in its frame"),
        (framing.framed(MESSAGE)[:-1], "gzip", status.INVALID_ARGUMENT, "expected one message in its frame"),
        (b"\0\0", "gzip", status.INVALID_ARGUMENT, "expected one message in its frame, got 2 bytes"),
        (b"", "gzip", status.INVALID_ARGUMENT, "expected one message in its frame, got 0 bytes"),
        (bytes(100_001), "gzip", status.RESOURCE_EXHAUSTED, "message is larger than 100000 bytes"),
    ],
    ids=[
        "coding",
        "no coding",
        "rubbish",
        "too short",
        "too long",
        "bomb",
        "flag",
        "two",
        "cut",
        "stub",
        "none",
        "large",
    ],
)
def test_frames_that_cannot_be_taken_are_named(served, body, coding, code, said):
    client = usual_client(served, server.Limits(body_bytes=100_000))
    found = reply(client, body, more=[("grpc-encoding", coding)])
    assert (found.code, found.messages) == (code, [])
    assert said in found.details
    assert found.fields["grpc-accept-encoding"] == "identity, deflate, gzip"


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/inference.GRPCInferenceService/ModelStatistics", status.UNIMPLEMENTED, "there is no method"),
        ("/other.Service/Method", status.UNIMPLEMENTED, "there is no method /other.Service/Method here"),
        ("/", status.UNIMPLEMENTED, "there is no method"),
    ],
)
def test_unknown_methods_are_named(client, path, code, said):
    found = reply(client, framing.framed(b""), path=path)
    assert found.code == code
    assert said in found.details


def test_messages_in_any_script_arrive(client):
    message = infer_request(1, 2, 3)
    message.model_name = "100% модель\n"
    found = client.call(message)
    assert 'no model "100% модель\n" here' in found.details
    assert all(32 <= ord(character) < 127 for character in found.fields["grpc-message"])


def test_a_deadline_is_kept_by_the_server_as_well(client):
    number = client.begin(framing.framed(MESSAGE), more=[("grpc-timeout", "2S")])
    client.connection.check(1.9, None)
    assert number not in client.answers()
    client.connection.check(2.1, None)
    found = client.replies()[number]
    assert (found.code, found.details) == (status.DEADLINE_EXCEEDED, "the deadline of the call has passed")
    assert client.call(infer_request(1, 2, 3), more=[("grpc-timeout", "99999999n")]).code == 0


@pytest.mark.parametrize("timeout", ["", "1", "S", "123456789S", "-1S", "1 S", "1.5S", "1D"])
def test_a_deadline_that_is_none_is_named(client, timeout):
    found = client.call(infer_request(1, 2, 3), more=[("grpc-timeout", timeout)])
    assert found.code == status.INVALID_ARGUMENT
    assert "grpc-timeout: expected up to 8 digits" in found.details


def test_a_call_that_is_given_up_is_answered_to_nobody(client):
    number = client.begin(framing.framed(MESSAGE))
    client.send(frames.reset(number, frames.CANCEL))
    assert number not in client.replies()
    assert client.call(infer_request(1, 2, 3)).code == 0


# Streams of messages


def test_answers_of_a_stream_come_in_the_order_of_its_requests(client):
    client.number += 2
    number = client.number
    client.ask(number, None, path=STREAM, more=GRPC)
    bodies = [
        infer_request(1, 2, 3, id="a"),
        infer_request(1, 2, 3, 4, 5, 6, id="b"),
        infer_request(1, shape=[1, 1], id="c"),
        infer_request(4, 5, 6, id="d"),
    ]
    whole = b"".join(framing.framed(body.SerializeToString()) for body in bodies)
    for at in range(0, len(whole), 11):
        client.send(frames.frame(frames.DATA, 0, number, whole[at : at + 11]))
    found = client.replies()[number]
    told = [protocol.StreamResponse.FromString(message) for message in found.messages]
    assert [one.infer_response.id for one in told] == ["a", "b", "", "d"]
    assert "expected shape" in told[2].error_message
    assert found.code is None
    client.send(frames.frame(frames.DATA, frames.END_STREAM, number, b""))
    assert client.replies()[number].code == 0


def test_a_stream_ends_when_all_is_answered(client):
    number = client.begin(framing.framed(MESSAGE) * 3, path=STREAM)
    found = client.replies()[number]
    assert (len(found.messages), found.code) == (3, 0)
    assert reply(client, b"", path=STREAM).code == 0


def test_what_is_wrong_in_a_stream_ends_it(client):
    for body, said in ((b"\3\0\0\0\0", "expected 0 or 1"), (b"\0\0\0\0\5ab", "the last message lacks")):
        found = reply(client, body, path=STREAM)
        assert found.code == status.INVALID_ARGUMENT
        assert said in found.details
    client.number += 2
    client.ask(client.number, None, path=STREAM, more=GRPC)
    client.send(frames.frame(frames.DATA, 0, client.number, b"\0\xff\xff\xff\xff"))
    assert client.replies()[client.number].code == status.RESOURCE_EXHAUSTED


def test_requests_under_way_on_a_stream_are_bounded(client):
    number = client.begin(framing.framed(MESSAGE) * 70, path=STREAM)
    told = [protocol.StreamResponse.FromString(message) for message in client.replies()[number].messages]
    assert len(told) == 70
    assert ["the limit" in one.error_message for one in told] == [False] * 64 + [True] * 6


def test_a_stream_that_goes_on_where_it_is_refused_is_ended_and_holds_nothing(client):
    client.port.rpc = lambda caller: None  # a model that takes its time
    client.number += 2
    client.ask(client.number, None, path=STREAM, more=GRPC)
    message = framing.framed(bytes(1_000))
    receiver = client.connection.streams[client.number]._receiver
    for _ in range(64 + 256):
        client.send(frames.frame(frames.DATA, 0, client.number, message))
    assert sum(len(each.body) for each in receiver._waiting) == 64 * len(message)
    client.send(frames.frame(frames.DATA, 0, client.number, message))
    found = client.replies()[client.number]
    assert (found.code, "sent all the same" in found.details) == (status.RESOURCE_EXHAUSTED, True)
    assert not receiver._waiting


def test_a_stream_that_is_given_up_leaves_nothing(client):
    client.number += 2
    client.ask(client.number, None, path=STREAM, more=GRPC)
    client.send(frames.frame(frames.DATA, 0, client.number, framing.framed(MESSAGE)))
    client.send(frames.reset(client.number, frames.CANCEL))
    assert [found.messages for found in client.replies().values()] == [[]], "only word of the window"
    assert client.connection.streams == {}


def test_a_message_in_pieces_is_held_against_its_sender(served):
    client = usual_client(served, server.Limits(held_bytes=50_000, body_seconds=10))
    whole = framing.framed(infer_request(*range(3 * 3_000)).SerializeToString())
    numbers = []
    for _ in range(3):
        client.number += 2
        numbers.append(client.number)
        client.ask(client.number, None, path=STREAM, more=GRPC)
        for at in range(0, 30_000, 10_000):
            client.send(frames.frame(frames.DATA, 0, client.number, whole[at : at + 10_000]))
    found = client.replies()
    assert [found[number].code for number in numbers] == [None, status.UNAVAILABLE, status.UNAVAILABLE]
    assert client.server.held_bytes == 30_000
    client.server.check(11.0)
    late = client.replies()[numbers[0]]
    assert (late.code, "30000 bytes in 11.0 s" in late.details) == (status.DEADLINE_EXCEEDED, True)
    assert client.server.held_bytes == 0


def test_streams_are_ended_when_the_pod_is_left(client):
    client.number += 2
    client.ask(client.number, None, path=STREAM, more=GRPC)
    client.server.close_connections(closing=True)
    for now in (0.5, 1.0, 1.6):
        client.server.check(now)
    assert client.replies()[client.number].code == status.UNAVAILABLE
    client.server.check(2.1)
    assert client.transport.shut


def test_watchers_hear_of_a_model_that_becomes_ready(client, served):
    client.service._model = None
    path = protocol.path(protocol.HEALTH, "Watch").decode()
    number = client.begin(framing.framed(b""), path=path)
    states = protocol.HealthResponse.ServingStatus
    (told,) = client.replies()[number].messages
    assert protocol.HealthResponse.FromString(told).status == states.NOT_SERVING
    client.service.attach(served.model.signature, client.predictions.infer, max_rows=8)
    (told,) = client.replies()[number].messages
    assert protocol.HealthResponse.FromString(told).status == states.SERVING
    client.send(frames.reset(number, frames.CANCEL))
    assert client.service._watchers == set()


def test_a_watch_whose_deadline_has_passed_is_forgotten(client):
    path = protocol.path(protocol.HEALTH, "Watch").decode()
    number = client.begin(framing.framed(b""), path=path, more=[("grpc-timeout", "1m")])
    assert len(client.service._watchers) == 1
    client.connection.check(5.0, None)
    assert client.replies()[number].code == status.DEADLINE_EXCEEDED
    assert client.service._watchers == set()


# No calls


def test_rest_is_answered_over_http2(client):
    body = json.dumps(asking(tensor([1, 2, 3], [1, 3]))).encode()
    client.number += 2
    client.ask(client.number, body, path="/v2/models/m/infer")
    client.served.loop.run()
    answer = client.answers()[client.number]
    assert answer.status == "200"
    assert json.loads(answer.data)["outputs"][0]["data"] == [1, 2, 3]
    assert answer.ended
    assert dict(answer.fields)["content-length"] == str(len(answer.data))


def test_errors_of_rest_are_answered_over_http2(client):
    client.number += 2
    client.ask(client.number, b"{}", path="/no")
    answer = client.answers()[client.number]
    assert answer.status == "404"
    assert "there is no path /no" in json.loads(answer.data)["error"]
    client.number += 2
    client.ask(client.number, b"no json", path="/v2/models/m/infer")
    assert client.answers()[client.number].status == "400"


def test_a_body_of_rest_that_is_too_large_is_refused(served):
    client = usual_client(served, server.Limits(body_bytes=1_000))
    client.ask(1, bytes(2_000), path="/v2/models/m/infer")
    answer = client.answers()[1]
    assert (answer.status, answer.ended) == ("413", True)


def test_a_call_by_another_method_is_refused(client):
    fields = [(":method", "GET"), (":scheme", "http"), (":path", INFER), *GRPC]
    block = client.block(fields)
    client.number += 2
    client.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, client.number, block))
    assert client.replies()[client.number].code == status.UNIMPLEMENTED

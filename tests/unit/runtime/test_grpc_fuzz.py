"""Calls with any bytes changed, through HTTP/2, gRPC and the model: each gets a status that says what is wrong.

10,000 calls in each run of the suite; LEADLINE_FUZZ says how many tenths of them there are.
"""

import os
import random

import pytest
from leadline_runtime.grpc import framing, protocol, status
from leadline_runtime.http2 import frames

from tests.unit.runtime import models
from tests.unit.runtime.called import INFER, usual_client
from tests.unit.runtime.models import Served
from tests.unit.runtime.test_grpc_predictions import infer_request

OCTETS = (0, 1, 0x7F, 0x80, 0xFF)
TIMES = int(os.environ.get("LEADLINE_FUZZ", "1000"))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(models.classifier(tmp_path_factory.mktemp("model") / "m.onnx")).sign()


def changed(chance, body):
    """Return a body with bytes changed, put in, left out, or with a part of it doubled."""
    body = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(body) + 1)
        what = chance.randrange(4)
        if what == 0 and at < len(body):
            body[at] = chance.choice((*OCTETS, chance.randrange(256)))
        elif what == 1:
            body[at:at] = bytes([chance.choice((*OCTETS, chance.randrange(256)))])
        elif what == 2:
            del body[at : at + chance.choice((1, 2, 8))]
        else:
            body[at:at] = body[at : at + chance.choice((1, 4, 40))]
    return bytes(body)


@pytest.mark.parametrize("seed", range(10))
def test_any_change_of_a_call_gets_a_status(served, seed):
    chance = random.Random(seed)
    client = usual_client(served)
    message = infer_request(1, 2, 3, id="an id")
    message.parameters["tags"].string_param = '{"a":"b"}'
    message.outputs.add(name="y")
    seeds = [
        (INFER, infer_request(1, 2, 3).SerializeToString()),
        (INFER, infer_request(1, 2, 3, typed=True).SerializeToString()),
        (INFER, message.SerializeToString()),
        (INFER.replace("ModelInfer", "ModelStreamInfer"), infer_request(1, 2, 3).SerializeToString()),
        (protocol.path(protocol.INFERENCE, "ModelMetadata").decode(), b"\x0a\x01m\x12\x03m-1"),
        (protocol.path(protocol.HEALTH, "Check").decode(), b"\x0a\x03abc"),
        (protocol.path(protocol.REFLECTION[0], "ServerReflectionInfo").decode(), b"\x22\x09inference"),
    ]
    codes = set()
    for number in range(TIMES):
        path, body = chance.choice(seeds)
        body = changed(chance, body) if chance.random() < 0.8 else body
        body = framing.framed(body) if chance.random() < 0.8 else changed(chance, framing.framed(body))
        stream = client.begin(body, path=path)
        found = client.replies()[stream]
        assert found.code is not None, (path, body)
        assert found.code in {0, 3, 5, 8, 12}, (found.code, found.details, path, body)
        assert bool(found.details) == (found.code != 0)
        codes.add(found.code)
        if number % 500 == 0:
            client.server.check(number / 500)
    assert {status.OK, status.INVALID_ARGUMENT, status.NOT_FOUND} <= codes
    assert (client.connection.streams, client.server.held_bytes) == ({}, 0)
    assert frames.GOAWAY not in {frame.kind for frame in client.received()}

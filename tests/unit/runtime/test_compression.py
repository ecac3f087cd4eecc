"""Packed bodies: unpacked within a bound on the way in, packed for clients that ask for one coding on the way out."""

import gzip
import json
import zlib

import pytest
from leadline_runtime.oip import inference

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor, told
from tests.unit.runtime.test_binary import ALL, Copies, floats, raw

BODY = json.dumps(asking(tensor([1, 2.5, -3], [1, 3]))).encode()
CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def bare(body):
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(body) + machine.flush()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Served(models.identity(tmp_path_factory.mktemp("model") / "identity.onnx"))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_packed_json_body_is_answered(served, coding):
    answer = served.ask(CODINGS[coding](BODY), head=f"content-encoding: {coding}\r\n")
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.0, 2.5, -3.0]


def test_deflate_without_zlibs_header_is_answered_too(served):
    assert served.ask(bare(BODY), head="content-encoding: deflate\r\n").status == 200


@pytest.mark.parametrize("rows", [1, 2])
def test_the_header_length_of_a_packed_binary_body_is_that_of_the_unpacked_one(served, rows):
    header = json.dumps(asking(raw(12 * rows, [rows, 3]), parameters=ALL)).encode()
    data = floats(*range(3 * rows))
    head = f"inference-header-content-length: {len(header)}\r\ncontent-encoding: gzip\r\n"
    assert told(served.ask(gzip.compress(header + data), head=head))[1] == {"y": data}


@pytest.mark.parametrize("row_layout", [True, False])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_was_unpacked_on_the_way_is_answered_all_the_same(tmp_path, coding, row_layout):
    served = Served(models.identity(tmp_path / "m.onnx"), row_layout=row_layout)
    assert served.ask(BODY, head=f"content-encoding: {coding}\r\n").status == 200


BAD = {
    "unknown": (b"x", "br", 415, "content-encoding: expected gzip, deflate or none, got 'br'"),
    "two": (b"x", "gzip, gzip", 415, "got 'gzip, gzip'"),
    "not packed": (b"[]", "gzip", 400, "body: expected gzip as content-encoding says"),
    "not packed, deflate": (b"\xff\xff", "deflate", 400, "body: expected deflate as content-encoding says"),
    "nothing": (b"", "gzip", 400, "ends too early"),
    "cut": (gzip.compress(BODY)[:-9], "gzip", 400, "body: the gzip in it ends too early"),
    "too long": (gzip.compress(BODY) + b"x", "gzip", 400, "body: 1 bytes after the end of the gzip"),
    "damaged": (gzip.compress(BODY)[:-8] + bytes(8), "gzip", 400, "body: expected gzip"),
    "a bomb": (gzip.compress(bytes(2_000)), "gzip", 413, "body is larger than 1000 bytes once unpacked"),
    "no JSON in it": (gzip.compress(b"x"), "gzip", 400, "body: expected a JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrongly_packed_body_is_told_what_was_expected(served, case):
    body, coding, status, said = BAD[case]
    small = inference.Inference(served.batcher, served.inference._encoder, max_body_bytes=1_000)
    served.routes.attach(served.model.signature, small.infer)
    answer = served.ask(body, head=f"content-encoding: {coding}\r\n")
    assert answer.status == status
    assert said in json.loads(answer.body)["error"]


def test_a_bomb_is_not_unpacked_beyond_the_bound(served):
    bomb = gzip.compress(bytes(200_000_000))
    answer = served.ask(bomb, head="content-encoding: gzip\r\n")
    assert answer.status == 413


def test_a_packed_request_is_copied_unpacked(tmp_path):
    served = Served(models.classifier(tmp_path / "m.onnx")).sign()
    served.recorder.copier = copies = Copies()
    assert served.ask(gzip.compress(BODY), head="content-encoding: gzip\r\n").status == 200
    assert copies.requests == [BODY]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_large_answer_is_packed_for_a_client_that_asks_for_one_coding(tmp_path, coding, rows):
    served = Served(models.identity(tmp_path / "m.onnx", shape=("N", 4_000)))
    data = [0.1 * number for number in range(4_000 * rows)]
    body = asking(tensor(data, [rows, 4_000]))
    plain = served.ask(body, head="accept-encoding: gzip, deflate\r\n")
    packed = served.ask(body, head=f"accept-encoding: {coding}\r\n")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == coding
    assert len(packed.body) < len(plain.body)
    assert zlib.decompress(packed.body, 31 if coding == "gzip" else 15) == plain.body
    header = asking(raw(16_000 * rows, [rows, 4_000]), parameters=ALL)
    packed = served.ask_binary(header, floats(*data), head=f"accept-encoding: {coding}\r\n")
    packed.body = zlib.decompress(packed.body, 31 if coding == "gzip" else 15)
    assert told(packed)[1] == {"y": floats(*data)}


def test_a_small_answer_stays_as_it_is(served):
    for rows in (1, 2):
        answer = served.ask(asking(tensor([1, 2, 3] * rows, [rows, 3])), head="accept-encoding: gzip\r\n")
        assert "content-encoding" not in answer.headers
        assert answer.status == 200

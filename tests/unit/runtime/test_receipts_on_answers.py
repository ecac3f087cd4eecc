"""Receipts that come with answers: who gets one, what it says, and what it never does to an answer."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_runtime.outcomes import minting, words
from leadline_runtime.outcomes.words import Words
from leadline_wire import predictions, receipts
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.unit.runtime.models import KEY, NOW_MS, Served, asking, tensor
from tests.unit.runtime.wires import answers, request

KEYS = {KEY.id: KEY}


@pytest.fixture
def served(tmp_path):
    return Served(models.classifier(tmp_path / "m.onnx"))


def receipt_of(answer):
    return receipts.verify(json.loads(answer.body)["parameters"]["receipt"], KEYS)


def infer(body):
    return request("/v2/models/m/infer", json.dumps(body).encode())


def row(place, **more):
    return asking(tensor([float(number == place) for number in range(3)], [1, 3]), **more)


def rows(count, **more):
    return asking(tensor([float(n % 3 == k) for n in range(count) for k in range(3)], [count, 3]), **more)


def test_without_outcomes_no_answer_has_a_receipt(served):
    for body in (row(1), row(1, id="a"), rows(3)):
        answer = served.ask(body)
        assert b"receipt" not in answer.body
        assert receipts.HEADER not in answer.headers
    assert served.counters.receipts == 0


def test_an_answer_of_one_row_has_its_receipt_in_header_and_parameter(served):
    plain = json.loads(served.ask(row(1)).body)
    answer = served.sign().ask(row(1))
    told = json.loads(answer.body)
    assert told.pop("parameters") == {"receipt": answer.headers[receipts.HEADER]}
    assert told == plain
    found = receipt_of(answer)
    assert (found.revision, found.predictions, found.share) == ("m-1", {0: "i1"}, 1_000_000)
    assert found.predicted_at_ms == NOW_MS
    assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", found.id), "a UUIDv7"
    assert served.counters.receipts == 1


def test_an_answer_of_many_rows_has_one_receipt_for_all_and_no_header(served):
    answer = served.sign().ask(rows(5))
    assert receipts.HEADER not in answer.headers
    assert receipt_of(answer).predictions == {0: "i0", 1: "i1", 2: "i2", 3: "i0", 4: "i1"}


def test_of_more_rows_than_a_receipt_holds_a_random_sample_gets_one(tmp_path):
    served = Served(models.classifier(tmp_path / "m.onnx"), max_rows=256, max_queue_rows=512).sign(share=500_000)
    served.recorder.minter.is_drawn = lambda: True
    found = [receipt_of(served.ask(rows(128))) for _ in range(2)]
    for receipt in found:
        assert len(receipt.predictions) == predictions.ROWS_MAX
        assert all(word == f"i{number % 3}" for number, word in receipt.predictions.items())
        assert receipt.share == 250_000, "half of the answers, half of their rows"
    assert found[0].predictions.keys() != found[1].predictions.keys()


def test_a_batch_gives_each_answer_an_id_of_its_own(served):
    served.sign()
    sent = [served.send(infer(row(number % 3))) for number in range(20)]
    served.loop.run()
    found = [receipt_of(answers(transport.sent)[0]) for transport in sent]
    assert len({receipt.id for receipt in found}) == 20
    assert [receipt.predictions[0] for receipt in found] == [f"i{number % 3}" for number in range(20)]


@pytest.mark.parametrize("body", [row(2, id='q"1'), rows(2, id='q"1')], ids=["one row", "two rows"])
def test_the_clients_id_is_echoed_beside_the_receipt(served, body):
    answer = served.sign().ask(body)
    assert json.loads(answer.body)["id"] == 'q"1'
    assert receipt_of(answer).revision == "m-1"


@pytest.mark.parametrize("body", [row(1), row(1, id="a"), rows(2)], ids=["one row", "with id", "two rows"])
def test_a_share_of_the_answers_gets_a_receipt(served, body):
    served.sign(share=250_000)
    got = [served.ask(body) for _ in range(400)]
    given_ = [answer for answer in got if b"receipt" in answer.body]
    assert 50 < len(given_) < 160, "binomial(400, 1/4): 5 standard deviations are 43"
    assert {receipt_of(answer).share for answer in given_} == {250_000}
    assert {answer.status for answer in got} == {200}
    assert served.counters.receipts == len(given_)


def test_entity_and_tags_of_the_request_are_in_the_receipt_and_the_entity_is_hidden(served):
    served.sign(entity="customer")
    found = receipt_of(served.ask(row(1, parameters={"customer": "jo", "tags": {"country": "de"}})))
    assert (found.entity, found.tags) == (receipts.entity_hash(KEY, "jo"), {"country": "de"})
    assert receipt_of(served.ask(row(1, parameters={"customer": 7}))).entity == receipts.entity_hash(KEY, "7")


@pytest.mark.parametrize(
    "parameters",
    [
        {"customer": [1]},
        {"customer": True},
        {"tags": ["a"]},
        {"tags": {"a": 1}},
        {"tags": {"": "x"}},
        {"tags": dict.fromkeys("abcde", "x")},
        {"tags": {"a": "x" * 65}},
    ],
)
def test_what_a_receipt_cannot_hold_is_left_out_and_the_prediction_is_answered(served, parameters):
    found = receipt_of(served.sign(entity="customer").ask(row(1, parameters=parameters)))
    assert (found.entity, found.tags) == ("", {})


def test_the_own_port_gives_a_receipt_only_where_a_client_gets_the_answer(served):
    served.sign()
    assert b"receipt" not in served.ask(row(1), own=True).body
    forwarded = served.ask(row(1), own=True, head="leadline-forwarded: 1\r\n")
    assert receipt_of(forwarded).predictions == {0: "i1"}


def test_a_candidates_public_answers_are_nobodys_predictions(served):
    served.sign()
    served.inference.public_origin = type(served.inference.public_origin).ASIDE
    assert b"receipt" not in served.ask(row(1)).body
    assert b"receipt" in served.ask(row(1), own=True, head="leadline-forwarded: 1\r\n").body


def test_requests_of_clients_and_others_never_share_what_they_get(served):
    served.sign()
    sent = [
        served.send(infer(row(0))),
        served.send(infer(row(1)), own=True),
        served.send(infer(row(2))),
    ]
    served.loop.run()
    got = [answers(transport.sent)[0] for transport in sent]
    assert [b"receipt" in answer.body for answer in got] == [True, False, True]
    assert [json.loads(answer.body)["outputs"][0]["data"] for answer in got] == [[0], [1], [2]]


def test_an_answer_that_is_not_finite_is_an_error_without_a_receipt(tmp_path):
    path = models.save(
        tmp_path / "m.onnx",
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("Log", ["x"], ["y"]),
        ],
        {"x": (models.FLOAT, ("N", 3))},
        {"label": (TensorProto.INT64, ("N",)), "y": (models.FLOAT, ("N", 3))},
    )
    served = Served(path).sign()
    sent = [served.send(infer(asking(tensor([x, 1, 1], [1, 3])))) for x in (1, 0, 2)]
    served.loop.run()
    got = [answers(transport.sent)[0] for transport in sent]
    assert [answer.status for answer in got] == [200, 500, 200]
    assert [b"receipt" in answer.body for answer in got] == [True, False, True]
    assert served.counters.receipts == 2


def test_a_copy_is_answered_by_the_prediction_in_words_and_is_no_clients_request(served):
    served.sign()
    for body, said in ((row(2), b"i2"), (row(2, id="a"), b"i2"), (rows(3), b"i0~i1~i2")):
        answer = served.ask(body, own=True, head="leadline-copy: 1\r\n")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, said, "text/plain")
        assert receipts.HEADER not in answer.headers
    assert served.ask({"inputs": []}, own=True, head="leadline-copy: 1\r\n").status == 400
    assert (served.counters.requests, served.counters.receipts) == (0, 0)
    assert b"outputs" in served.ask(row(2), head="leadline-copy: 1\r\n").body, "a client has no say in it"


def test_a_copy_of_more_rows_than_words_go_back_for_is_answered_by_nothing(tmp_path):
    served = Served(models.classifier(tmp_path / "m.onnx"), max_rows=256, max_queue_rows=512).sign()
    assert served.ask(rows(65), own=True, head="leadline-copy: 1\r\n").body == b""


def test_scores_are_read_by_the_classes_in_the_metadata(tmp_path):
    path = models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (models.FLOAT, ("N", 3))},
        {"y": (models.FLOAT, ("N", 3))},
        {"leadline.classes": json.dumps(["cat", "dog", "l" + "o" * 300 + "ng"])},
    )
    served = Served(path).sign()
    assert receipt_of(served.ask(row(1))).predictions == {0: predictions.of_class("dog")}
    assert b"receipt" not in served.ask(row(2)).body, "a name that no word holds"
    assert receipt_of(served.ask(rows(3))).predictions.keys() == {0, 1}


def test_text_labels_and_booleans_have_words(tmp_path):
    text = Served(models.identity(tmp_path / "t.onnx", TensorProto.STRING, ("N", 1))).sign()
    answer = text.ask(asking(tensor(["a~b.c"], [1, 1], datatype="BYTES")))
    assert receipt_of(answer).predictions == {0: predictions.of_class("a~b.c")}
    truth = Served(models.identity(tmp_path / "b.onnx", TensorProto.BOOL, ("N", 1))).sign()
    assert receipt_of(truth.ask(asking(tensor([True], [1, 1], datatype="BOOL")))).predictions == {0: "i1"}


@pytest.mark.parametrize("shape", [("N", 1), ("N",)])
def test_the_one_number_of_a_regression_is_a_value(tmp_path, shape):
    path = models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (models.FLOAT, shape)},
        {"y": (models.FLOAT, shape)},
        {"leadline.task": "regression"},
    )
    served = Served(path).sign()
    found = receipt_of(served.ask(asking(tensor([0.5], [1, 1][: len(shape)]))))
    assert found.predictions == {0: predictions.of_value(0.5)}


def test_a_model_without_rows_gets_receipts_where_it_has_one_answer(tmp_path):
    path = models.save(
        tmp_path / "sum.onnx",
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        {"x": (TensorProto.INT64, ("N",))},
        {"y": (TensorProto.INT64, ())},
    )
    served = Served(path).sign()
    assert not served.model.signature.has_rows
    answer = served.ask(asking(tensor([3, 4], [2], datatype="INT64")))
    assert receipt_of(answer).predictions == {0: "i7"}


def test_a_model_whose_prediction_cannot_be_told_has_no_words(tmp_path):
    model = Served(models.identity(tmp_path / "m.onnx")).model
    assert not Words(model).is_known


def test_scores_of_another_width_than_the_classes_are_answered_without_a_receipt(tmp_path):
    path = models.save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (models.FLOAT, ("N", "K"))},
        {"y": (models.FLOAT, ("N", "K"))},
        {"leadline.classes": "[1, 2]"},
    )
    served = Served(path).sign()
    answer = served.ask(asking(tensor([0.0, 0.0, 1.0], [1, 3])))
    assert (answer.status, b"receipt" in answer.body) == (200, False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.integers(0, 2**48 - 1),
    st.integers(1, receipts.WHOLE_SHARE),
)
def test_the_hot_path_signs_what_the_contract_signs(labels, now_ms, share):
    minter = minting.Minter(KEY, "digits-6c1f02ab9e", share, lambda: now_ms)
    given_ = minter.rows([predictions.of_class(label).encode() for label in labels])
    for place, (label, token) in enumerate(zip(labels, given_.receipts, strict=True)):
        if token is None:
            assert not given_.is_whole
            assert share < receipts.WHOLE_SHARE
            continue
        whole = receipts.Receipt("digits-6c1f02ab9e", given_.stamp.id(place), {0: f"i{label}"}, share)
        assert token.decode() == receipts.mint(KEY, whole)
        assert receipts.verify(token.decode(), KEYS).predicted_at_ms == now_ms


def test_ids_are_never_given_twice_however_many_share_a_millisecond():
    now_ms = [NOW_MS]
    minter = minting.Minter(KEY, "m-1", receipts.WHOLE_SHARE, lambda: now_ms[0])
    seen = set()
    for number in range(40):
        now_ms[0] += (number % 10 == 0) - (number == 25)
        rows_ = minter.rows([b"i1"] * 500)
        found = {receipts.verify(token.decode(), KEYS).id for token in rows_.receipts}
        assert found == {rows_.stamp.id(place) for place in range(500)}
        assert not found & seen
        seen |= found


def test_long_class_names_are_sampled_until_the_receipt_fits():
    minter = minting.Minter(KEY, "m-1", receipts.WHOLE_SHARE, lambda: NOW_MS)
    name = predictions.of_class("n" * 256).encode()
    minted = minter.answer(minter.stamp(1), 0, [name] * 64)
    found = receipts.verify(minted.receipt.decode(), KEYS)
    assert len(found.predictions) == 32
    assert found.share == minted.share == 500_000


def scoring_model(folder, *, width=2, metadata=None):
    """A model whose label is always 7, and whose scores are its inputs."""
    label = helper.make_tensor("seven", TensorProto.INT64, [1], [7])
    return models.save(
        folder / "m.onnx",
        [
            helper.make_node("Identity", ["x"], ["probabilities"]),
            helper.make_node("Shape", ["x"], ["rows"], end=1),
            helper.make_node("ConstantOfShape", ["rows"], ["label"], value=label),
        ],
        {"x": (models.FLOAT, ("N", width))},
        {"label": (TensorProto.INT64, ("N",)), "probabilities": (models.FLOAT, ("N", width))},
        metadata or {},
    )


@pytest.mark.parametrize(
    ("metadata", "positive", "expected"),
    [
        ({"leadline.classes": "[7, 3]"}, "3", 0.75),
        ({"leadline.classes": "[7, 3]"}, "7", 0.25),
        ({"leadline.classes": '["no", "yes"]'}, "yes", 0.75),
        ({}, "1", 0.75),
    ],
)
def test_the_score_of_the_class_that_is_watched_goes_with_the_prediction(tmp_path, metadata, positive, expected):
    model = Served(scoring_model(tmp_path, metadata=metadata)).model
    read = Words(model, "label", positive=positive)
    (word,) = read.of_rows([np.array([7]), np.array([[0.25, 0.75]], dtype=np.float32)], 1)
    assert predictions.score_of(word.decode()) == expected
    assert predictions.read(word.decode()) == 7


@pytest.mark.parametrize(("scores", "positive"), [("", "maybe"), ("", "5"), ("nothing", "1")])
def test_a_class_whose_score_cannot_be_told_is_said_and_the_prediction_goes_alone(tmp_path, scores, positive):
    read = Words(Served(scoring_model(tmp_path)).model, "label", scores=scores, positive=positive)
    assert read.lacks_scores
    assert read.of_rows([np.array([7]), np.array([[0.25, 0.75]])], 1) == [b"i7"]


def test_a_single_column_is_the_score_of_the_class_that_is_watched(tmp_path):
    read = Words(Served(scoring_model(tmp_path, width=1)).model, "label", positive="yes")
    (word,) = read.of_rows([np.array([7]), np.array([[0.5]])], 1)
    assert word == predictions.with_score("i7", 0.5).encode()


def test_the_table_of_words_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "_TABLE_MAX", 4)
    read = Words(Served(models.identity(tmp_path / "m.onnx", TensorProto.INT64, ("N", 1))).model)
    labels = np.arange(10).reshape(10, 1)
    assert read.of_rows([labels], 10) == [b"i%d" % label for label in range(10)]
    assert len(read._table) <= 4

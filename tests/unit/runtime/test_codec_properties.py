"""The short way through a request and the general one give the same answer, and arrays survive the way there and back."""

import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from leadline_wire import receipts

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor
from tests.unit.runtime.test_binary import raw

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    path = models.identity(tmp_path_factory.mktemp("model") / "identity.onnx")
    return Served(path), Served(path, row_layout=False)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ODD = st.sampled_from(
    [None, True, 1.0, "x", [], [1], {}, -1, 0, 2, 1e39, "FP32", "FP64", [1, 3], [1.0, 3.0], [2, 3], [[1, 2, 3]]]
)


@st.composite
def requests(draw):
    """A valid request, with none to three of its parts replaced, dropped or added."""
    rows = draw(st.integers(1, 3))
    data = draw(st.lists(FINITE, min_size=3 * rows, max_size=3 * rows))
    body = asking(tensor(data, [rows, 3]))
    if draw(st.booleans()):
        body["id"] = draw(st.text(max_size=5))
    for _ in range(draw(st.integers(0, 3))):
        places = [body, *(part for part in body.get("inputs") or [] if isinstance(part, dict))]
        place = draw(st.sampled_from(places))
        key = draw(
            st.sampled_from(["inputs", "id", "parameters", "outputs", "name", "shape", "datatype", "data", "true"])
        )
        if draw(st.booleans()):
            place[key] = copy.deepcopy(draw(ODD | JSON))
        else:
            place.pop(key, None)
        if not isinstance(body.get("inputs"), list):
            break
    return body


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
def test_the_short_way_accepts_and_answers_exactly_what_the_general_way_does(both, body):
    short, general = both
    one, other = short.ask(body), general.ask(body)
    assert (one.status, one.body) == (other.status, other.body)
    # null is NaN, which the model gives back and JSON cannot carry.
    assert one.status in {200, 400} or b"not finite" in one.body


@st.composite
def binary_requests(draw):
    """A valid binary request, with none to three of its parts replaced, dropped or added; and its raw tensors."""
    rows = draw(st.integers(1, 2))
    data = np.array(draw(st.lists(FINITE, min_size=3 * rows, max_size=3 * rows)), "<f4").tobytes()
    body = asking(raw(len(data), [rows, 3]))
    if draw(st.booleans()):
        body["id"] = draw(st.text(max_size=5))
    if draw(st.booleans()):
        body["parameters"] = {"binary_data_output": draw(st.booleans())}
    if draw(st.booleans()):
        body["outputs"] = [{"name": "y", "parameters": {"binary_data": draw(st.booleans())}}]
    for _ in range(draw(st.integers(0, 3))):
        places = [body, *(part for part in body.get("inputs") or [] if isinstance(part, dict))]
        place = draw(st.sampled_from(places))
        keys = ["inputs", "id", "parameters", "outputs", "name", "shape", "datatype", "data"]
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            place[key] = copy.deepcopy(draw(ODD | JSON))
        else:
            place.pop(key, None)
        if not isinstance(body.get("inputs"), list):
            break
    if draw(st.integers(0, 4)) == 0:
        data = draw(st.binary(max_size=30))
    return body, data


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(binary_requests())
def test_the_short_way_of_a_raw_row_accepts_and_answers_exactly_what_the_general_way_does(both, request_):
    short, general = both
    one, other = short.ask_binary(*request_), general.ask_binary(*request_)
    assert (one.status, one.headers, one.body) == (other.status, other.headers, other.body)
    # null is NaN, which the model gives back and JSON cannot carry.
    assert one.status in {200, 400} or b"not finite" in one.body
    assert short.ask_binary(*request_).body == one.body, "a header that is known by now"


@pytest.fixture(scope="module")
def signing(tmp_path_factory):
    path = models.classifier(tmp_path_factory.mktemp("model") / "classifier.onnx")
    return Served(path).sign(), Served(path, row_layout=False).sign()


def unsigned(answer):
    """Return an answer without its receipt, and the receipt without what is drawn by lot."""
    told = json.loads(answer.body)
    token = told.pop("parameters", {}).get("receipt")
    if token is None:
        assert receipts.HEADER not in answer.headers
        return told, None, None
    found = receipts.verify(token, {models.KEY.id: models.KEY})
    assert answer.headers.get(receipts.HEADER) in {None, token}
    assert found.predicted_at_ms == models.NOW_MS
    return told, receipts.HEADER in answer.headers, (found.revision, found.predictions, found.share)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests())
def test_with_receipts_too_both_ways_accept_and_answer_the_same(signing, both, body):
    short, general = signing
    one, other = short.ask(body), general.ask(body)
    assert one.status == other.status == both[0].ask(body).status
    if one.status == 200:
        assert unsigned(one) == unsigned(other)
        rows = json.loads(one.body)["outputs"][-1]["shape"][0]
        assert unsigned(one)[1] is (rows == 1)
    else:
        assert one.body == other.body


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(3)), elements=FINITE))
def test_numbers_survive_the_way_there_and_back(both, array):
    # 32 bits are exact in JSON's doubles, and are written with enough digits to be read back.
    for served in both:
        served.batcher.max_rows = 64
        answer = served.ask(asking(tensor([float(x) for x in array.ravel()], list(array.shape))))
        (output,) = json.loads(answer.body)["outputs"]
        assert np.array_equal(np.array(output["data"], np.float32).reshape(output["shape"]), array)

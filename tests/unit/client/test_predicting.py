"""From inputs to a request and from an answer to outputs; when a request is made again, and what is said in the end."""

import json
import struct

import pytest
from leadline_client import errors, predicting, retrying, steps, tensors

from tests.unit.client.worlds import World, response

METADATA = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}]}
OTHER = {"inputs": [{"name": "image", "datatype": "INT64", "shape": [-1, 2]}]}
TWO = {"inputs": [{"name": name, "datatype": "FP32", "shape": [-1]} for name in ("a", "b")]}


def answered(label=7, **more):
    raw = struct.pack("<q", label)
    output = {"name": "label", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"model_version": "digits-1", "outputs": [output], **more}).encode()
    return steps.Response(200, {"inference-header-content-length": str(len(head))}, head + raw)


def predicted(world, inputs, known=None, seconds=10.0, **more):
    asked = predicting.Asked(inputs, **more)
    return world.run(
        predicting.predict(asked, known or predicting.Known(), world.budget(seconds), world.edge, tensors.unpack)
    )


def sent(request):
    """Return JSON header and raw part of a prediction's request."""
    size = int(request.headers["inference-header-content-length"])
    return json.loads(request.body[:size]), request.body[size:]


def test_metadata_is_asked_for_once_and_the_answer_is_read():
    world = World(response(METADATA), answered(id="a", parameters={"receipt": "1.r"}), answered(8))
    known = predicting.Known()
    answer = predicted(world, {"X": [[1, 2]]}, known, id="a", tags={"c": "de"}, entity={"customer": 4})
    assert answer == predicting.Answer({"label": [7]}, "digits-1", "1.r", "a")
    assert predicted(world, [[3, 4]], known).outputs == {"label": [8]}
    assert [(each.method, each.path) for each in world.sent] == [("GET", ""), ("POST", "/infer"), ("POST", "/infer")]
    head, raw = sent(world.sent[1])
    assert head == {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}],
        "parameters": {"binary_data_output": True, "tags": {"c": "de"}, "customer": 4},
        "id": "a",
    }
    assert raw == struct.pack("<2f", 1, 2)


def test_inputs_go_in_their_order_and_outputs_can_be_chosen():
    world = World(response(TWO), answered())
    predicted(world, {"b": [1], "a": [2]}, outputs=["label"])
    head, raw = sent(world.sent[1])
    assert [each["name"] for each in head["inputs"]] == ["b", "a"]
    assert (raw, head["outputs"]) == (struct.pack("<2f", 1, 2), [{"name": "label"}])


def test_another_revision_that_takes_something_else_is_learned_of():
    world = World(response(METADATA), answered(), response({"error": "no"}, 400), response(OTHER), answered(9))
    known = predicting.Known()
    predicted(world, [[1, 2]], known)
    assert predicted(world, [[1, 2]], known).outputs == {"label": [9]}
    assert sent(world.sent[-1])[0]["inputs"][0]["name"] == "image"
    world.answers = [response(METADATA), answered()]
    assert predicted(world, {"X": [[1, 2]]}, known).outputs == {"label": [7]}, "a name that the known one lacks"


def test_refused_request_is_told_in_the_servers_words_and_not_made_again():
    world = World(response(METADATA), response({"error": 'input "X": expected shape [-1, 2], got [1, 3]'}, 400))
    with pytest.raises(errors.Refused, match=r'400: input "X": expected shape \[-1, 2\], got \[1, 3\]') as found:
        predicted(world, [[1, 2, 3]])
    assert (found.value.status, len(world.sent)) == (400, 2)
    known = predicting.Known()
    world = World(response(METADATA), answered(), response({"error": "bad"}, 400), response(METADATA))
    predicted(world, [[1, 2]], known)
    with pytest.raises(errors.Refused, match="bad"):
        predicted(world, [[1, 2]], known)


@pytest.mark.parametrize("status", [401, 404, 413, 500])
def test_refusal_of_another_kind_is_told_at_once(status):
    world = World(response(METADATA), steps.Response(status, {}, b"<html>no</html>"))
    with pytest.raises(errors.Refused, match=rf"{status}: <html>no</html>"):
        predicted(world, [[1, 2]])
    assert len(world.sent) == 2


def test_model_that_is_not_there_is_told():
    with pytest.raises(errors.Refused, match="404: there is no model"):
        predicted(World(response({"error": "there is no model"}, 404)), [[1, 2]])


def test_busy_server_is_asked_again_when_it_said():
    busy = response({"error": "full"}, 429, **{"retry-after": "2"})
    world = World(response(METADATA), busy, steps.NoResponse("reset"), answered(), draw=0.5)
    assert predicted(world, [[1, 2]]).revision == "digits-1"
    assert world.waits == [2 + 0.05, 0.2 * 0.75]


def test_model_that_is_not_ready_in_time_is_told_so_without_waiting_in_vain():
    not_ready = response({"error": 'model "digits" is not ready: it is being loaded'}, 503, **{"retry-after": "1"})
    world = World(server=lambda _: not_ready)
    with pytest.raises(errors.ModelNotReady, match="is being loaded") as found:
        predicted(world, [[1, 2]], seconds=3.0)
    assert world.now <= 103.0
    assert "3 tries" in str(found.value)
    world = World(response({"error": "later"}, 503, **{"retry-after": "60"}))
    with pytest.raises(errors.ModelNotReady):
        predicted(world, [[1, 2]])
    assert world.waits == []


@pytest.mark.parametrize(
    "received", [steps.NoResponse("refused"), steps.Response(502, {}, b"<html>"), steps.Response(503, {}, b"no")]
)
def test_server_that_does_not_answer_is_asked_a_bounded_number_of_times(received):
    world = World(server=lambda _: received)
    with pytest.raises(errors.Unavailable, match="8 tries") as found:
        predicted(world, [[1, 2]], seconds=1000.0)
    assert type(found.value) is errors.Unavailable
    assert len(world.sent) == 8
    assert world.waits == [0.05 * 2**count for count in range(6)] + [2.5]


def test_pauses_are_spread_and_keep_to_what_was_asked_for():
    assert retrying.pause_seconds(1, None, 0.0) == pytest.approx(0.05)
    assert retrying.pause_seconds(1, None, 0.999) < 0.1
    assert 2.5 <= retrying.pause_seconds(10_000, None, 0.7) <= 5.0
    assert retrying.pause_seconds(3, 7.0, 0.5) == pytest.approx(7.2)


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "", "1e9", "٣"])
def test_retry_after_that_is_no_number_of_seconds_is_passed_over(text):
    world = World(response(METADATA), response({"error": "full"}, 429, **{"retry-after": text}), answered())
    predicted(world, [[1, 2]])
    assert world.waits == [0.05]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"outputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1]}]}',
        b'{"outputs": 3}',
    ],
)
def test_answer_of_something_else_is_told(body):
    with pytest.raises(errors.Unavailable, match="answer cannot be read"):
        predicted(World(response(METADATA), steps.Response(200, {}, body)), [[1, 2]])
    with pytest.raises(errors.Unavailable, match="metadata cannot be read"):
        predicted(World(steps.Response(200, {}, body)), [[1, 2]])


@pytest.mark.parametrize(
    ("inputs", "more", "said"),
    [
        ({"Y": [[1, 2]]}, {}, 'inputs["Y"]: the model has no such input; expected "X"'),
        ([[1, 2]], {"id": ""}, "id: expected a string of 1 to 256 characters, got ''"),
        ([[1, 2]], {"id": 7}, "id: expected a string of 1 to 256 characters, got 7"),
        ([[1, 2]], {"tags": {"c": 1}}, "tags['c']: expected a string, got 1"),
        ([[1, 2]], {"tags": dict.fromkeys("abcde", "x")}, "tags: 5 tags, expected at most 4"),
        ([[1, 2]], {"entity": {"tags": "x"}}, "entity['tags']: expected the name in spec.outcomes.entity"),
        ([[1, 2]], {"entity": {"customer": 1.5}}, "entity['customer']: expected a string or a whole number, got 1.5"),
        ([[1, 2]], {"outputs": "label"}, "outputs: expected a list of names, got 'label'"),
        (
            [[1, 2], [3]],
            {},
            'inputs["X"]: expected 2 elements at each place of depth 1, as at place 0; got 1 elements at place 1',
        ),
    ],
)
def test_argument_that_is_none_is_told_by_its_name(inputs, more, said):
    with pytest.raises(errors.InputError) as found:
        predicted(World(response(METADATA)), inputs, **more)
    assert str(found.value) == said


def test_model_of_two_inputs_wants_them_by_name():
    with pytest.raises(errors.InputError, match='expected values by name, for the model takes "a", "b"'):
        predicted(World(response(TWO)), [[1, 2]])

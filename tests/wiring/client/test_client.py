"""The client against the real runtime and the real ledger, each a process: what is predicted, reported, refused, and when it waits."""

import asyncio
import json

import numpy as np
import pytest
from leadline_client import AsyncClient, Client, Fate, InputError, ModelNotReady, Refused, Unavailable

from tests.unit.client.both import BOTH
from tests.wiring.runtime.pods import Pod, call, eventually, free_ports


@pytest.mark.parametrize("kind", sorted(BOTH))
def test_prediction_is_remembered_reported_and_in_the_ledger_once(site, tmp_path, kind):
    there = site(entity="customer")
    with BOTH[kind](there.url, model="digits", store=tmp_path / "s.db") as client:
        answer = client.predict({"X": there.digits.rows[:1]}, id="a", tags={"country": "de"}, entity={"customer": 4711})
        assert (answer.revision, answer.id) == ("digits-good", "a")
        assert answer.outputs["label"].tolist() == [there.digits.label]
        assert answer.outputs["probabilities"][0].tolist() == pytest.approx(there.digits.scores, abs=1e-5)
        client.remember(answer, key="order 4711")
        assert client.report(truth=answer.outputs["label"][0], key="order 4711").fate is Fate.ACCEPTED
        assert client.report(truth=there.digits.label, receipt=answer.receipt).fate is Fate.DUPLICATE
        assert client.report(truth=(there.digits.label + 1) % 10, key="order 4711").fate is Fate.CONFLICT
        assert client.waiting() == 0
    (entry,) = there.outcomes()
    assert (entry.truth, entry.tags, len(entry.entity)) == (f"i{there.digits.label}", {"country": "de"}, 16)


def test_lists_and_arrays_give_the_same_answers_as_json(site, tmp_path):
    there = site()
    rows = there.digits.rows
    tensor = {"name": "X", "shape": [len(rows), 64], "datatype": "FP32", "data": rows}
    plain = call(there.pod.public, "POST", "/v2/models/digits/infer", json.dumps({"inputs": [tensor]}).encode()).json()
    told = {each["name"]: np.reshape(each["data"], each["shape"]).tolist() for each in plain["outputs"]}
    with (
        Client(there.url, model="digits", store=None) as client,
        Client(there.url, model="digits", store=None, arrays=False) as plain_client,
    ):
        for given in (rows, np.array(rows), np.array(rows, np.float32), tuple(map(tuple, rows))):
            for asked in (client, plain_client):
                found = asked.predict(given).outputs
                assert np.allclose(found["label"], told["label"])
                assert np.allclose(found["probabilities"], told["probabilities"], atol=1e-7)
        assert isinstance(plain_client.predict(rows).outputs["probabilities"][0][0], float)
        assert list(client.predict(rows, outputs=["label"]).outputs) == ["label"]


def test_without_numpy_it_works_with_lists(site, run):
    there = site()
    code = """
import sys
sys.modules["numpy"] = None
from leadline_client import Client
with Client(sys.argv[1], model="digits", store=None) as client:
    print(client.predict([[0.0] * 64]).outputs["label"])
"""
    (said,) = run(code, there.url).ended()
    assert int(said.strip("[]")) in range(10)


def test_every_fate_of_many_is_told(site, tmp_path):
    there = site()
    with Client(there.url, model="digits", store=tmp_path / "s.db") as client:
        many = client.predict(there.digits.rows)
        one = client.predict(there.digits.rows[:1])
        client.report(receipt=one.receipt, truth=1)
        told = client.report_many(
            [
                *({"receipt": many.receipt, "row": row, "truth": 3} for row in range(20)),
                {"receipt": one.receipt, "truth": 1},
                {"receipt": one.receipt, "truth": 2},
                {"receipt": one.receipt + "0", "truth": 2},
                {"receipt": many.receipt, "row": 20, "truth": 3},
            ]
        )
        assert [each.fate for each in told] == [
            *[Fate.ACCEPTED] * 20,
            Fate.DUPLICATE,
            Fate.CONFLICT,
            Fate.REFUSED,
            Fate.REFUSED,
        ]
        assert "wrong signature" in told[22].why
        assert "row: 20 is not in the receipt" in told[23].why
    found = there.outcomes()
    assert [each.more for each in found] == [0, *range(19, -1, -1)], "rows of one prediction came together"


def test_too_late_and_too_old_are_told(site, tmp_path):
    there = site(maturity_ms=1)
    with Client(there.url, model="digits", store=tmp_path / "s.db") as client:
        answers = [client.predict(there.digits.rows[:1]) for _ in range(3)]
        assert client.report(receipt=answers[0].receipt, truth=1).fate is Fate.NOT_JUDGED
        told = client.report_many([{"receipt": each.receipt, "truth": 1} for each in answers])
        assert [each.fate for each in told] == [Fate.NOT_JUDGED] * 3
        assert "maturity" in told[1].why
        there.exchange(max_age_ms=1)
        eventually("too old", lambda: client.report(receipt=answers[0].receipt, truth=1).fate is Fate.TOO_OLD)


def test_of_many_rows_those_outside_the_sample_are_not_sent(site, tmp_path):
    there = site()
    with Client(there.url, model="digits", store=tmp_path / "s.db") as client:
        answer = client.predict(there.digits.rows * 5)
        client.remember(answer, key="basket")
        told = client.report_many({"key": "basket", "row": row, "correct": True} for row in range(100))
    fates = [each.fate for each in told]
    assert (fates.count(Fate.ACCEPTED), fates.count(Fate.NO_RECEIPT)) == (64, 36)
    assert len(there.outcomes()) == 64


def test_by_the_requests_id_nothing_needs_to_be_kept(site):
    there = site(key_by="id")
    with Client(there.url, model="digits", store=None) as client:
        client.predict(there.digits.rows[:1], id="order 1")
        assert client.report(id="order 1", truth=there.digits.label).fate is Fate.ACCEPTED
        with pytest.raises(Refused, match="404: no prediction is kept under this id"):
            client.report(id="order 2", truth=1)
    assert len(there.outcomes()) == 1


@pytest.mark.parametrize("kind", sorted(BOTH))
def test_what_the_server_refuses_names_the_field(site, kind):
    there = site()
    with BOTH[kind](there.url, model="digits", store=None) as client:
        with pytest.raises(Refused, match=r'400: input "X": expected shape \[-1, 64\], got \[1,63\]'):
            client.predict([[0.0] * 63])
        with pytest.raises(InputError, match=r'inputs\["Y"\]: the model has no such input; expected "X"'):
            client.predict({"Y": there.digits.rows[:1]})
        with pytest.raises(Refused, match=r"400: outputs\[0\]\.name: expected .*label"):
            client.predict(there.digits.rows[:1], outputs=["lable"])
        answer = client.predict(there.digits.rows[:1])
        with pytest.raises(Refused, match='400: truth: expected a whole number, as the prediction is; got "7"'):
            client.report(receipt=answer.receipt, truth="7")
        with pytest.raises(Refused, match="400: id: outcomes of this model are reported by receipt"):
            client.report(id="order 1", truth=1)
        with pytest.raises(Refused, match="400: wanted: "):
            client.report(receipt=answer.receipt, truth=1, wanted="w1.x")
        assert client.wanted() == []
    there_is_none = '404: there is no model "cats" here; this pod serves "digits"'
    with BOTH[kind](there.url, model="cats", store=None) as client, pytest.raises(Refused, match=there_is_none):
        client.predict(there.digits.rows[:1])


@pytest.mark.parametrize("kind", sorted(BOTH))
def test_model_that_is_not_ready_and_server_that_is_not_there_are_told_apart(tmp_path, digits, kind):
    pod = Pod(tmp_path / "pod", digits.uri("missing.onnx"))
    try:
        eventually("listens", lambda: call(pod.public, "GET", "/v2/health/live").status == 200, 30.0)
        settings = {"model": "digits", "store": None, "timeout_seconds": 0.5}
        with (
            BOTH[kind](f"http://127.0.0.1:{pod.public}", **settings) as client,
            pytest.raises(ModelNotReady, match='model "digits" is not ready: '),
        ):
            client.predict(digits.rows[:1])
    finally:
        pod.stop()
    (nobody,) = free_ports(1)
    with (
        BOTH[kind](f"http://127.0.0.1:{nobody}", **settings) as client,
        pytest.raises(Unavailable, match="ConnectError") as found,
    ):
        client.predict(digits.rows[:1])
    assert not isinstance(found.value, ModelNotReady)


def test_connections_are_few_and_used_again(site):
    there = site()

    async def ask():
        async with AsyncClient(there.url, model="digits", store=None, connections=4, timeout_seconds=30) as client:
            answers = await asyncio.gather(*[client.predict(there.digits.rows[:1]) for _ in range(200)])
            return {answer.outputs["label"][0] for answer in answers}, len(client._http._transport._pool.connections)

    labels, connections = asyncio.run(ask())
    assert (labels, connections <= 4) == ({there.digits.label}, True)


def test_wanted_items_come_with_the_key_of_their_receipt(site, tmp_path):
    there = site()
    other = there.copy_to("worse")
    with Client(there.url, model="digits", store=tmp_path / "s.db") as client:

        def asked():
            # What is answered before the way to the other pod is open is not copied, nor is what both answer alike wanted.
            for number, row in enumerate(there.digits.rows):
                client.remember(client.predict([row]), key=f"picture {number}")
            return [each for each in client.wanted(limit=500) if each.key is not None]

        mine = eventually("wanted", asked)
        told = client.report_many({"key": each.key, "row": each.row, "truth": 3, "wanted": each.token} for each in mine)
        assert {each.fate for each in told} == {Fate.ACCEPTED}
    assert {entry.wanted for entry in there.outcomes()} == {other.revision}

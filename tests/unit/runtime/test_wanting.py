"""What is wanted: tokens that say so, what is answered, and a ledger that is down, slow, old or talks nonsense."""

import asyncio
import json

import pytest
from leadline_runtime import errors
from leadline_runtime.oip import routes
from leadline_runtime.outcomes import checking, wanting
from leadline_runtime.outcomes.wanting import Asked
from leadline_runtime.web import server
from leadline_wire import ledger, predictions, receipts
from leadline_wire.exchange import OutcomeSettings

from tests.unit.runtime.ledgers import Ledger
from tests.unit.runtime.models import KEY, NOW_MS
from tests.unit.runtime.wires import Transport, answers, request

LIMIT_SECONDS = 10.0
ID = f"{NOW_MS:012x}7000{1:016x}"
DAY_MS = 86_400_000
ASKED = Asked(ID, 3, wanting.hash_of("order 7"), "digits-6c1f.02", 6.142857)
FOUND = ledger.Wanted(
    [
        ledger.Unanswered(ID, 3, "m-1", "i7", "m-2", predictions.of_class("seven"), "order 7"),
        ledger.Unanswered(ID, 4, "m-1", "i7", "m-2", "xtimeout"),
    ],
    6.142857,
    70,
    "m-2",
)


def rules(key_by="receipt"):
    return checking.Rules(OutcomeSettings(ledger="http://ledger", key_by=key_by), {KEY.id: KEY}, "m-1", None)


def receipt(rows):
    return receipts.mint(KEY, receipts.Receipt("m-1", ID, rows))


def test_token_says_what_it_was_made_of():
    assert wanting.read(wanting.signed(KEY, ASKED), {KEY.id: KEY}) == ASKED


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda token: token.replace(".6.142857.", ".0.000000."), "wrong signature"),
        (lambda token: token.replace(".3.", ".4.", 1), "wrong signature"),
        (lambda token: token[:-1], "wrong signature"),
        (lambda token: token.replace(KEY.id, "0" * 8), "of another ModelDeployment"),
        (lambda _: receipt({0: "i1"}), "expected a token as it came"),
        (lambda token: token + "x" * 1_024, "expected a token as it came"),
        (lambda _: "w1.ä", "expected a token as it came"),
    ],
)
def test_token_that_is_none_of_ours_is_refused(changed, said):
    with pytest.raises(wanting.BadTokenError, match=said):
        wanting.read(changed(wanting.signed(KEY, ASKED)), {KEY.id: KEY})


def test_token_is_no_receipt_and_a_receipt_is_needed_beside_it():
    token = wanting.signed(KEY, ASKED)
    with pytest.raises(errors.BadRequestError, match="not a receipt"):
        checking.outcome({"receipt": token, "truth": 1}, rules(), NOW_MS)
    with pytest.raises(errors.BadRequestError, match="expected either receipt or id"):
        checking.outcome({"wanted": token, "truth": 1}, rules(), NOW_MS)


def test_answer_with_its_token_is_an_outcome_that_was_asked_for():
    item = {"receipt": receipt({0: "i1", 3: "i7"}), "row": 3, "truth": 1, "wanted": wanting.signed(KEY, ASKED)}
    told = checking.outcome(item, rules(), NOW_MS)
    assert (told.id, told.row, told.wanted, told.agreements) == (ID, 3, "digits-6c1f.02", 6.142857)
    told = checking.outcome({"id": "order 7", "row": 3, "truth": 1, "wanted": item["wanted"]}, rules("id"), NOW_MS)
    assert (told.client_id, told.wanted, told.agreements) == ("order 7", "digits-6c1f.02", 6.142857)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"id": "order 8", "row": 3}, "the token is of another prediction"),
        ({"id": "order 7", "row": 4}, "the token is of another prediction"),
        ({"id": "order 7", "row": 3, "wanted": "w1"}, "wanted: expected a token as it came"),
        ({"id": "order 7", "row": 3, "wanted": 1}, "wanted: expected a string"),
    ],
)
def test_token_of_something_else_is_refused(item, said):
    with pytest.raises(errors.BadRequestError, match=said):
        checking.outcome({"wanted": wanting.signed(KEY, ASKED), "truth": 1, **item}, rules("id"), NOW_MS)


def test_token_of_another_prediction_does_not_go_with_a_receipt():
    other = wanting.signed(KEY, Asked("0" * 32, 0, "", "m-2", 1.0))
    with pytest.raises(errors.BadRequestError, match="the token is of another prediction"):
        checking.outcome({"receipt": receipt({0: "i1"}), "truth": 1, "wanted": other}, rules(), NOW_MS)


class Port:
    """The public port, as far as what is wanted goes."""

    def __init__(self, url):
        path = "/v1/namespaces/ml/models/m/wanted"
        self.wanting = wanting.Wanting(asyncio.get_running_loop(), lambda: b"secret", path, lambda: NOW_MS)
        self.wanting.aim(url)
        self.wanting.settings = OutcomeSettings(ledger=url)
        self.wanting.key = KEY
        self.server = server.Server(routes.Routes("m", "m-1", wanted=self.wanting.handle).handle, server.Limits())

    def send(self, query="", method="GET"):
        connection, transport = self.server.connection(), Transport()
        connection.connection_made(transport)
        connection.data_received(request(f"/v2/models/m/outcomes/wanted{query}", method=method))
        return transport

    async def ask(self, query="", method="GET"):
        return await answered(self.send(query, method))


async def answered(transport):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not transport.sent:
            await asyncio.sleep(0.001)
    return answers(transport.sent)[0]


@pytest.fixture
async def ledgers():
    async with Ledger(wanted=FOUND).running() as edge:
        yield edge


@pytest.fixture
async def port(ledgers):
    made = Port(ledgers.url)
    yield made
    made.wanting.close()
    await asyncio.sleep(0.01)


async def test_what_is_wanted_is_told_with_tokens_that_are_good_for_it(port, ledgers):
    answer = await port.ask("?limit=7")
    told = json.loads(answer.body)
    tokens = [item.pop("token") for item in told["wanted"]]
    assert (answer.status, told) == (
        200,
        {
            "wanted": [
                {
                    "prediction_id": ID, "id": "order 7", "row": 3, "predicted_at": "2025-11-25T22:33:20.000Z",
                    "revision": "m-1", "prediction": 7, "other_revision": "m-2", "other_prediction": "seven",
                },
                {
                    "prediction_id": ID, "row": 4, "predicted_at": "2025-11-25T22:33:20.000Z",
                    "revision": "m-1", "prediction": 7, "other_revision": "m-2", "other_prediction": None,
                },
            ],
            "compared_with": "m-2",
            "agreements": 6.142857,
            "compared": 70,
        },
    )  # fmt: skip
    assert [wanting.read(token, {KEY.id: KEY}) for token in tokens] == [
        Asked(ID, 3, wanting.hash_of("order 7"), "m-2", 6.142857),
        Asked(ID, 4, "", "m-2", 6.142857),
    ]
    since = NOW_MS - OutcomeSettings().max_age_ms
    assert ledgers.paths == [f"/v1/namespaces/ml/models/m/wanted?limit=7&since={since}"]
    assert ledgers.tokens == ["Bearer secret"]


async def test_only_predictions_that_have_not_matured_are_asked_for(port, ledgers):
    port.wanting.settings = OutcomeSettings(ledger=ledgers.url, maturity_ms=DAY_MS)
    await port.ask()
    assert ledgers.paths == [f"/v1/namespaces/ml/models/m/wanted?limit=50&since={NOW_MS - DAY_MS}"]


async def test_where_nothing_is_compared_or_outcomes_are_not_taken_it_is_a_404_that_says_why(port, ledgers):
    ledgers.wanted = ledger.Wanted([], 0.0, 0)
    answer = await port.ask()
    assert (answer.status, "spec.quality.compareFor" in json.loads(answer.body)["error"]) == (404, True)
    port.wanting.settings = None
    assert (await port.ask()).status == 503
    port.wanting.why_not = (404, "not taken")
    assert (await port.ask()).status == 404


@pytest.mark.parametrize("query", ["?limit=0", "?limit=501", "?limit=", "?limit=ten", "?limit=1&limit=-1", "?most=3"])
async def test_query_that_cannot_be_meant_is_told_what_was_expected(port, ledgers, query):
    answer = await port.ask(query)
    assert (answer.status, "expected" in json.loads(answer.body)["error"]) == (400, True)
    assert ledgers.paths == []


async def test_only_get_is_offered(port):
    answer = await port.ask(method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("awkward", "said"),
    [
        ({"status": 503}, "the ledger answered 503"),
        ({"status": 404}, "it is of an older version"),
        ({"raw": b"<html>"}, "the ledger's answer cannot be read"),
    ],
)
async def test_ledger_that_does_not_tell_is_a_503_with_the_reason(port, ledgers, awkward, said):
    for name, value in awkward.items():
        setattr(ledgers, name, value)
    answer = await port.ask()
    assert (answer.status, said in json.loads(answer.body)["error"]) == (503, True)
    assert answer.headers["retry-after"] == "1"


async def test_ledger_that_is_down_is_a_503(ledgers):
    async with Ledger().running() as gone:
        pass
    port = Port(gone.url)
    answer = await port.ask()
    assert (answer.status, "the ledger does not answer" in json.loads(answer.body)["error"]) == (503, True)
    port.wanting.close()


async def test_ledger_that_is_slow_is_a_503_in_time_and_few_wait_for_it(port, ledgers, monkeypatch):
    monkeypatch.setattr(wanting, "TIMEOUT_SECONDS", 0.3)
    ledgers.gate.clear()
    waiting = [port.send() for _ in range(wanting.CALLS_MAX)]
    refused = await port.ask()
    assert (refused.status, "are under way" in json.loads(refused.body)["error"]) == (503, True)
    assert {(await answered(each)).status for each in waiting} == {503}

"""Reported outcomes: what is taken, what is refused and with which words, and a ledger that is down, slow or full."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_runtime import errors
from leadline_runtime.engine.counters import Counters
from leadline_runtime.oip import routes
from leadline_runtime.outcomes import checking, intake, reporting
from leadline_runtime.outcomes.words import Words
from leadline_runtime.web import server
from leadline_wire import ledger, predictions, receipts
from leadline_wire.exchange import OutcomeSettings

from tests.unit.runtime import models
from tests.unit.runtime.ledgers import Ledger
from tests.unit.runtime.models import KEY, NOW_MS
from tests.unit.runtime.wires import Transport, answers, request

LIMIT_SECONDS = 10.0
PATH = "/v1/namespaces/ml/models/m/intake"
HOUR_MS = 3_600_000
SETTINGS = OutcomeSettings(ledger="http://ledger", maturity_ms=5, max_age_ms=48 * HOUR_MS)
BY_ID = OutcomeSettings(ledger="http://ledger", key_by="id")


def mint(*, key=KEY, revision="m-1", words=None, age_ms=0, number=1, **more):
    identifier = f"{NOW_MS - age_ms:012x}7000{number:016x}"
    return receipts.mint(key, receipts.Receipt(revision, identifier, words or {0: "i1"}, **more))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = models.classifier(tmp_path_factory.mktemp("model") / "m.onnx", {"leadline.classes": "[0, 1, 2]"})
    return Words(models.Served(path).model)


@pytest.fixture
def rules(words):
    return checking.Rules(SETTINGS, {KEY.id: KEY}, "m-1", words)


def by_id(words):
    return checking.Rules(BY_ID, {KEY.id: KEY}, "m-1", words)


def test_a_receipt_brings_all_that_is_known_of_the_prediction(rules):
    token = mint(words={0: "i1", 3: "i2"}, share=250_000, entity="e" * 16, tags={"a": "b"})
    assert checking.outcome({"receipt": token, "row": 3, "truth": 0}, rules, NOW_MS) == ledger.Outcome(
        row=3,
        id=f"{NOW_MS:012x}70000000000000000001",
        revision="m-1",
        prediction="i2",
        share=250_000,
        entity="e" * 16,
        tags={"a": "b"},
        truth="i0",
        maturity_ms=5,
        max_age_ms=48 * HOUR_MS,
    )


@pytest.mark.parametrize(
    ("word", "given_", "found"),
    [
        ("i1", {"truth": 2}, ("i2", None, None)),
        ("i1", {"truth": 2.0}, ("i2", None, None)),
        ("i1", {"truth": True}, ("i1", None, None)),
        ("i1", {"correct": False}, ("", False, None)),
        ("i1", {"score": 1}, ("", None, 1.0)),
        ("i1", {"truth": None, "score": 0.25}, ("", None, 0.25)),
        (predictions.of_class("cat"), {"truth": "dog"}, (predictions.of_class("dog"), None, None)),
        (predictions.of_value(1.5), {"truth": 2}, (predictions.of_value(2.0), None, None)),
    ],
)
def test_truth_correct_and_score_are_taken_as_the_prediction_is(rules, word, given_, found):
    token = mint(words={0: word}, revision="m-0")
    outcome = checking.outcome({"receipt": token, **given_}, rules, NOW_MS)
    assert (outcome.truth, outcome.correct, outcome.score) == found


FORGED = receipts.Key(KEY.id, b"guess")
FOREIGN = receipts.key_of(b"another" * 5)


@pytest.mark.parametrize(
    ("item", "said", "status"),
    [
        ([], "expected an object", 400),
        ({"receipt": mint(), "truth": 1, "rows": 3}, "rows: there is no such field", 400),
        ({"truth": 1}, "expected either receipt or id, got neither", 400),
        ({"receipt": mint(), "id": "a", "truth": 1}, "expected either receipt or id, got both", 400),
        ({"id": "a", "truth": 1}, "reported by receipt (spec.outcomes.keyBy is receipt)", 400),
        ({"receipt": 7, "truth": 1}, "receipt: expected a string", 400),
        ({"receipt": "hello", "truth": 1}, "receipt: not a receipt", 400),
        ({"receipt": mint(key=FORGED), "truth": 1}, "wrong signature", 400),
        ({"receipt": mint()[:-1] + "x", "truth": 1}, "wrong signature", 400),
        ({"receipt": mint(key=FOREIGN), "truth": 1}, "receipt of another ModelDeployment", 400),
        ({"receipt": mint(age_ms=49 * HOUR_MS), "truth": 1}, "49.0 h old, outcomes are taken for 48.0 h", 410),
        ({"receipt": mint(), "row": 1, "truth": 1}, "row: 1 is not in the receipt, which is of row 0", 400),
        ({"receipt": mint(), "row": -1, "truth": 1}, "row: expected a whole number from 0, got -1", 400),
        ({"receipt": mint(), "row": True, "truth": 1}, "row: expected a whole number from 0, got true", 400),
        ({"receipt": mint(words={4: "i1", 7: "i1"}), "truth": 1}, "the receipt is of 2 rows; say which, e.g. 4", 400),
        ({"receipt": mint()}, "exactly one of truth, correct and score, got none", 400),
        ({"receipt": mint(), "truth": 1, "score": 1}, "got truth and score", 400),
        ({"receipt": mint(), "truth": 7}, "truth: 7 is no class of the model; expected one of 0, 1, 2", 400),
        ({"receipt": mint(), "truth": "1"}, 'expected a whole number, as the prediction is; got "1"', 400),
        ({"receipt": mint(), "truth": 1.5}, "expected a whole number, as the prediction is; got 1.5", 400),
        ({"receipt": mint(), "truth": [1]}, "got [1]", 400),
        ({"receipt": mint(words={0: "sY2F0"}), "truth": 1}, "expected a string, as the prediction is; got 1", 400),
        ({"receipt": mint(words={0: "sY2F0"}, revision="m-0"), "truth": "n" * 257}, "class name of 257 bytes", 400),
        ({"receipt": mint(words={0: "v" + "0" * 16}), "truth": "1"}, "truth: expected a number", 400),
        ({"receipt": mint(words={0: "v" + "0" * 16}), "truth": 10**400}, "a double holds", 400),
        ({"receipt": mint(), "correct": 1}, "correct: expected true or false, got 1", 400),
        ({"receipt": mint(), "score": 1.01}, "score: expected a number from 0 to 1, got 1.01", 400),
        ({"receipt": mint(), "score": True}, "score: expected a number from 0 to 1, got true", 400),
    ],
)
def test_what_cannot_be_taken_is_told_what_was_expected(rules, item, said, status):
    with pytest.raises(errors.BadRequestError) as caught:
        checking.outcome(item, rules, NOW_MS)
    assert said in str(caught.value)
    assert caught.value.status == status
    assert KEY.secret.hex() not in str(caught.value)


def test_classes_are_only_held_against_predictions_of_the_same_revision(rules):
    outcome = checking.outcome({"receipt": mint(revision="m-0"), "truth": 7}, rules, NOW_MS)
    assert (outcome.revision, outcome.truth) == ("m-0", "i7")


def test_by_the_clients_own_id_the_ledger_looks_the_prediction_up(words):
    outcome = checking.outcome({"id": "order 7", "row": 2, "truth": "dog"}, by_id(words), NOW_MS)
    assert (outcome.client_id, outcome.id, outcome.row, outcome.truth) == (
        "order 7",
        "",
        2,
        predictions.of_class("dog"),
    )
    assert checking.outcome({"receipt": mint(), "truth": 1}, by_id(words), NOW_MS).id, "receipts are good as well"
    for bad in ("", "a" * 257, 7):
        with pytest.raises(errors.BadRequestError, match="1 to 256 characters"):
            checking.outcome({"id": bad, "truth": 1}, by_id(words), NOW_MS)
    with pytest.raises(errors.BadRequestError, match=r"a class: a string or a whole number; got 1\.5"):
        checking.outcome({"id": "a", "truth": 1.5}, by_id(words), NOW_MS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.just(mint()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ITEMS = st.dictionaries(st.sampled_from(["receipt", "id", "row", "truth", "correct", "score", "x"]), JSON, max_size=4)


@settings(max_examples=300, deadline=None)
@given(ITEMS | JSON, st.sampled_from(["receipt", "id"]))
def test_whatever_is_reported_is_an_outcome_with_one_answer_or_a_refusal(words, item, key_by):
    rules = checking.Rules(OutcomeSettings(key_by=key_by), {KEY.id: KEY}, "m-1", words)
    try:
        outcome = checking.outcome(item, rules, NOW_MS)
    except errors.BadRequestError:
        return
    assert sum([bool(outcome.truth), outcome.correct is not None, outcome.score is not None]) == 1
    assert bool(outcome.id) != bool(outcome.client_id)


@pytest.mark.parametrize(
    ("body", "content_type", "found"),
    [
        (b'{"truth":1}', b"", ([{"truth": 1}], True)),
        (b'[{"truth":1},2]', b"application/json", ([{"truth": 1}, 2], False)),
        (b'{"outcomes":[1]}', b"", ([1], False)),
        (b'{"a":1}\n\n{"b":2}\n', b"application/x-ndjson; charset=utf-8", ([{"a": 1}, {"b": 2}], False)),
    ],
)
def test_outcomes_come_one_by_one_as_a_list_or_in_lines(body, content_type, found):
    assert checking.items(body, content_type) == found


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", b"", "body: expected JSON"),
        (b"{", b"", "body: expected JSON"),
        (b'{"a":1}\n{', b"application/x-ndjson", "line 2: expected JSON"),
        (b"[]", b"", "no outcome in the request"),
        (b'{"outcomes":1}', b"", 'expected {"outcomes": [...]}'),
        (b'{"outcomes":[1],"a":1}', b"", "nothing else"),
        (json.dumps([1] * 4097).encode(), b"", "4097 outcomes or more in one request, expected at most 4096"),
    ],
)
def test_a_body_that_holds_no_outcomes_is_told_what_was_expected(body, content_type, said):
    with pytest.raises(errors.BadRequestError) as caught:
        checking.items(body, content_type)
    assert said in str(caught.value)


class Port:
    """The public port, as far as outcomes go."""

    def __init__(self, rules, url, *, token=b"secret"):
        self.counters = Counters()
        self.intake = intake.Intake(asyncio.get_running_loop(), self.counters, lambda: token, PATH)
        self.intake.aim(url)
        self.reporting = reporting.Reporting(self.intake, self.counters, lambda: NOW_MS)
        self.reporting.rules = rules
        paths = routes.Routes("m", "m-1", self.reporting.handle)
        self.server = server.Server(paths.handle, server.Limits())

    def send(self, body, head="host: x\r\n"):
        connection, transport = self.server.connection(), Transport()
        connection.connection_made(transport)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.data_received(request("/v2/models/m/outcomes", data, head=head))
        return transport

    async def ask(self, body, head="host: x\r\n"):
        return await answered(self.send(body, head))


async def answered(transport):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not transport.sent:
            await asyncio.sleep(0.001)
    return answers(transport.sent)[0]


@pytest.fixture
async def ledgers():
    async with Ledger().running() as edge:
        yield edge


@pytest.fixture
async def port(rules, ledgers):
    made = Port(rules, ledgers.url)
    yield made
    made.intake.close()
    await asyncio.sleep(0.01)


async def test_one_outcome_is_answered_when_the_ledger_has_it(port, ledgers):
    ledgers.gate.clear()
    transport = port.send({"receipt": mint(), "truth": 2})
    while not ledgers.tokens:
        await asyncio.sleep(0.001)
    assert not transport.sent
    ledgers.gate.set()
    answer = await answered(transport)
    assert (answer.status, json.loads(answer.body)) == (200, {"accepted": 1})
    assert (ledgers.tokens, ledgers.paths) == (["Bearer secret"], [PATH])
    (call,) = ledgers.calls
    assert call.outcomes == [checking.outcome({"receipt": mint(), "truth": 2}, port.reporting.rules, NOW_MS)]


async def test_a_replayed_report_is_a_duplicate_and_another_answer_a_conflict(port):
    assert (await port.ask({"receipt": mint(), "truth": 2})).status == 200
    again = await port.ask({"receipt": mint(), "truth": 2})
    assert (again.status, json.loads(again.body)) == (200, {"duplicate": 1})
    other = await port.ask({"receipt": mint(), "truth": 1})
    assert other.status == 409
    assert "which stays" in json.loads(other.body)["error"]
    assert port.counters.outcomes == {"Accepted": 1, "Duplicate": 1, "Conflict": 1}


async def test_what_is_reported_for_the_first_time_is_counted_by_what_this_revision_predicted(port):
    await port.ask([{"receipt": each, "truth": 2} for each in (mint(), mint(), mint(revision="m-0", number=2))])
    assert port.counters.reported == {"i1": 1}


async def test_an_id_that_was_never_served_is_unknown(words, ledgers, rules):
    port = Port(by_id(words), ledgers.url)
    answer = await port.ask({"id": "nobody", "truth": 1})
    assert answer.status == 404
    port.intake.keep(ledger.Stored("order 7", "0" * 32, "m-1", "i1"))
    assert (await port.ask({"id": "order 7", "truth": 1})).status == 200, "what waits goes before what asks for it"
    port.intake.close()


@pytest.mark.parametrize(
    ("fate", "status", "said"),
    [("Expired", 410, "maxAge"), ("TooLate", 200, "not judged"), ("UnknownId", 404, "under this id")],
)
async def test_what_the_ledger_says_of_one_outcome_is_its_status(port, ledgers, fate, status, said):
    ledgers.fate = fate
    answer = await port.ask({"receipt": mint(), "truth": 2})
    assert answer.status == status
    assert said in answer.body.decode()


async def test_of_many_the_good_ones_are_taken_and_the_others_told_one_by_one(port, ledgers):
    good = [{"receipt": mint(number=number), "truth": 1} for number in range(100)]
    conflict = {"receipt": mint(number=5), "truth": 2}
    body = [*good[:50], {"receipt": "x", "truth": 1}, *good[50:], good[3], conflict]
    answer = await port.ask({"outcomes": body})
    told = json.loads(answer.body)
    assert (answer.status, told["accepted"], told["duplicates"]) == (207, 100, 1)
    assert [(refused["index"], refused["status"]) for refused in told["refused"]] == [(50, 400), (102, 409)]
    assert told["repeated"] == [101], "which were there already, where others were not"
    assert len(ledgers.calls) == 1
    lines = b"\n".join(json.dumps(item).encode() for item in good)
    answer = await port.ask(lines, head="host: x\r\ncontent-type: application/x-ndjson\r\n")
    assert (answer.status, json.loads(answer.body)) == (200, {"accepted": 0, "duplicates": 100})


async def test_of_many_that_come_too_late_each_is_told(port, ledgers):
    ledgers.fate = "TooLate"
    body = [
        {"receipt": mint(number=1), "truth": 1},
        {"receipt": "x", "truth": 1},
        {"receipt": mint(number=2), "truth": 1},
    ]
    told = json.loads((await port.ask(body)).body)
    assert (told["accepted"], told["duplicates"], told["late"], "repeated" in told) == (2, 0, [0, 2], False)
    assert told["note"].startswith("2 of them kept")


async def test_many_that_are_all_refused_do_not_reach_the_ledger(port, ledgers):
    answer = await port.ask([{"receipt": "x", "truth": 1}] * 3)
    assert (answer.status, len(json.loads(answer.body)["refused"])) == (207, 3)
    assert ledgers.tokens == []


async def test_reports_that_come_while_the_ledger_works_share_its_next_call(port, ledgers):
    ledgers.gate.clear()
    sent = [port.send({"receipt": mint(number=number), "truth": 1}) for number in range(200)]
    while len(ledgers.tokens) < intake.CALLS_MAX:
        await asyncio.sleep(0.001)
    ledgers.gate.set()
    assert {(await answered(transport)).status for transport in sent} == {200}
    assert len(ledgers.calls) <= 4
    assert len(ledgers.outcomes) == 200


async def test_a_call_never_has_more_than_the_ledger_takes(port, ledgers, monkeypatch):
    monkeypatch.setattr(reporting, "_SMALL_BYTES", 1 << 30)
    body = [[{"receipt": mint(number=3000 * part + n), "truth": 1} for n in range(3000)] for part in range(4)]
    sent = [port.send(part) for part in body]
    assert {(await answered(transport)).status for transport in sent} == {200}
    assert all(len(call.outcomes) <= ledger.INTAKE_ITEMS_MAX for call in ledgers.calls)
    assert len(ledgers.outcomes) == 12_000


async def test_a_ledger_that_is_down_is_a_503_with_the_reason_and_when_to_come_back(rules):
    async with Ledger().running() as edge:
        pass
    port = Port(rules, edge.url)
    answer = await port.ask({"receipt": mint(), "truth": 2})
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "the ledger does not answer" in json.loads(answer.body)["error"]
    assert port.counters.ledger_trouble.reason == "LedgerUnreachable"
    assert port.counters.outcomes == {"Unavailable": 1}
    edge.port = int(edge.url.rpartition(":")[2])
    async with edge.running():
        assert (await port.ask({"receipt": mint(), "truth": 2})).status == 200
        assert port.counters.ledger_trouble is None
        port.intake.close()


async def test_a_ledger_that_is_slow_is_a_503_in_time(port, ledgers, monkeypatch):
    monkeypatch.setattr(intake, "TIMEOUT_SECONDS", 0.1)
    ledgers.gate.clear()
    answer = await port.ask({"receipt": mint(), "truth": 2})
    assert answer.status == 503
    assert "did not answer within 0.1 s" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 507])
async def test_what_the_ledger_refuses_is_a_503_with_what_it_said(port, ledgers, status):
    ledgers.status = status
    answer = await port.ask({"receipt": mint(), "truth": 2})
    assert answer.status == 503
    assert f"the ledger answered {status}: status {status} on purpose" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("raw", [b"<html>", b'{"fates":[]}', b'{"fates":["Odd"]}'])
async def test_a_ledger_that_talks_nonsense_is_a_503(port, ledgers, raw):
    ledgers.raw = raw
    assert (await port.ask({"receipt": mint(), "truth": 2})).status == 503


async def test_a_full_queue_is_a_503_at_once_and_bounded(port, ledgers, monkeypatch):
    monkeypatch.setattr(intake, "WAITING_MAX", 3)
    ledgers.gate.clear()
    sent = [port.send({"receipt": mint(number=number), "truth": 1}) for number in range(8)]
    refused = [transport for transport in sent if (await asyncio.sleep(0.01)) or transport.sent]
    assert len(refused) == 8 - intake.CALLS_MAX - 3
    assert "the ledger is behind" in json.loads(answers(refused[0].sent)[0].body)["error"]
    ledgers.gate.set()
    got = [(await answered(transport)).status for transport in sent]
    assert got.count(200) == intake.CALLS_MAX + 3


async def test_too_many_reports_at_once_are_a_503(port, ledgers, monkeypatch):
    monkeypatch.setattr(reporting, "REPORTS_MAX", 2)
    ledgers.gate.clear()
    sent = [port.send({"receipt": mint(number=number), "truth": 1}) for number in range(3)]
    assert (await answered(sent[2])).status == 503
    ledgers.gate.set()
    assert [(await answered(transport)).status for transport in sent] == [200, 200, 503]


async def test_where_outcomes_are_not_taken_a_report_is_told_so(port):
    port.reporting.rules = None
    answer = await port.ask({"receipt": mint(), "truth": 2})
    assert (answer.status, "has not said yet" in answer.body.decode()) == (503, True)
    port.reporting.why_not = (404, "not taken")
    assert (await port.ask({"receipt": mint(), "truth": 2})).status == 404


async def test_a_body_has_a_bound(port):
    answer = await port.ask(b" " * (reporting.BODY_BYTES_MAX + 1))
    assert (answer.status, "send fewer at once" in answer.body.decode()) == (413, True)


async def test_only_post_is_offered(port):
    connection, transport = port.server.connection(), Transport()
    connection.connection_made(transport)
    connection.data_received(request("/v2/models/m/outcomes", method="GET"))
    (answer,) = answers(transport.sent)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_kept_predictions_wait_for_a_ledger_that_is_away_and_are_bounded(port, ledgers, monkeypatch):
    monkeypatch.setattr(intake, "EXTRAS_MAX", 5)
    monkeypatch.setattr(intake, "_PAUSE_SECONDS_FIRST", 0.01)
    ledgers.status = 503
    for number in range(8):
        port.intake.keep(ledger.Stored(f"order {number}", f"{number:032x}", "m-1", "i1"))
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(ledgers.tokens) < 3:
            await asyncio.sleep(0.001)
        ledgers.status = 200
        while port.counters.kept < 5:
            await asyncio.sleep(0.001)
    assert list(ledgers.stored) == [f"order {number}" for number in range(3, 8)]
    assert (port.counters.kept, port.counters.kept_dropped) == (5, 3)


async def test_what_rides_along_never_spoils_an_outcome(port, ledgers):
    ledgers.refuses_kept = True
    port.intake.keep(ledger.Stored("order 7", "0" * 32, "m-1", "i1"))
    assert (await port.ask({"receipt": mint(), "truth": 2})).status == 200
    assert (len(ledgers.tokens), port.counters.kept_dropped) == (2, 1)
    assert len(ledgers.outcomes) == 1


def test_the_token_is_read_again_after_a_minute_and_its_lack_is_no_error(tmp_path):
    loop, path = models.Loop(), tmp_path / "token"
    token = intake.Token(path, loop)
    assert token.read() == b""
    path.write_text("one\n")
    assert token.read() == b"one", "a token that was missing is looked for each time"
    path.write_text("two\n")
    loop.now += intake.TOKEN_SECONDS - 1
    assert token.read() == b"one"
    loop.now += 1
    assert token.read() == b"two"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://ledger.ns.svc:8080", ("ledger.ns.svc", 8080, False)),
        ("https://ledger/base", ("ledger", 443, True)),
        ("http://[::1]:80", ("::1", 80, False)),
        ("", None),
        ("ftp://ledger", None),
        ("http://ledger:port", None),
    ],
)
def test_the_ledgers_url_names_host_port_and_tls(url, target):
    found = intake.target_of(url)
    assert (found and (found.host, found.port, found.is_tls)) == target


@pytest.mark.parametrize("line", [b"1\n", b"\n", b"\r\n"])
def test_lines_are_read_no_further_than_there_may_be_outcomes(line, monkeypatch):
    looked = []
    monkeypatch.setattr(checking, "_loaded", lambda text, where: looked.append(where) or 1)
    with pytest.raises(errors.BadRequestError) as caught:
        checking.items(line * 1_000_000, b"application/x-ndjson")
    assert caught.value.status == 413
    assert "expected at most" in str(caught.value)
    assert len(looked) <= ledger.INTAKE_ITEMS_MAX + 1


async def test_reports_that_wait_are_bounded_by_their_bytes(port, ledgers, monkeypatch):
    body = json.dumps({"receipt": mint(), "truth": 2}).encode() + b" " * 40_000
    monkeypatch.setattr(reporting, "REPORT_BYTES_MAX", 2 * len(body))
    ledgers.gate.clear()
    sent = [port.send(body) for _ in range(3)]
    assert (await answered(sent[2])).status == 503
    ledgers.gate.set()
    assert [(await answered(transport)).status for transport in sent] == [200, 200, 503]
    assert (await port.ask(body)).status == 200, "there is room again"

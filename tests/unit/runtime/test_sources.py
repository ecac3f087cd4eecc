"""Who reports: whose a token is, what a report without one is told, and what a quota answers.

That the ledger asks the API server is in tests/wiring/ledger/test_calls.py; with a real pod: tests/wiring/runtime/test_outcomes.py.
"""

import asyncio

import msgspec
import pytest
from leadline_runtime.outcomes import checking, sources

from tests.unit.runtime.models import KEY, NOW_MS
from tests.unit.runtime.test_outcomes import PATH, SETTINGS, Port, answered, ledgers, mint, words  # noqa: F401 - fixtures

SOURCE_PATH = PATH.replace("intake", "source")
CRM = "host: x\r\nauthorization: Bearer crm-token\r\n"
FORGED = "host: x\r\nauthorization: Bearer forged\r\n"
BASIC = "host: x\r\nauthorization: Basic YTpi\r\n"


@pytest.fixture
async def ports(words, ledgers):  # noqa: F811 - fixtures
    made = []
    ledgers.sources["crm-token"] = "ml/crm"

    def of(asked, per_hour=0):
        rules = checking.Rules(
            msgspec.structs.replace(SETTINGS, sources=asked, per_hour=per_hour), {KEY.id: KEY}, "m-1", words
        )
        port = Port(rules, ledgers.url)
        known = sources.Sources(asyncio.get_running_loop(), lambda: b"secret", SOURCE_PATH)
        known.aim(ledgers.url)
        port.reporting._sources = known
        made.append((port, known))
        return port

    yield of
    for port, known in made:
        port.intake.close()
        known.close()
    await asyncio.sleep(0.01)


async def test_source_goes_with_each_outcome_and_is_asked_for_once(ports, ledgers):  # noqa: F811
    port = ports("Required", per_hour=9)
    found = [await answered(port.send({"receipt": mint(number=number), "truth": 2}, CRM)) for number in range(3)]
    assert [answer.status for answer in found] == [200] * 3
    brought = [outcome for call in ledgers.calls for outcome in call.outcomes]
    assert {(outcome.source, outcome.per_hour) for outcome in brought} == {("ml/crm", 9)}
    assert ledgers.reporters == ["crm-token"]


async def test_reports_at_the_same_time_ask_once(ports, ledgers):  # noqa: F811
    port = ports("Required")
    ledgers.gate.clear()
    sent = [port.send({"receipt": mint(number=number), "truth": 2}, CRM) for number in range(5)]
    while not ledgers.reporters:
        await asyncio.sleep(0.001)
    ledgers.gate.set()
    assert [(await answered(each)).status for each in sent] == [200] * 5
    assert ledgers.reporters == ["crm-token"]


@pytest.mark.parametrize(
    ("asked", "head", "status"),
    [
        ("Required", "host: x\r\n", 401),
        ("Required", BASIC, 401),
        ("Required", FORGED, 401),
        ("Optional", "host: x\r\n", 200),
        ("Optional", FORGED, 401),
        ("", FORGED, 200),
    ],
)
async def test_report_is_refused_where_nobody_vouches_for_its_source(ports, ledgers, asked, head, status):  # noqa: F811
    answer = await ports(asked).ask({"receipt": mint(), "truth": 2}, head)
    assert answer.status == status, answer.body
    if status == 401:
        assert b"audience leadline-outcomes" in answer.body
        assert not ledgers.calls
    else:
        assert [outcome.source for call in ledgers.calls for outcome in call.outcomes] == [""]


async def test_ledger_that_cannot_tell_whose_a_token_is_is_not_the_reporters_fault(ports, ledgers):  # noqa: F811
    port = ports("Required")
    ledgers.status = 503
    answer = await port.ask({"receipt": mint(), "truth": 2}, CRM)
    assert (answer.status, b"whose the token is" in answer.body) == (503, True)
    ledgers.status = 200
    assert (await port.ask({"receipt": mint(), "truth": 2}, CRM)).status == 200, "trouble is not remembered"


async def test_tokens_that_are_remembered_are_bounded(ports, monkeypatch):
    monkeypatch.setattr(sources, "REMEMBERED_MAX", 2)
    port = ports("Required")
    for number in range(4):
        await port.ask({"receipt": mint(), "truth": 2}, f"host: x\r\nauthorization: Bearer t{number}\r\n")
    assert len(port.reporting._sources._known) == 2


async def test_quota_is_a_429_that_says_when_the_next_hour_begins(ports, ledgers):  # noqa: F811
    ledgers.fate = "OverQuota"
    port = ports("Required", per_hour=1)
    left = 3_600 - NOW_MS // 1000 % 3_600
    one = await port.ask({"receipt": mint(), "truth": 2}, CRM)
    assert (one.status, one.headers["retry-after"]) == (429, str(left))
    assert b"perHour" in one.body
    many = await port.ask([{"receipt": mint(number=number), "truth": 2} for number in range(2)], CRM)
    assert (many.status, many.headers["retry-after"]) == (429, str(left)), (
        "as a whole, so that it is told again as a whole"
    )
    assert b"2 of 2 outcomes were not taken" in many.body

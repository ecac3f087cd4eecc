"""The ledger over real HTTP: what is asked and answered, who may, long polls, and refusals. The process: test_process."""

import asyncio
import contextlib
import time

import msgspec
import pytest
from leadline_wire import ledger

from tests.unit.ledger.ledgers import copied, outcome
from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME, ApiServer, account, here
from tests.wiring.runtime.test_https import certificate

OTHER = "system:serviceaccount:bank:default"
WAKE_SECONDS = 5.0
"""Far below the wait that is asked for, far above what a busy machine takes."""


async def test_intake_is_answered_with_fates_and_read_back_by_the_operator(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        assert await ledger_here.told(outcome(1), outcome(1)) == ["Accepted", "Duplicate"]
        message = ledger.Intake(copies=[copied(1)])
        assert (await ledger_here.call("POST", f"{MODEL}/intake", message))[0] == 200
        found = await ledger_here.log()
        assert [type(entry) for entry in found.entries] == [ledger.OutcomeEntry, ledger.PairEntry]
        assert found.head == 2
        own = await ledger_here.log("?after=1&limit=1", token=RUNTIME, path=f"{MODEL}/log")
        assert [entry.seq for entry in own.entries] == [2]


async def test_operator_decides_keeps_a_checkpoint_and_resumes(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        decision = ledger.Decision("d1", "Promoted", "fraud-b", 1)
        for new in (True, False):
            status, body, _ = await ledger_here.call("POST", f"{MODEL}/decisions", decision, token=OPERATOR)
            assert (status, msgspec.json.decode(body, type=ledger.Decided)) == (200, ledger.Decided(2, new))
        for cursor, expected in ((2, 204), (1, 409), (3, 409)):
            checkpoint = ledger.Checkpoint(cursor, "{}")
            assert (await ledger_here.call("PUT", f"{MODEL}/checkpoint", checkpoint, token=OPERATOR))[0] == expected
        status, body, _ = await ledger_here.call("GET", "/v1/resume", token=OPERATOR)
        found = msgspec.json.decode(body, type=ledger.Resume)
        assert (status, found.head, found.models[0].checkpoint.cursor) == (200, 2, 2)
        assert found.timeline == (await ledger_here.log()).timeline


async def test_long_poll_is_answered_when_something_is_appended(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        begun = time.monotonic()
        waiting = asyncio.create_task(ledger_here.log("?after=1&wait=60"))
        # One that needs no waiting goes through while the other waits.
        assert (await ledger_here.log("?after=0&wait=60")).head == 1
        await ledger_here.told(outcome(2))
        assert [entry.seq for entry in (await waiting).entries] == [2]
        assert time.monotonic() - begun < WAKE_SECONDS


async def test_long_poll_without_news_is_answered_empty_after_its_wait(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1))
        found = await ledger_here.log("?after=1&wait=0.05")
        assert (found.head, found.entries) == (1, [])


async def test_long_polls_beyond_their_number_are_refused(tmp_path, api):
    async with here(tmp_path, api, requests_max=2) as ledger_here:
        await ledger_here.told(outcome(1))
        waiting = [asyncio.create_task(ledger_here.log("?after=1&wait=60")) for _ in range(2)]
        async with asyncio.timeout(WAKE_SECONDS):
            # Both polls, and the call that asks.
            while b"requests_under_way 3.0" not in (await ledger_here.call("GET", "/metrics", token=None))[1]:
                pass
        answer = await ledger_here.call("GET", "/v1/log?after=1", token=OPERATOR)
        assert answer[0] == 503
        assert b"calls are under way, limit 2" in answer[1]
        assert answer[2]["retry-after"] == "1"
        ledger_here.store.dismiss()
        assert [found.entries for found in await asyncio.gather(*waiting)] == [[], []]


async def test_intake_beyond_the_bytes_that_may_wait_is_refused_and_can_be_told_again(tmp_path, api):
    async with here(tmp_path, api, queue_bytes=100) as ledger_here:
        status, body, headers = await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake([outcome(1)] * 2))
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"limit 100" in body
        assert (await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake()))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "token", "status"),
    [
        ("GET", "/v1/log", None, 401),
        ("GET", "/v1/log", "nobody", 401),
        ("GET", "/v1/log", RUNTIME, 403),
        ("GET", "/v1/resume", RUNTIME, 403),
        ("POST", f"{MODEL}/intake", OTHER, 403),
        ("POST", f"{MODEL}/intake", "system:serviceaccount:shop-2:default", 403),
        ("POST", f"{MODEL}/decisions", RUNTIME, 403),
        ("PUT", f"{MODEL}/checkpoint", RUNTIME, 403),
        ("GET", f"{MODEL}/log", OTHER, 403),
        ("GET", f"{MODEL}/wanted", OTHER, 403),
        ("GET", f"{MODEL}/wanted", RUNTIME, 200),
        ("GET", f"{MODEL}/log", RUNTIME, 200),
        ("GET", f"{MODEL}/log", OPERATOR, 200),
        ("POST", f"{MODEL}/intake", OPERATOR, 200),
        ("GET", "/v1/elsewhere", None, 401),
        ("GET", "/v1/elsewhere", RUNTIME, 404),
        ("DELETE", "/v1/log", OPERATOR, 405),
        ("GET", "/healthz", None, 200),
        ("GET", "/readyz", None, 200),
        ("GET", "/metrics", None, 200),
    ],
)
async def test_a_token_is_good_for_its_own_namespace_and_the_operators_for_all(
    tmp_path, api, *, method, path, token, status
):
    api.unknown.add("nobody")
    async with here(tmp_path, api) as ledger_here:
        answer = await ledger_here.call(method, path, token=token, data=b"{}" if method == "POST" else None)
        assert answer[0] == status, answer[1]
        if status >= 400:
            assert msgspec.json.decode(answer[1], type=ledger.LedgerError).error


async def test_token_is_asked_for_once_a_minute_with_the_audience_and_the_own_token(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await asyncio.gather(*(ledger_here.log() for _ in range(10)))
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        assert api.asked == [(path, "Bearer own-token", ["leadline-ledger"])]
        (tmp_path / "account" / "token").write_text("renewed")
        ledger_here.clock.now_ms += 60_000
        await ledger_here.log()
        assert api.asked[1:] == [(path, "Bearer renewed", ["leadline-ledger"])]


@pytest.mark.parametrize("trusted", [True, False])
async def test_api_server_is_asked_over_https_where_the_pods_own_authority_vouches_for_it(tmp_path, trusted):
    signed = certificate(tmp_path)
    with contextlib.closing(ApiServer(signed)) as secure:
        other = tmp_path / "other"
        other.mkdir()
        authority = signed if trusted else certificate(other)
        (account(tmp_path) / "ca.crt").write_bytes(authority.read_bytes())
        async with here(tmp_path, secure) as ledger_here:
            status, body, _ = await ledger_here.call("GET", f"{MODEL}/log")
    assert status == (200 if trusted else 503), body
    assert len(secure.asked) == trusted


async def test_token_that_was_unknown_is_asked_for_again_after_five_seconds(tmp_path, api):
    api.unknown.add(RUNTIME)
    async with here(tmp_path, api) as ledger_here:
        for _ in range(2):
            assert (await ledger_here.call("GET", f"{MODEL}/log"))[0] == 401
        api.unknown.clear()
        assert len(api.asked) == 1
        ledger_here.clock.now_ms += 5_000
        assert (await ledger_here.call("GET", f"{MODEL}/log"))[0] == 200


async def test_token_for_another_audience_is_refused(tmp_path, api):
    api.audiences = ["https://kubernetes.default.svc"]
    async with here(tmp_path, api) as ledger_here:
        assert (await ledger_here.call("GET", f"{MODEL}/log"))[0] == 401


async def test_api_server_that_cannot_be_asked_is_not_the_callers_fault(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        api.status = 500
        status, body, headers = await ledger_here.call("GET", f"{MODEL}/log")
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"the API server cannot be asked" in body
        api.status = 201
        assert (await ledger_here.call("GET", f"{MODEL}/log"))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "data", "status", "said"),
    [
        ("POST", f"{MODEL}/intake", b"{", 400, "body: "),
        ("POST", f"{MODEL}/intake", b'{"outcomes":[{}]}', 400, "missing required field `row` - at `$.outcomes[0]`"),
        ("POST", f"{MODEL}/intake", b'{"outcomes":[{"row":0,"truth":"i1"}]}', 400, "outcomes[0].id"),
        ("POST", f"{MODEL}/intake", b" " * (8 << 20) + b"{}", 413, "expected at most 8388608"),
        ("POST", f"{MODEL}/decisions", b'{"id":"","kind":"Gate","revision":"a","at_ms":1}', 400, "id: "),
        ("PUT", f"{MODEL}/checkpoint", b'{"cursor":-1,"state":""}', 400, "cursor: "),
        ("PUT", f"{MODEL}/checkpoint", b'{"cursor":0,"state":"%b"}' % (b"x" * ((1 << 20) + 1)), 413, "state: "),
        ("POST", "/v1/namespaces/shop/models/Fraud_2/intake", b"{}", 400, "expected a DNS label"),
        ("GET", "/v1/log?after=x", None, 400, "after: expected a whole number"),
        ("GET", "/v1/log?limit=0", None, 400, "limit: "),
        ("GET", "/v1/log?wait=61", None, 400, "wait: expected seconds from 0 to 60"),
        ("GET", "/v1/log?wait=nan", None, 400, "wait: "),
        ("GET", "/v1/log?after=7", None, 410, "cursor 7 is beyond the newest entry 0"),
        ("GET", "/v1/log?timeline=other", None, 410, "a history that this ledger does not know"),
    ],
)
async def test_call_that_cannot_be_meant_is_told_why(tmp_path, api, *, method, path, data, status, said):
    async with here(tmp_path, api) as ledger_here:
        answer = await ledger_here.call(method, path, token=OPERATOR, data=data)
        assert answer[0] == status, answer[1]
        assert said in msgspec.json.decode(answer[1], type=ledger.LedgerError).error


async def test_metrics_count_outcomes_entries_and_calls(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.told(outcome(1), outcome(1))
        text = (await ledger_here.call("GET", "/metrics", token=None))[1].decode()
    for line in (
        'leadline_ledger_outcomes_total{fate="Accepted"} 1.0',
        'leadline_ledger_entries_total{kind="outcome"} 1.0',
        "leadline_ledger_writable 1.0",
        'leadline_ledger_requests_total{path="/v1/namespaces/{namespace}/models/{name}/intake",status="200"} 1.0',
        'leadline_ledger_token_reviews_total{result="known"} 1.0',
    ):
        assert line in text.splitlines(), text


async def test_wanted_answers_are_told_to_runtimes_of_the_namespace_by_their_number_and_time(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        copies = [copied(number) for number in range(60)]
        await ledger_here.call("POST", f"{MODEL}/intake", ledger.Intake(copies=copies))
        numbers = []
        for query in ("", "?limit=7", "?since=281474976710655"):
            status, body, _ = await ledger_here.call("GET", f"{MODEL}/wanted{query}")
            assert status == 200
            numbers.append(len(msgspec.json.decode(body, type=ledger.Wanted).items))
        assert numbers == [50, 7, 0]
        for query in ("?limit=0", "?limit=501", "?since=soon"):
            assert (await ledger_here.call("GET", f"{MODEL}/wanted{query}"))[0] == 400


async def test_runtime_is_told_whose_a_reporters_token_is(tmp_path, api):
    api.audiences = [ledger.AUDIENCE, ledger.OUTCOMES_AUDIENCE]
    api.unknown.add("forged")
    async with here(tmp_path, api) as ledger_here:
        found = []
        for token in ("system:serviceaccount:ml:crm", "jane@example.com", "forged", "x" * 400):
            status, body, _ = await ledger_here.call("POST", f"{MODEL}/source", ledger.Reporter(token))
            found.append((status, msgspec.json.decode(body, type=ledger.Source).source))
        assert found == [(200, "ml/crm"), (200, "jane@example.com"), (200, ""), (200, "")]
        assert ["leadline-outcomes"] in [audiences for _, _, audiences in api.asked]
        status, _, _ = await ledger_here.call("POST", f"{MODEL}/source", ledger.Reporter("a"), token=OTHER)
        assert status == 403


async def test_token_that_is_good_for_the_ledger_says_nobody_of_a_reporter(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        _, body, _ = await ledger_here.call("POST", f"{MODEL}/source", ledger.Reporter(RUNTIME))
        assert msgspec.json.decode(body, type=ledger.Source).source == ""

"""What both clients make of HTTP: where they send, how long, how many at once, and what they do beside their flows."""

import asyncio
import contextlib
import json
import threading

import httpx
import pytest
from leadline_client import (
    AsyncClient,
    Client,
    ClientError,
    InputError,
    Outcome,
    Refused,
    Unavailable,
    background,
    wiring,
)
from leadline_client.calls import CALLS_MAX
from leadline_client.delivering import Flushed
from leadline_client.outcomes import Fate, Reported

from tests.unit.client.both import BOTH, transport
from tests.unit.client.worlds import receipt
from tests.wiring.runtime.pods import eventually

URL = "https://models.example/team-a/"
ACCEPTED = {"accepted": 1, "duplicates": 0}


@pytest.fixture(params=sorted(BOTH))
def kind(request):
    return BOTH[request.param]


def accepting(request):
    return httpx.Response(200, json={"accepted": len(json.loads(request.content)), "duplicates": 0})


def test_request_goes_below_the_url_with_the_clients_headers(kind):
    seen = []

    def server(request):
        seen.append(request)
        return httpx.Response(200, json=ACCEPTED)

    headers = {"authorization": "Bearer a"}
    with kind(URL, model="a/b", store=None, headers=headers, transport=transport(server)) as client:
        assert client.report(receipt=receipt(), truth=1).fate is Fate.ACCEPTED
    (request,) = seen
    assert str(request.url) == "https://models.example/team-a/v2/models/a%2Fb/outcomes"
    assert (request.headers["authorization"], request.headers["accept-encoding"]) == ("Bearer a", "identity")
    assert request.extensions["timeout"]["connect"] == 5.0
    assert 14.0 < request.extensions["timeout"]["read"] <= 15.0


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("cut")]
)
def test_trouble_of_the_network_is_told_with_the_url(kind, error):
    def server(request):
        raise error

    with (
        kind(URL, model="a", store=None, report_timeout_seconds=0.15, transport=transport(server)) as client,
        pytest.raises(Unavailable, match=rf"POST {URL}v2/models/a/outcomes: {type(error).__name__}"),
    ):
        client.report(receipt=receipt(), truth=1)


def test_redirect_is_not_followed(kind):
    there = transport(lambda _: httpx.Response(302, headers={"location": "http://elsewhere"}))
    with kind(URL, model="a", store=None, transport=there) as client, pytest.raises(Refused, match="302"):
        client.report(receipt=receipt(), truth=1)


def test_refused_outcome_raises_alone_and_is_a_result_among_many(kind):
    refused = {"accepted": 0, "duplicates": 0, "refused": [{"index": 0, "status": 400, "error": "receipt: forged"}]}
    there = transport(lambda _: httpx.Response(207, json=refused))
    with kind(URL, model="a", store=None, transport=there) as client:
        with pytest.raises(Refused, match="400: receipt: forged"):
            client.report(receipt=receipt(), truth=1)
        (told,) = client.report_many([{"receipt": receipt(), "truth": 1}])
        assert (told.fate, told.why) == (Fate.REFUSED, "receipt: forged")
        with pytest.raises(InputError, match=r"items\[1\]\.truth: expected one of truth, correct and score"):
            client.report_many([Outcome(receipt=receipt(), truth=1), Outcome(receipt=receipt())])
        with pytest.raises(InputError, match=r"^truth: expected one of truth, correct and score, got none"):
            client.report(receipt=receipt())


def test_nothing_to_report_is_nothing_to_send(kind):
    with kind(URL, model="a", store=None, transport=transport(lambda _: httpx.Response(500))) as client:
        assert client.report_many([]) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "digits.ml"}, "url: expected http"),
        ({"url": "http://a?b=c"}, "url: expected http"),
        ({"url": "http://jo:secret@a"}, "url: expected no user and password in it"),
        ({"model": ""}, "model: expected the ModelDeployment's name, got ''"),
        ({"timeout_seconds": 0}, "timeout_seconds: expected a number above 0, got 0"),
        ({"report_timeout_seconds": float("inf")}, "report_timeout_seconds: expected a number above 0, got inf"),
        ({"connections": None}, "connections: expected a whole number from 1, got None"),
        ({"flush_every_seconds": -1}, "flush_every_seconds: expected a number above 0, got -1"),
        ({"store": ""}, "store: expected the path of a file, a Store or None, got an empty path"),
        ({"store": 7}, "store: expected the path of a file, a Store or None, got 7"),
    ],
)
@pytest.mark.parametrize("made", [Client, AsyncClient])
def test_setting_that_is_none_is_told_by_its_name(made, given, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        made(**{"url": URL, "model": "a", **given})


def test_closed_client_says_so(kind, tmp_path):
    with kind(URL, model="a", store=tmp_path / "s.db", transport=transport(accepting)) as client:
        client.report(receipt=receipt(), truth=1)
        client.close()
        with pytest.raises(InputError, match="it is closed"):
            client.report(receipt=receipt(), truth=1)


def test_no_more_calls_than_a_limit_are_under_way_of_threads():
    gate, entered = threading.Event(), threading.Semaphore(0)

    def server(request):
        entered.release()
        assert gate.wait(30)
        return httpx.Response(200, json=ACCEPTED)

    with Client(URL, model="a", store=None, connections=CALLS_MAX, transport=transport(server)) as client:
        threads = [
            threading.Thread(target=client.report, kwargs={"receipt": receipt(), "truth": 1}) for _ in range(CALLS_MAX)
        ]
        for each in threads:
            each.start()
        for _ in threads:
            assert entered.acquire(timeout=30)
        with pytest.raises(Unavailable, match=f"{CALLS_MAX} calls of this client are under way, the limit"):
            client.report(receipt=receipt(), truth=1)
        gate.set()
        for each in threads:
            each.join(30)
        assert client.report(receipt=receipt(), truth=1).fate is Fate.ACCEPTED


def test_call_that_finds_no_connection_in_time_says_so():
    gate, entered = threading.Event(), threading.Event()

    def server(request):
        entered.set()
        assert gate.wait(30)
        return httpx.Response(200, json=ACCEPTED)

    settings = {"model": "a", "store": None, "connections": 1, "report_timeout_seconds": 0.2}
    with Client(URL, **settings, transport=transport(server)) as client:

        def hold():
            with contextlib.suppress(Unavailable):  # by then its own time is over
                client.report(receipt=receipt(), truth=1)

        first = threading.Thread(target=hold)
        first.start()
        assert entered.wait(30)
        with pytest.raises(Unavailable, match="all 1 connections were in use"):
            client.report(receipt=receipt(), truth=1)
        gate.set()
        first.join(30)


async def test_no_more_calls_than_a_limit_are_under_way_of_tasks():
    gate = asyncio.Event()

    async def server(request):
        await gate.wait()
        return httpx.Response(200, json=ACCEPTED)

    async with AsyncClient(URL, model="a", store=None, transport=httpx.MockTransport(server)) as client:
        calls = [asyncio.create_task(client.report(receipt=receipt(), truth=1)) for _ in range(CALLS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="under way, the limit"):
            await client.report(receipt=receipt(), truth=1)
        gate.set()
        assert {each.fate for each in await asyncio.gather(*calls)} == {Fate.ACCEPTED}
        assert (await client.report(receipt=receipt(), truth=1)).fate is Fate.ACCEPTED


async def test_cancelled_report_waits_in_the_store(tmp_path):
    entered = asyncio.Event()

    async def server(request):
        entered.set()
        await asyncio.Event().wait()

    async with AsyncClient(URL, model="a", store=tmp_path / "s.db", transport=httpx.MockTransport(server)) as client:
        call = asyncio.create_task(client.report(receipt=receipt(), truth=1))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await client.waiting() == 1


@pytest.mark.parametrize("made", sorted(BOTH))
def test_background_sends_what_waits_and_says_what_was_refused(made, tmp_path, caplog):
    is_up = threading.Event()
    seen = []

    def server(request):
        if not is_up.is_set():
            return httpx.Response(503, json={"error": "the ledger does not answer"}, headers={"retry-after": "60"})
        told = [{"index": 0, "status": 410, "error": "too old"}]
        seen.append(json.loads(request.content))
        return httpx.Response(207, json={"accepted": len(seen[-1]) - 1, "duplicates": 0, "refused": told})

    place = tmp_path / "s.db"
    with BOTH[made](URL, model="a", store=place, transport=transport(server), flush_every_seconds=0.02) as client:
        told = client.report_many([{"receipt": receipt(number), "truth": 1} for number in range(3)])
        assert {each.fate for each in told} == {Fate.WAITING}
        is_up.set()
        said = "1 outcomes were not taken: too old: too old"
        eventually("sent and told", lambda: client.waiting() == 0 and said in [each.message for each in caplog.records])
    assert [len(each) for each in seen] == [3]
    assert not [each for each in threading.enumerate() if each.name == "leadline-outbox"]


def test_background_waits_longer_after_failures_and_says_so_once():
    rounds = background.Rounds(10.0)
    bad = Flushed(waiting=3, why="503: down")
    told = [rounds.ended(bad), *[rounds.failed(ClientError("disk full")) for _ in range(5)]]
    assert [each.pause_seconds for each in told] == [10.0, 20.0, 40.0, 80.0, 80.0, 80.0]
    assert [each.message for each in told] == ["3 outcomes wait: 503: down", "", "", "", "", ""]
    assert rounds.ended(Flushed()) == background.Told(10.0)
    assert rounds.failed(ClientError("disk full")).message == "outcomes that wait cannot be sent: disk full"
    refused = tuple(Reported(Outcome(), Fate.REFUSED, f"why {number}") for number in range(5))
    message = rounds.ended(Flushed(refused=refused)).message
    assert message == "5 outcomes were not taken: refused: why 0; refused: why 1; refused: why 2, ..."


def test_answer_that_does_not_end_or_never_stops_is_cut_off():
    body = wiring.Body(end=10.0)
    assert body.add(b"ab", 9.0) == ""
    assert body.bytes == b"ab"
    assert body.add(b"c", 10.1) == "the answer did not end in time"
    assert "longer than" in wiring.Body(end=10.0).add(bytes(wiring.ANSWER_BYTES_MAX + 1), 1.0)


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that goes on for ever."""

    def __iter__(self):
        while True:
            yield b"x"

    async def __aiter__(self):
        while True:
            yield b"x"


def test_answer_without_an_end_is_cut_off_in_time(kind):
    there = transport(lambda _: httpx.Response(200, stream=Endless()))
    with (
        kind(URL, model="a", store=None, report_timeout_seconds=0.2, transport=there) as client,
        pytest.raises(Unavailable, match=r"the answer did not end in time \(1 try\)"),
    ):
        client.report(receipt=receipt(), truth=1)


def test_own_store_is_used_and_left_open(kind, tmp_path):
    class Own:
        def __init__(self):
            self.kept, self.is_closed = {}, False

        def remember(self, model, key, receipt, *, prediction_id, now):
            self.kept[key] = receipt

        def recall(self, model, keys):
            return {key: self.kept[key] for key in keys if key in self.kept}

        def put(self, model, outcomes, *, now, until):
            return list(range(len(outcomes)))

        def done(self, numbers):
            pass

        def close(self):
            self.is_closed = True

    own = Own()
    own.remember("a", "order 1", receipt(), prediction_id="", now=0.0)
    with kind(URL, model="a", store=own, transport=transport(accepting)) as client:
        assert client.report(key="order 1", truth=1).fate is Fate.ACCEPTED
    assert not own.is_closed

"""Decisions that are told: to a real HTTP server that is there, away, slow or unwilling; signatures checked independently."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import re
import types
from pathlib import Path

import pytest
from aiohttp import web
from leadline_operator.soundings import notices
from leadline_operator.specs.metadata import Owner
from leadline_wire.ledger import Decision
from prometheus_client import CollectorRegistry

from tests.wiring.runtime.pods import free_ports

NOW = 1_800_000_000.0
OWNER = Owner("ml", "digits", "uid-1")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
MEASURED = {"by": "pairs", "evidence": "251.5", "needed": "250.0"}


def decision(number=1, kind="Rejected", at=NOW):
    data = {"reason": "Degraded", "message": "worse", "measured": json.dumps(MEASURED)}
    return Decision(f"rejected/m-2/{number}", kind, "m-2", round(at * 1000), other="m-1", data=data)


class Listener:
    """Takes events, answers what it is told to."""

    def __init__(self, port):
        self.port, self.answers, self.seen, self.runner = port, [], [], None

    async def start(self):
        app = web.Application()
        app.add_routes([web.post("/decisions", self._take)])
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self):
        if self.runner is not None:
            await self.runner.cleanup()

    async def _take(self, request):
        self.seen.append((request.headers.copy(), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def until(self, count):
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                await asyncio.sleep(0.01)
        return [json.loads(body)["id"].rpartition("/")[2] for _, body in self.seen]


@pytest.fixture
async def listener():
    (port,) = free_ports(1)
    made = Listener(port)
    yield made
    await made.stop()


@contextlib.asynccontextmanager
async def told(listener, folder, *, secret=SECRET, url=None, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr(notices, "LONGEST_PAUSE_SECONDS", 0.02)
    (folder / "secret").write_text(secret)
    registry = CollectorRegistry()
    url = f"http://127.0.0.1:{listener.port}/decisions" if url is None else url
    made = notices.Notices(url, folder / "secret", now=lambda: NOW, registry=registry)
    made.registry = registry
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def counted(made, name, **labels):
    return made.registry.get_sample_value(name, labels)


async def test_decision_is_a_cloudevent_whose_signature_anybody_with_the_secret_can_check(listener, tmp_path):
    await listener.start()
    async with told(listener, tmp_path) as made:
        made.tell(OWNER, (decision(),))
        made.tell(OWNER, (decision(),))  # the next pass says the same
        await listener.until(1)
        made.tell(OWNER, (decision(2),))
        assert await listener.until(2) == ["1", "2"]
    headers, body = listener.seen[0]
    event = json.loads(body)
    assert event["specversion"] == "1.0"
    assert event["type"] == "dev.leadline.decision.rejected"
    assert event["source"] == "/apis/leadline.dev/v1alpha1/namespaces/ml/modeldeployments/digits"
    assert (event["subject"], event["time"]) == ("m-2", "2027-01-15T08:00:00Z")
    assert event["data"]["measured"] == MEASURED
    assert (event["data"]["other"], event["data"]["reason"]) == ("m-1", "Degraded")
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["webhook-id"] == event["id"] == "uid-1/rejected/m-2/1"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.digest(bytes(range(32)), signed, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


async def test_listener_that_is_away_or_fails_is_told_later_and_in_order(listener, tmp_path, monkeypatch):
    async with told(listener, tmp_path, monkeypatch=monkeypatch) as made:
        made.tell(OWNER, (decision(1), decision(2)))
        await asyncio.sleep(0.05)
        listener.answers = [500, 503]
        await listener.start()
        assert await listener.until(4) == ["1", "1", "1", "2"]
        assert counted(made, "leadline_decision_notices_total", result="Sent") == 2


async def test_what_the_page_of_retraining_checks_a_signature_with_takes_ours_and_no_others(listener, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "retraining.md").read_text()
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def is_leadlines" in code)
    known = {}
    exec(code, known)  # our own page
    known["time"] = types.SimpleNamespace(time=lambda: NOW + 10)
    await listener.start()
    async with told(listener, tmp_path) as made:
        made.tell(OWNER, (decision(kind="RetrainProposed"),))
        await listener.until(1)
    headers, body = listener.seen[0]
    assert json.loads(body)["type"] == "dev.leadline.decision.retrainproposed"
    assert known["is_leadlines"](headers, body, SECRET)
    assert not known["is_leadlines"](headers, body + b" ", SECRET)
    assert not known["is_leadlines"](headers, body, "whsec_" + base64.b64encode(b"x" * 32).decode())
    known["time"] = types.SimpleNamespace(time=lambda: NOW + 1000)
    assert not known["is_leadlines"](headers, body, SECRET)


async def test_proposal_that_nobody_takes_is_news_for_a_day_and_holds_nothing_else_up(listener, tmp_path, monkeypatch):
    old, late = decision(1, kind="RetrainProposed", at=NOW - 7_200), decision(2, at=NOW - 7_200)
    async with told(listener, tmp_path, monkeypatch=monkeypatch) as made:
        made.tell(OWNER, (old, late, decision(3)))
        listener.answers = [500] * 3
        await listener.start()
        seen = await listener.until(4)
        assert "3" in seen[:4]
        async with asyncio.timeout(10):
            while counted(made, "leadline_decision_notices_total", result="Sent") != 2:
                await asyncio.sleep(0.01)
        assert counted(made, "leadline_decision_notices_total", result="Dropped") == 1, "the other was news for an hour"


async def test_event_that_is_refused_for_good_is_not_sent_again(listener, tmp_path, monkeypatch):
    await listener.start()
    listener.answers = [410]
    async with told(listener, tmp_path, monkeypatch=monkeypatch) as made:
        made.tell(OWNER, (decision(1), decision(2)))
        assert await listener.until(2) == ["1", "2"]
        assert counted(made, "leadline_decision_notices_total", result="Refused") == 1


async def test_secret_that_is_put_right_is_used_without_a_restart(listener, tmp_path, monkeypatch, caplog):
    await listener.start()
    async with told(listener, tmp_path, secret="whsec_no base64", monkeypatch=monkeypatch) as made:
        made.tell(OWNER, (decision(),))
        async with asyncio.timeout(5):
            while "expected whsec_" not in caplog.text:
                await asyncio.sleep(0.01)
        (tmp_path / "secret").write_text(SECRET + "\n")
        assert await listener.until(1) == ["1"]


async def test_decisions_are_counted_once_and_those_before_the_start_are_not(listener, tmp_path):
    async with told(listener, tmp_path, url="") as made:
        for _ in range(3):
            made.tell(OWNER, (decision(1), decision(2, at=NOW - 60), decision(3, kind="Promoted")))
        assert counted(made, "leadline_decisions_total", kind="Rejected", reason="Degraded") == 1
        assert counted(made, "leadline_decisions_total", kind="Promoted", reason="Degraded") == 1


async def test_what_waits_is_bounded_and_the_oldest_give_way(listener, tmp_path, monkeypatch):
    monkeypatch.setattr(notices, "WAITING_MAX", 3)
    async with told(listener, tmp_path, monkeypatch=monkeypatch) as made:
        made.tell(OWNER, tuple(decision(number) for number in range(10)))
        await listener.start()
        assert (await listener.until(3))[-1] == "9"
        assert counted(made, "leadline_decision_notices_total", result="Dropped") == 7


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "whsec_%%%%"])
def test_what_is_no_secret_is_said(secret):
    with pytest.raises(notices.BadSecretError, match="expected"):
        notices.signed(notices.Notice("id", 0, b"{}"), secret=secret, at=1)

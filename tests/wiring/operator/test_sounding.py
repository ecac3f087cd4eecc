"""Soundings over a real socket: sealed both ways, once per change, and silence is nobody's fault.

The pod is a small HTTP server that answers as a runtime does; the real runtime is in tests/wiring/runtime.
"""

import asyncio
import contextlib

import msgspec
import pytest
from aiohttp import web
from leadline_operator.reconcile.plan import Sounding
from leadline_operator.soundings.calling import Caller, NotReachedError
from leadline_operator.soundings.sounder import Sounder
from leadline_wire import exchange

KEY = b"k" * 32


class PodServer:
    """Answers exchanges on loopback."""

    def __init__(self):
        self.requests = []
        self.key = KEY
        self.epoch = 0
        self.phase = "Ready"
        self.forge = False
        self.silent = False
        self.refusal = ""
        self.asked = asyncio.Event()

    async def answer(self, request):
        body = await request.read()
        asked = msgspec.json.decode(body, type=exchange.ExchangeRequest)
        assert exchange.is_sealed(KEY, "request", asked.nonce, body, request.headers[exchange.MAC_HEADER])
        self.requests.append(asked)
        self.asked.set()
        if self.silent:
            request.transport.abort()
        status = 200
        if asked.epoch < self.epoch:
            status = exchange.REFUSED_STATUS
            told = exchange.Refusal(nonce=asked.nonce, reason="OldEpoch", epoch=self.epoch, pod_uid="p", revision="r")
        elif self.refusal:
            status = exchange.REFUSED_STATUS
            told = exchange.Refusal(nonce=asked.nonce, reason=self.refusal, epoch=0, pod_uid="q", revision="s")
        else:
            told = exchange.ExchangeReport(
                nonce=asked.nonce, pod_uid="p", revision="r", epoch=asked.epoch, role=asked.role, phase=self.phase
            )
        raw = msgspec.json.encode(told)
        mac = exchange.seal(b"x" * 32 if self.forge else self.key, "report", asked.nonce, raw)
        return web.Response(body=raw, status=status, headers={exchange.MAC_HEADER: mac})


@pytest.fixture
async def pod():
    server = PodServer()
    app = web.Application()
    app.add_routes([web.post(exchange.PATH, server.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest.fixture
async def caller(pod):
    made = Caller(port=pod.port)
    yield made
    await made.close()


def a_sounding(**changes):
    plain = Sounding("digits-1", "p", "127.0.0.1", "r", "candidate", None, "", None, 0.01)
    return Sounding(**{name: getattr(plain, name) for name in plain.__slots__} | changes)


@contextlib.asynccontextmanager
async def sounding(caller, *, epoch=None):
    epochs = epoch or [1]
    woken = asyncio.Queue()
    sounder = Sounder(
        caller,
        secret_of=lambda _: KEY,
        epoch=lambda: epochs[0],
        outrun=lambda seen: epochs.__setitem__(0, seen + 1),
        woken=woken.put_nowait,
    )
    task = asyncio.create_task(sounder.run())
    try:
        yield sounder, woken
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def within(awaitable, seconds=5.0):
    async with asyncio.timeout(seconds):
        return await awaitable


async def test_pod_is_told_and_its_report_comes_back(pod, caller):
    told = await caller.call(a_sounding(role="serving", digest="sha256:1"), key=KEY, epoch=7)
    assert (told.role, told.epoch) == ("serving", 7)
    assert pod.requests[0].digest == "sha256:1"
    assert pod.requests[0].lease_seconds == 600.0


async def test_report_with_another_seal_is_not_believed(pod, caller):
    pod.forge = True
    with pytest.raises(NotReachedError, match="without our seal"):
        await caller.call(a_sounding(), key=KEY, epoch=1)


async def test_report_of_another_pod_on_the_same_address_is_not_believed(pod, caller):
    with pytest.raises(NotReachedError, match="another pod"):
        await caller.call(a_sounding(uid="other"), key=KEY, epoch=1)


async def test_same_report_wakes_once_and_a_new_one_again(pod, caller):
    async with sounding(caller) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        assert await within(woken.get()) == "key"
        for _ in range(3):
            pod.asked.clear()
            await within(pod.asked.wait())
        assert woken.empty()
        pod.phase = "Failed"
        await within(woken.get())
        assert sounder.report("p").phase == "Failed"


async def test_changed_role_is_told_at_once_although_the_next_sounding_is_far_away(pod, caller):
    async with sounding(caller) as (sounder, woken):
        sounder.address("key", (a_sounding(every_seconds=600.0),))
        await within(woken.get())
        sounder.address("key", (a_sounding(every_seconds=600.0, role="serving"),))
        await within(woken.get())
        assert [each.role for each in pod.requests] == ["candidate", "serving"]


async def test_pod_that_has_seen_a_newer_epoch_makes_ours_newer(pod, caller):
    pod.epoch = 41
    epochs = [1]
    async with sounding(caller, epoch=epochs) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        await within(woken.get())
        assert sounder.report("p").epoch == epochs[0] == 42


@pytest.mark.parametrize("refusal", ["OtherPod", "OtherRevision"])
async def test_report_is_dropped_at_once_when_somebody_else_answers_at_the_address(pod, caller, refusal):
    async with sounding(caller) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        await within(woken.get())
        assert sounder.report("p") is not None
        pod.refusal = refusal
        await within(woken.get())
        assert sounder.report("p") is None
        assert woken.empty()


async def test_report_is_kept_when_the_pod_has_seen_a_newer_epoch(pod, caller):
    async with sounding(caller, epoch=[7]) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        await within(woken.get())
        pod.epoch = 41
        pod.asked.clear()
        await within(pod.asked.wait())
        assert sounder.report("p") is not None


async def test_silent_pod_keeps_its_report_for_a_while_and_then_counts_as_unknown(pod, caller):
    async with sounding(caller) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        await within(woken.get())
        pod.silent = True
        pod.asked.clear()
        await within(pod.asked.wait())
        assert sounder.report("p") is not None
        await within(woken.get(), 60)
        assert sounder.report("p") is None


async def test_pod_that_is_gone_is_asked_no_more(pod, caller):
    async with sounding(caller) as (sounder, woken):
        sounder.address("key", (a_sounding(),))
        await within(woken.get())
        sounder.address("key", ())
        assert len(sounder) == 0
        assert sounder.report("p") is None

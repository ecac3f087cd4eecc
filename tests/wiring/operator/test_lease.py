"""The Lease over HTTP: who may act, and with which epoch. The API server is a small one that knows Leases only.

What a real API server adds, and two operators at once, is tested on a cluster.
"""

import asyncio
import contextlib
import copy
from datetime import UTC, datetime

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from leadline_operator.kube import lease as leases
from leadline_operator.kube.api import Api
from leadline_operator.kube.lease import Elector, Lost

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases"


class Server:
    """Keeps one Lease, with versions as the API server does."""

    def __init__(self):
        self.lease = None
        self.writes = 0
        self.down = False

    def store(self, body):
        self.writes += 1
        body["metadata"] |= {"resourceVersion": str(self.writes), "uid": "u"}
        self.lease = body
        return web.json_response(body)

    def refuse(self, code, reason):
        return web.json_response({"kind": "Status", "reason": reason, "message": reason, "code": code}, status=code)

    async def answer(self, request):
        if self.down:
            return self.refuse(503, "ServiceUnavailable")
        if request.method == "GET":
            return web.json_response(self.lease) if self.lease else self.refuse(404, "NotFound")
        body = await request.json()
        if request.method == "POST":
            return self.refuse(409, "AlreadyExists") if self.lease else self.store(body)
        if self.lease is None:
            return self.refuse(404, "NotFound")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            return self.refuse(409, "Conflict")
        return self.store(body)


@pytest.fixture
async def server():
    made = Server()
    app = web.Application()
    app.add_routes([web.route("*", PATH, made.answer), web.route("*", f"{PATH}/leader", made.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def api(server):
    configuration = Configuration()
    configuration.host = server.url
    configuration.retries = 0
    made = Api(ApiClient(configuration))
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    """The real pauses are seconds; what is tested is their order."""
    for name, value in (("RETRY_SECONDS", 0.02), ("RENEW_DEADLINE_SECONDS", 0.5), ("DURATION_SECONDS", 1)):
        monkeypatch.setattr(leases, name, value)


def an_elector(api, pod="pod-1", identity=None):
    return Elector(
        api,
        namespace="system",
        name="leader",
        pod=pod,
        identity=identity or f"{pod}_1",
        now=lambda: datetime(2027, 1, 1, tzinfo=UTC),
    )


async def within(awaitable, seconds=10.0):
    async with asyncio.timeout(seconds):
        return await awaitable


async def test_epoch_grows_with_every_new_leader(server, api):
    first = an_elector(api)
    await within(first.acquire())
    assert first.epoch == 1
    await first.release()
    second = an_elector(api, "pod-2")
    await within(second.acquire())
    assert second.epoch == 2
    assert server.lease["spec"]["holderIdentity"] == "pod-2_1"


async def test_lease_of_a_living_holder_is_not_taken(server, api):
    first, second = an_elector(api), an_elector(api, "pod-2")
    await within(first.acquire())
    holding = asyncio.create_task(first.hold())
    with pytest.raises(TimeoutError):
        await within(second.acquire(), 2.5)
    assert server.lease["spec"]["holderIdentity"] == "pod-1_1"
    holding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await holding
    await within(second.acquire())
    assert second.epoch == 2


async def test_container_that_restarts_in_the_same_pod_follows_at_once(api):
    await within(an_elector(api).acquire())
    again = an_elector(api, identity="pod-1_2")
    await within(again.acquire(), 0.9)
    assert again.epoch == 2


async def test_leader_stops_when_somebody_else_holds_the_lease(server, api):
    first = an_elector(api)
    await within(first.acquire())
    stolen = copy.deepcopy(server.lease)
    stolen["spec"]["holderIdentity"] = "pod-2_1"
    server.store(stolen)
    with pytest.raises(Lost, match="another holder"):
        await within(first.hold())


async def test_leader_stops_when_it_cannot_renew_in_time(server, api):
    first = an_elector(api)
    await within(first.acquire())
    server.down = True
    with pytest.raises(Lost, match="not renewed"):
        await within(first.hold())


async def test_lease_that_was_deleted_is_made_again_and_the_epoch_never_falls(server, api):
    first = an_elector(api)
    await within(first.acquire())
    first.outrun(7)
    server.lease = None
    holding = asyncio.create_task(first.hold())
    while server.lease is None or server.lease["spec"]["leaseTransitions"] != 8:
        await asyncio.sleep(0.01)
        assert not holding.done()
    holding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await holding
    assert first.epoch == 8


async def test_stale_leader_does_not_outrun_its_successor(server, api):
    first = an_elector(api)
    await within(first.acquire())
    taken = copy.deepcopy(server.lease)
    taken["spec"] |= {"holderIdentity": "pod-2_1", "leaseTransitions": 2}
    server.store(taken)
    first.outrun(2)
    assert first.epoch == 1
    with pytest.raises(Lost, match="another holder"):
        await within(first.hold())
    assert first.epoch == 1

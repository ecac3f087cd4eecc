"""The executor over HTTP, where a stranger's object has a name that we want. The API server is a small one.

What a real API server adds is tested on a cluster.
"""

import asyncio

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from leadline_operator.kube.api import Api
from leadline_operator.kube.events import Recorder
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.loop.executing import Executor
from leadline_operator.reconcile.plan import Create, Plan

from tests.unit.reconcile.world import a_world

KEY = Key("ml", "digits")


@pytest.fixture
async def api():
    async def answer(request):
        if request.method == "POST":
            return web.json_response({"kind": "Status", "reason": "AlreadyExists", "code": 409}, status=409)
        return web.json_response({"metadata": {"uid": "uid-1", "name": "taken", "namespace": "ml"}})

    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    configuration.retries = 0
    made = Api(ApiClient(configuration))
    yield made
    await made.close()
    await runner.cleanup()


async def test_conflict_is_over_when_the_name_is_no_longer_wanted(api):
    executor = Executor(api, Cache(), Recorder(api, instance="pod-1"), now=lambda: 1_800_000_000.0)
    observed = a_world().observe()
    wanted = Create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "taken"}})
    async with asyncio.timeout(10):
        assert not await executor.execute(KEY, observed, Plan(writes=(wanted,)))
        assert "Deployment taken exists and is not ours" in executor.conflicts(KEY)[0]
        assert await executor.execute(KEY, observed, Plan())
    assert executor.conflicts(KEY) == ()

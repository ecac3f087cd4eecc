"""The permissions that are asked for at start, over HTTP. The API server is a small one that answers reviews."""

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from leadline_operator.kube.access import NEEDED, missing_permissions
from leadline_operator.kube.api import Api


@pytest.fixture
async def reviews():
    """Reviews that were asked for; `denied` holds those that are answered with no."""
    asked, denied = [], []

    async def answer(request):
        attributes = (await request.json())["spec"]["resourceAttributes"]
        asked.append(attributes)
        allowed = not any(each.items() <= attributes.items() for each in denied)
        return web.json_response({"status": {"allowed": allowed}}, status=201)

    app = web.Application()
    app.add_routes([web.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    configuration.retries = 0
    api = Api(ApiClient(configuration))
    yield api, asked, denied
    await api.close()
    await runner.cleanup()


async def test_every_permission_is_asked_for_and_none_is_missing_where_all_are_granted(reviews):
    api, asked, _ = reviews
    assert await missing_permissions(api, namespace="leadline-system") == []
    assert len(asked) == sum(len(each.verbs) for each in NEEDED)
    lease = {"group": "coordination.k8s.io", "resource": "leases", "namespace": "leadline-system"}
    assert lease | {"verb": "create"} in asked
    assert lease | {"verb": "update", "name": "leadline-operator"} in asked
    assert {"group": "events.k8s.io", "resource": "events", "verb": "create"} in asked


async def test_what_is_missing_is_named(reviews):
    api, _, denied = reviews
    denied += [{"resource": "leases", "verb": "update"}, {"resource": "modeldeployments", "subresource": "status"}]
    assert await missing_permissions(api, namespace="leadline-system") == [
        "patch modeldeployments/status",
        "update leases leadline-operator in namespace leadline-system",
    ]

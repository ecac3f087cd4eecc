"""A worker with its queue, cache and executor over HTTP. The API server is a small one that keeps objects.

No watch runs: what the cache knows is what the worker's own writes told it. What a real API server adds is tested on a
cluster.
"""

import asyncio
import contextlib
import copy

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from leadline_api import names
from leadline_operator.kube import access
from leadline_operator.kube.api import Api
from leadline_operator.kube.events import Recorder
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.loop.executing import Executor
from leadline_operator.loop.queueing import Queue
from leadline_operator.loop.working import Worker
from leadline_operator.reconcile.observed import Settings
from leadline_operator.soundings.sounder import Sounder

KEY = Key("ml", "digits")
PLURALS = {
    "modeldeployments": names.KIND,
    "services": "Service",
    "deployments": "Deployment",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "controllerrevisions": "ControllerRevision",
    "configmaps": "ConfigMap",
    "pods": "Pod",
    "secrets": "Secret",
    "events": "Event",
    "jobs": "Job",
}

VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Server:
    """Keeps objects by kind and name, with versions as the API server does."""

    def __init__(self):
        self.objects = {}
        self.requests = []
        self.version = 100
        self.changed = asyncio.Condition()
        self.refuses = set()
        """Method and kind of writes that a policy denies."""

    def store(self, kind, name, body):
        self.version += 1
        body["metadata"] |= {"resourceVersion": str(self.version)}
        body["metadata"].setdefault("uid", f"uid-{kind}-{name}-{self.version}")
        self.objects[kind, name] = body
        return web.json_response(body)

    async def answer(self, request):
        parts = request.path.split("/namespaces/ml/")[1].split("/")
        kind, name = PLURALS[parts[0]], parts[1] if len(parts) > 1 else ""
        body = await request.json() if request.body_exists else {}
        async with self.changed:
            self.requests.append((request.method, kind, name or body["metadata"]["name"]))
            answer = self.act(request.method, kind, name, body)
            self.changed.notify_all()
        return answer

    def act(self, method, kind, name, body):
        if (method, kind) in self.refuses:
            denied = {"kind": "Status", "reason": "Forbidden", "code": 403, "message": "denied by policy 'frozen'"}
            return web.json_response(denied, status=403)
        if method == "POST":
            return self.store(kind, body["metadata"]["name"], body)
        live = self.objects.get((kind, name))
        if live is None:
            return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)
        if method == "GET":
            return web.json_response(live)
        if method == "PATCH":
            return self.store(kind, name, {**copy.deepcopy(live), "status": body["status"]})
        if method == "DELETE":
            return web.json_response(self.objects.pop((kind, name)))
        return self.store(kind, name, body)

    async def until(self, holds, seconds=20.0):
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(holds)

    def writes(self):
        return [each for each in self.requests if each[0] != "GET"]


@pytest.fixture
async def server():
    made = Server()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", made.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


class Operator:
    """A worker that runs, and what it works with."""

    def __init__(self, api, server, sounder=None):
        self.server, self.cache, self.queue, self.looked = server, Cache(), Queue(), asyncio.Event()
        sounder = sounder or Sounder(
            None, secret_of=lambda _: b"", epoch=lambda: 1, outrun=lambda _: None, woken=lambda _: None
        )  # no pod is called
        now = 1_800_000_000.0
        executor = Executor(api, self.cache, Recorder(api, instance="pod-1"), now=lambda: now)
        self.worker = Worker(
            queue=self.queue,
            cache=self.cache,
            executor=executor,
            sounder=sounder,
            settings_of=self.settings_of,
            now=lambda: now,
        )

    def settings_of(self, _):
        self.looked.set()
        return Settings("runtime:1", b"k" * 32)

    def see(self, **spec):
        """Take note of a ModelDeployment as the user left it, and queue it."""
        live = self.server.objects.setdefault(
            (names.KIND, "digits"),
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "metadata": {
                    "name": "digits",
                    "namespace": "ml",
                    "uid": "uid-1",
                    "generation": 0,
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
            },
        )
        live["spec"] = {"model": {"uri": "s3://models/good.onnx"}} | spec
        live["metadata"]["generation"] += 1
        self.server.store(names.KIND, "digits", live)
        self.cache.observe(names.KIND, copy.deepcopy(live))
        self.queue.add(KEY)

    async def next_pass(self):
        """Return when a pass begins; the one before it is over then."""
        self.looked.clear()
        self.queue.add(KEY)
        async with asyncio.timeout(20):
            await self.looked.wait()

    async def idle(self):
        """Return when a whole pass has written nothing."""
        for _ in range(20):
            await self.next_pass()
            before = len(self.server.writes())
            await self.next_pass()
            if len(self.server.writes()) == before:
                return
        raise AssertionError(f"every pass writes: {self.server.writes()[-10:]}")


@pytest.fixture
async def operator(server):
    configuration = Configuration()
    configuration.host = server.url
    configuration.retries = 0
    api = Api(ApiClient(configuration))
    made = Operator(api, server)
    tasks = [asyncio.create_task(made.worker.run()), asyncio.create_task(made.queue.run_due_times())]
    yield made
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await api.close()
    needed = {(each.resource.kind, verb) for each in access.NEEDED for verb in each.verbs}
    assert {(kind, VERBS[method]) for method, kind, _ in server.requests} <= needed


async def test_spec_that_cannot_be_read_is_said_in_the_status_once_and_touches_no_child(server, operator):
    operator.see()
    await server.until(lambda: ("Service", "digits") in server.objects)
    await operator.idle()
    before = {at: copy.deepcopy(each) for at, each in server.objects.items() if at[0] not in (names.KIND, "Event")}
    server.requests.clear()
    operator.see(rollout={"strategy": "Bluegreen"})
    await server.until(lambda: len(server.writes()) == 2)
    await operator.idle()
    assert [each[:2] for each in server.writes()] == [("PATCH", names.KIND), ("POST", "Event")]
    assert {at: each for at, each in server.objects.items() if at[0] not in (names.KIND, "Event")} == before
    status = server.objects[names.KIND, "digits"]["status"]
    stalled = next(each for each in status["conditions"] if each["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "InvalidSpec")
    assert (
        "spec.rollout.strategy: input should be 'BlueGreen', 'Canary' or 'RollingUpdate'; got Bluegreen"
        in stalled["message"]
    )
    assert status["observedGeneration"] == 2


async def test_write_that_the_api_server_refuses_is_said_in_the_status_until_it_is_let_through(server, operator):
    server.refuses.add(("POST", "Service"))
    operator.see()

    def reconciling():
        status = server.objects[names.KIND, "digits"].get("status") or {}
        return next((each for each in status.get("conditions") or () if each["type"] == "Reconciling"), {})

    await server.until(lambda: reconciling().get("reason") == "WriteRefused")
    assert reconciling()["status"] == "True"
    assert "denied by policy 'frozen'" in reconciling()["message"]
    server.refuses.clear()
    await server.until(lambda: ("Service", "digits") in server.objects)
    await server.until(lambda: reconciling()["reason"] != "WriteRefused")


async def test_object_that_is_gone_when_it_is_replaced_is_created_anew_by_the_next_pass(server, operator):
    operator.see()
    await server.until(lambda: any(kind == "Deployment" for kind, _ in server.objects))
    await operator.idle()
    (gone,) = [at for at in server.objects if at[0] == "Deployment"]
    del server.objects[gone]
    server.requests.clear()
    operator.see(runtime={"resources": {"limits": {"cpu": "1"}}})
    await server.until(lambda: gone in server.objects)
    assert [each[:2] for each in server.writes()][:2] == [("PUT", "Deployment"), ("POST", "Deployment")]


async def test_object_that_is_gone_when_it_is_deleted_is_asked_for_no_more(server, operator):
    operator.see()
    await server.until(lambda: any(kind == "Deployment" for kind, _ in server.objects))
    await operator.idle()
    (gone,) = [at for at in server.objects if at[0] == "Deployment"]
    del server.objects[gone]
    operator.see(model={"uri": "s3://models/other.onnx"})
    await server.until(lambda: ("DELETE", *gone) in server.requests)
    server.requests.clear()
    await operator.idle()
    assert ("DELETE", *gone) not in server.requests

"""An odd pod's way from its report to the API server: record, Event, and one deletion of this pod and no namesake.

Worker, queue, cache and executor are real; the API server is a small one, and what pods would report is made up. When a pod is
odd is in tests/unit/reconcile/test_odd_pods.py.
"""

import asyncio
import contextlib

import msgspec
import numpy as np
import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration
from leadline_api import names
from leadline_operator.kube import access
from leadline_operator.kube.api import Api
from leadline_wire import exchange

from tests.wiring.operator.test_working import KEY, VERBS, Operator, Server

QUALITY = {
    "metrics": [{"name": "accuracy", "metric": "accuracy", "margin": "0.02"}],
    "testSet": {"uri": "s3://models/testset.csv", "truth": "digit", "interval": "10s"},
}
DIGEST = "sha256:" + "a" * 64
ROWS = 400


class WithPods(Server):
    """Deletes pods as the API server does: only the one that is meant, which is there until it has drained."""

    def __init__(self):
        super().__init__()
        self.preconditions = []

    async def answer(self, request):
        kind, _, name = request.path.split("/namespaces/ml/")[1].partition("/")
        if (request.method, kind) != ("DELETE", "pods"):
            return await super().answer(request)
        body = await request.json()
        async with self.changed:
            self.requests.append((request.method, "Pod", name))
            self.preconditions.append(body["preconditions"])
            live = self.objects["Pod", name]
            live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            answer = self.store("Pod", name, live)
            self.changed.notify_all()
        return answer


class Pods:
    """Stands for the sounder: what runtimes would have answered by the next look."""

    def __init__(self):
        self.told = {}
        self.odd = ""
        self.wake = lambda: None

    def address(self, _, soundings):
        told = {each.uid: each for each in soundings}
        if told != self.told:
            self.told = told
            self.wake()

    def report(self, uid):
        told = self.told.get(uid)
        if told is None:
            return None
        report = exchange.ExchangeReport(
            nonce="", pod_uid=uid, revision=told.revision, epoch=1, role=told.role, phase="Ready", digest=DIGEST
        )
        if not told.digest or told.test_set is None:
            return report
        run = told.test_set.run
        wrong = 100 if uid == self.odd and ".r" in run else 5
        right = np.packbits(np.arange(ROWS) >= wrong).tobytes()
        test = exchange.TestSetReport(
            run=run, state="Done", digest="sha256:" + "d" * 64, rows=ROWS, right=right, answers=str(wrong)
        )
        return msgspec.structs.replace(report, test_set=test)


def a_pod(revision, number):
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{revision}-6f5b8c",
        "uid": "r",
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{revision}-6f5b8c-{number}",
            "namespace": "ml",
            "uid": f"uid-{number}",
            "labels": {names.DEPLOYMENT_LABEL: "digits", names.REVISION_LABEL: revision},
            "ownerReferences": [owner],
        },
        "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.fixture
async def operator():
    server, pods = WithPods(), Pods()
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", server.answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    configuration.retries = 0
    api = Api(ApiClient(configuration))
    made = Operator(api, server, pods)
    made.pods, pods.wake = pods, lambda: made.queue.add(KEY)
    tasks = [asyncio.create_task(made.worker.run()), asyncio.create_task(made.queue.run_due_times())]
    yield made
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await api.close()
    await runner.cleanup()
    needed = {(each.resource.kind, verb) for each in access.NEEDED for verb in each.verbs}
    assert {(kind, VERBS[method]) for method, kind, _ in server.requests} <= needed


async def test_odd_pod_is_deleted_once_after_its_record_is_written_and_said(operator):
    server = operator.server
    operator.pods.odd = "uid-2"
    operator.see(quality=QUALITY, runtime={"replicas": 3})
    await server.until(lambda: any(kind == "Deployment" for kind, _ in server.objects))
    (revision,) = [name for kind, name in server.objects if kind == "Deployment"]
    for number in range(3):
        pod = a_pod(revision, number)
        server.store("Pod", pod["metadata"]["name"], pod)
        operator.cache.observe("Pod", msgspec.json.decode(msgspec.json.encode(pod)))
    operator.queue.add(KEY)
    gone = ("DELETE", "Pod", f"{revision}-6f5b8c-2")
    await server.until(lambda: gone in server.requests)
    await operator.idle()
    assert [each for each in server.requests if each[1] == "Pod"] == [gone]
    assert server.preconditions == [{"uid": "uid-2"}]
    before = server.requests[: server.requests.index(gone)]
    last_record = max(place for place, each in enumerate(before) if each[:2] == ("PUT", "ControllerRevision"))
    assert ("POST", "Event") in [each[:2] for each in before[last_record:]]
    told = [each for (kind, _), each in server.objects.items() if kind == "Event"]
    assert [each["reason"] for each in told].count("OddPod") == 1
    record = server.objects["ControllerRevision", revision]["metadata"]["annotations"][names.RECORD_ANNOTATION]
    assert '"restarted_pods":[{' in record

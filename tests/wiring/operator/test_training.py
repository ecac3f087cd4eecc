"""Training runs through a worker and the real ledger, which is killed meanwhile; the API server is a small one that keeps objects.

Covered: a Job is posted once, by workers that are killed and by the next; its start and end stand in the ledger's log once each.
Not covered: the Job itself (tests/cluster), and what follows from its product (tests/unit/reconcile).
"""

import asyncio
import contextlib
import copy
import json
from datetime import UTC, datetime

import pytest
from kubernetes.aio.client import ApiClient, Configuration
from leadline_api import names
from leadline_operator.kube.api import Api
from leadline_operator.loop.working import Worker
from leadline_operator.reconcile import records
from leadline_operator.reconcile.observed import Settings
from leadline_operator.soundings.ledger import Ledger
from leadline_operator.soundings.outcomes import Outcomes
from leadline_wire import ledger

from tests.wiring.ledger.parts import OPERATOR, ApiServer, Process
from tests.wiring.operator import test_working
from tests.wiring.operator.test_working import KEY, server  # noqa: F401 - a fixture

NOW = 1_800_000_000.0
ACTION = "retrain@2027-01-15T08:00:00Z"
SPEC = {
    "model": {"uri": "s3://models/good.onnx", "digest": "sha256:" + "a" * 64},
    "outcomes": {"maturity": "0s"},
    "retrain": {"jobTemplate": {"image": "trainer:1"}},
}
PRODUCT = {"uri": "s3://models/new.onnx", "digest": "sha256:" + "b" * 64}


@pytest.fixture
def process(tmp_path):
    reviews, folder = ApiServer(), tmp_path / "volume"
    folder.mkdir()
    made = Process(folder, reviews).start()
    yield made
    made.end()
    reviews.close()


@contextlib.asynccontextmanager
async def an_operator(kept, process, folder):
    """One life of the operator; it knows what the API server holds."""
    configuration = Configuration()
    configuration.host, configuration.retries = kept.url, 0
    api = Api(ApiClient(configuration))
    made = test_working.Operator(api, kept)
    (folder / "token").write_text(OPERATOR)
    client = Ledger(f"http://127.0.0.1:{process.port}", folder / "token")
    outcomes = Outcomes(client, woken=lambda *_: made.queue.add(KEY), now=lambda: NOW)
    parts = {
        "queue": made.queue,
        "cache": made.cache,
        "executor": made.worker._executor,
        "sounder": made.worker._sounder,
    }
    settings = Settings("runtime:1", b"k" * 32, ledger_url="http://ledger:8080")

    def settings_of(_):
        made.looked.set()
        return settings

    made.worker = Worker(**parts, settings_of=settings_of, now=lambda: NOW, outcomes=outcomes)
    for (kind, _), live in list(kept.objects.items()):
        made.cache.observe(kind, copy.deepcopy(live))
    made.queue.add(KEY)
    running = (made.worker.run(), made.queue.run_due_times(), outcomes.run())
    tasks = [asyncio.create_task(each) for each in running]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        await api.close()


def change(kept, made, kind, name, **fields):
    """Change an object as somebody else does, and let the operator see it."""
    live = {**kept.objects[kind, name], **fields}
    kept.store(kind, name, live)
    made.cache.observe(kind, copy.deepcopy(live))
    made.queue.add(KEY)


def phase(kept):
    return ((kept.objects[names.KIND, "digits"].get("status") or {}).get("retrain") or {}).get("phase")


def decided(process):
    return [each.kind for each in process.log() if isinstance(each, ledger.DecisionEntry) and "Retrain" in each.kind]


async def test_run_is_begun_once_and_its_end_is_told_when_the_ledger_is_back(server, process, tmp_path):  # noqa: F811
    async with an_operator(server, process, tmp_path) as first:
        first.see(**SPEC)
        await server.until(lambda: any(kind == "ControllerRevision" for kind, _ in server.objects))
        ((_, revision),) = [at for at in server.objects if at[0] == "ControllerRevision"]
        metadata = copy.deepcopy(server.objects["ControllerRevision", revision]["metadata"])
        serves = records.read(metadata["annotations"][names.RECORD_ANNOTATION]).with_(serving_since=NOW - 60)
        metadata["annotations"][names.RECORD_ANNOTATION] = records.write(serves)
        change(server, first, "ControllerRevision", revision, metadata=metadata)
        asked = {**server.objects[names.KIND, "digits"]["metadata"], "annotations": {names.ACTION_ANNOTATION: ACTION}}
        change(server, first, names.KIND, "digits", metadata=asked)
        await server.until(lambda: any(kind == "Job" for kind, _ in server.objects))
    (job,) = [live for (kind, _), live in server.objects.items() if kind == "Job"]
    stamp = datetime.fromtimestamp(NOW, UTC).isoformat()
    job["metadata"]["creationTimestamp"] = stamp
    process.kill()
    async with an_operator(server, process, tmp_path) as second:
        complete = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": stamp}]}
        ended = {"name": "train", "state": {"terminated": {"exitCode": 0, "message": json.dumps(PRODUCT)}}}
        pod = {"namespace": "ml", "name": "p", "uid": "p", "labels": job["spec"]["template"]["metadata"]["labels"]}
        server.objects["Pod", "p"] = {"metadata": pod, "status": {"containerStatuses": [ended]}}
        server.store("Pod", "p", server.objects["Pod", "p"])
        second.cache.observe("Pod", copy.deepcopy(server.objects["Pod", "p"]))
        change(server, second, "Job", job["metadata"]["name"], status=complete)
        await second.idle()
        assert phase(server) != "Proposed", "nothing is told, and the ledger was not read since the start"
        process.start()
        await server.until(lambda: phase(server) == "Proposed", seconds=40)
        async with asyncio.timeout(40):
            while "RetrainProposed" not in decided(process):
                await asyncio.sleep(0.05)
        await second.idle()
    assert decided(process) == ["RetrainAsked", "RetrainStarted", "RetrainProposed"]
    assert [each[0] for each in server.requests if each[1] == "Job"].count("POST") == 1
    assert server.objects[names.KIND, "digits"]["spec"] == SPEC
    assert server.objects[names.KIND, "digits"]["status"]["handledAction"] == ACTION

"""What is gathered of a ModelDeployment: its own children of every kind, and nobody else's."""

import pytest
from leadline_api import names
from leadline_operator.kube import resources
from leadline_operator.loop import gathering
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.reconcile.observed import Settings, pod_of

KEY = Key("ml", "digits")
SETTINGS = Settings("runtime:1", b"k" * 32)


def an_object(kind, name, *, owner="uid-1"):
    owners = [{"kind": names.KIND, "name": "digits", "uid": owner, "controller": True}]
    labels = {names.DEPLOYMENT_LABEL: "digits"}
    metadata = {"namespace": "ml", "name": name, "resourceVersion": "1", "labels": labels, "ownerReferences": owners}
    return {"kind": kind, "metadata": metadata}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Deployment", "deployments"),
        ("Service", "services"),
        ("HorizontalPodAutoscaler", "autoscalers"),
        ("PodDisruptionBudget", "disruption_budgets"),
        ("Job", "jobs"),
    ],
)
def test_children_of_a_kind_are_those_that_it_owns(kind, field):
    assert resources.BY_KIND[kind] in resources.WATCHED
    cache = Cache()
    live = {
        "metadata": {
            "namespace": "ml",
            "name": "digits",
            "uid": "uid-1",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"model": {"uri": "s3://models/good.onnx"}},
    }
    cache.observe(names.KIND, live)
    cache.observe(kind, an_object(kind, "mine"))
    cache.observe(kind, an_object(kind, "namesakes", owner="uid-0"))
    found = gathering.observed(cache, KEY, settings=SETTINGS, report_of=lambda _: None, conflicts=())
    assert list(getattr(found, field)) == ["mine"]


def test_pod_of_a_training_run_is_no_pod_of_a_revision():
    cache = Cache()
    metadata = {"namespace": "ml", "name": "digits", "uid": "uid-1", "resourceVersion": "1"}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    cache.observe(names.KIND, {"metadata": metadata, "spec": {"model": {"uri": "s3://models/good.onnx"}}})
    for name, more in (("serves", {names.REVISION_LABEL: "digits-1"}), ("trains", {names.RETRAIN_LABEL: "1f02ab9e4"})):
        pod = an_object("Pod", name)
        pod["metadata"]["labels"] |= more
        pod["metadata"]["uid"] = name
        cache.observe("Pod", pod)
    found = gathering.observed(cache, KEY, settings=SETTINGS, report_of=lambda _: None, conflicts=())
    assert [pod.name for pod in found.pods] == ["serves"]
    assert [pod["metadata"]["name"] for pod in found.trainers] == ["trains"]


@pytest.mark.parametrize(
    ("owner", "controller"),
    [
        ({"kind": "ReplicaSet", "name": "digits-1-6f5b8c", "controller": True}, "digits-1-6f5b8c"),
        ({"kind": "ReplicaSet", "name": "digits-1-6f5b8c"}, ""),
        ({"kind": "Job", "name": "digits-1-6f5b8c", "controller": True}, ""),
        (None, ""),
    ],
    ids=["of a ReplicaSet", "not controlled by it", "of another kind", "of nobody"],
)
def test_pod_is_brought_back_only_by_the_replica_set_that_controls_it(owner, controller):
    live = {"metadata": {"name": "digits-1-6f5b8c-x", "uid": "u", "ownerReferences": [owner] if owner else None}}
    assert pod_of(live, None).controller == controller

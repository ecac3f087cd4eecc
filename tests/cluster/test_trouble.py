"""Trouble around a revision on a real cluster: named, waited for, and never held against the model.

Trouble in requests, models and test sets themselves is tested on the real runtime in tests/wiring/runtime; specs that the
API server refuses are in test_invalid_specs.
"""

import pytest

from tests.cluster import limits
from tests.cluster.support import STORE_NAMESPACE, condition, is_up_to_date
from tests.cluster.test_main_job import QUALITY

SOON = {"progressDeadline": "3s"}


def test_missing_model_is_named_and_served_once_it_is_there(place, store, digits, a_row):
    place.apply(place.model_deployment(model="late", rollout=SOON))
    message = place.until_condition("Stalled", "True", "ModelNotFound", within=limits.MESSAGE)
    assert "s3://models/late.onnx" in message
    assert condition(place.status(), "Ready")[:2] == ("False", "NoRevisionServes")
    store.put({"late.onnx": digits.files["good.onnx"]})
    place.until(is_up_to_date, within=limits.ROLLOUT)
    assert place.predict(a_row)[0] == 200


def test_store_that_is_down_stops_nothing_that_serves_and_comes_back(place, store, digits, a_row):
    place.apply(place.model_deployment())
    place.until(is_up_to_date, within=limits.ROLLOUT)
    kubectl = place.cluster.kubectl
    kubectl("scale", "deploy/store", "-n", STORE_NAMESPACE, "--replicas=0")
    kubectl("wait", "pod", "-l", "app=store", "-n", STORE_NAMESPACE, "--for=delete", "--timeout=60s")
    try:
        place.apply(place.model_deployment(model="successor", rollout=SOON))
        place.until_condition("Stalled", "True", "ModelStoreUnreachable", within=limits.MESSAGE)
        assert place.predict(a_row)[0] == 200
        assert place.status().get("rejected", []) == []
    finally:
        kubectl("scale", "deploy/store", "-n", STORE_NAMESPACE, "--replicas=1")
        kubectl("rollout", "status", "deploy/store", "-n", STORE_NAMESPACE, "--timeout=120s")
        store.put(digits.files)
    place.until(is_up_to_date, within=limits.ROLLOUT)


def test_wrong_digest_is_refused_and_nothing_is_served(place):
    model = {"uri": "s3://models/good.onnx", "digest": "sha256:" + "0" * 64}
    place.apply(place.model_deployment(model=model))
    message = place.until_condition("Stalled", "True", "DigestMismatch", within=limits.ROLLOUT)
    assert "sha256:000000" in message
    assert place.status().get("traffic", []) == []


def test_file_that_is_no_model_is_refused(place, store):
    store.put({"text.onnx": b"this is no model"})
    place.apply(place.model_deployment(model="text"))
    message = place.until_condition("Stalled", "True", "InvalidModel", within=limits.ROLLOUT)
    assert "ONNX" in message


def test_test_set_without_the_truth_column_is_named_and_admits_nothing(place):
    quality = {**QUALITY, "testSet": {**QUALITY["testSet"], "truth": "label"}}
    place.apply(place.model_deployment(quality=quality, rollout=SOON))
    message = place.until_condition("Stalled", "True", "InvalidTestSet", within=limits.ROLLOUT)
    assert "label" in message
    assert "digit" in message
    assert place.status().get("rejected", []) == []


def test_quota_that_forbids_the_pods_is_named_and_lifted(place):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    place.apply(quota)
    place.apply(place.model_deployment(rollout=SOON))
    message = place.until_condition("Stalled", "True", "QuotaExceeded", within=limits.MESSAGE)
    assert "exceeded quota" in message
    place.cluster.kubectl("delete", "quota/none", "-n", place.namespace)
    place.until(is_up_to_date, within=limits.ROLLOUT * 2)


@pytest.mark.parametrize("kind", ["service"])
def test_object_of_somebody_else_is_left_alone(place, kind):
    kubectl = place.cluster.kubectl
    kubectl("create", kind, "clusterip", "digits", "--tcp=80", "-n", place.namespace)
    before = place.cluster.get("svc/digits", place.namespace)
    place.apply(place.model_deployment())
    message = place.until_condition("Stalled", "True", "NameConflict", within=limits.MESSAGE)
    assert "Service digits" in message
    after = place.cluster.get("svc/digits", place.namespace)
    assert before == after
    kubectl("delete", "svc/digits", "-n", place.namespace)
    place.until(is_up_to_date, within=limits.ROLLOUT)

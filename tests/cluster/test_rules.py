"""What holds whatever happens, on a real cluster: children come back, status comes back, steady state writes nothing,
and the operator's end at any moment changes no end state.
"""

import json
import re
import time

import pytest
from leadline_api import names

from tests.cluster import limits
from tests.cluster.conftest import SYSTEM, helm, helm_install, operator_pod
from tests.cluster.support import Place, condition, is_up_to_date, wait
from tests.cluster.test_main_job import QUALITY, versions_seen

WRITTEN_RESOURCES = (
    "modeldeployments",
    "controllerrevisions",
    "deployments",
    "services",
    "horizontalpodautoscalers",
    "poddisruptionbudgets",
    "secrets",
    "configmaps",
    "events",
)
QUIET_SECONDS = 5.0
STEADY_SECONDS = 20.0
"""Ten intervals of the test set."""


def kill_operator(place: Place) -> None:
    """Kill the operator without a chance to say anything, and wait for its successor."""
    pod = operator_pod(place.cluster)["metadata"]["name"]
    place.cluster.kubectl("delete", "pod", pod, "-n", SYSTEM, "--grace-period=0", "--force")
    operator_pod(place.cluster)


def test_children_that_were_changed_by_hand_come_back(place, a_row):
    place.apply(place.model_deployment())
    revision = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    deployment = place.cluster.get(f"deploy/{revision}", place.namespace)["spec"]
    service = place.cluster.get("svc/digits", place.namespace)["spec"]
    sidecar = {"name": "extra", "image": "none:1", "securityContext": {"allowPrivilegeEscalation": False}}
    patch = [
        {"op": "add", "path": "/spec/template/spec/containers/-", "value": sidecar},
        {"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "EXTRA", "value": "1"}},
    ]
    kubectl = place.cluster.kubectl
    kubectl("patch", f"deploy/{revision}", "-n", place.namespace, "--type=json", "-p", json.dumps(patch))
    kubectl(
        "patch",
        "svc/digits",
        "-n",
        place.namespace,
        "-p",
        json.dumps({"spec": {"selector": {names.REVISION_LABEL: "mine"}}}),
    )
    kubectl("delete", f"svc/{revision}", "-n", place.namespace)

    def is_back(_: object) -> bool:
        now = place.cluster.get(f"deploy/{revision}", place.namespace)["spec"]
        return (
            now == deployment
            and place.cluster.get("svc/digits", place.namespace)["spec"] == service
            and place.cluster.get(f"svc/{revision}", place.namespace) is not None
        )

    wait(lambda: None, is_back, within=limits.PUT_BACK, explain=place.explain)
    # The node's rules follow the selector a moment later.
    wait(lambda: place.predict(a_row)[0], lambda code: code == 200, within=limits.PUT_BACK, explain=place.explain)


def test_status_that_was_wiped_comes_back(place):
    place.apply(place.model_deployment(quality=QUALITY))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    before = place.until(lambda each: condition(each, "QualityOK")[0] == "True", within=limits.VERDICT)
    place.cluster.kubectl(
        "patch", "mdep/digits", "-n", place.namespace, "--subresource=status", "--type=json",
        "-p", json.dumps([{"op": "replace", "path": "/status", "value": {"observedGeneration": -1}}]),
    )  # fmt: skip
    after = place.until(lambda each: bool(each.get("conditions")), within=limits.PUT_BACK)
    for status in (before, after):
        for each in status["conditions"]:
            each.pop("lastTransitionTime")
    assert after == before


def test_steady_state_writes_nothing_but_the_lease(place):
    place.apply(place.model_deployment(quality=QUALITY))
    place.until(lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT)
    wait(lambda: others(place), lambda names_: not names_, within=limits.ROLLOUT, explain=place.explain)
    settled = wait_until_quiet(place)
    time.sleep(STEADY_SECONDS)
    assert changed(settled, writes(place)) == {}


def others(place: Place) -> list[str]:
    """Return the namespaces of earlier tests that are still on their way out: their end is written, too."""
    items = place.cluster.get("namespaces", "default")["items"]
    return [each["metadata"]["name"] for each in items if each["status"]["phase"] == "Terminating"]


def wait_until_quiet(place: Place) -> dict[str, int]:
    """Wait until nothing was written for some seconds, and return the counts."""
    seen = [(time.monotonic(), writes(place))]

    def look() -> float:
        now = writes(place)
        if now != seen[-1][1]:
            seen.append((time.monotonic(), now))
        return time.monotonic() - seen[-1][0]

    wait(look, lambda quiet: quiet > QUIET_SECONDS, within=limits.VERDICT, explain=place.explain)
    return seen[-1][1]


def writes(place: Place) -> dict[str, int]:
    """Count the API server's write requests by resource, whoever made them; kubelet and controllers write others."""
    counted: dict[str, int] = {}
    for line in place.cluster.kubectl("get", "--raw", "/metrics").stdout.splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if (
                labels["verb"] in ("POST", "PUT", "PATCH", "APPLY", "DELETE")
                and labels["resource"] in WRITTEN_RESOURCES
            ):
                key = f"{labels['verb']} {labels['resource']}/{labels['subresource']} {labels['code']}"
                counted[key] = counted.get(key, 0) + int(float(line.rsplit(" ", 1)[1]))
    return counted


def changed(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}


def test_operator_that_is_replaced_restarts_no_model_pod_and_writes_nothing_new(place):
    place.apply(place.model_deployment(quality=QUALITY))
    status = place.until(
        lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT
    )
    before = [(each["metadata"]["uid"], restarts(each)) for each in place.pods(status["servingRevision"])]
    kill_operator(place)
    place.cluster.kubectl("annotate", "mdep/digits", "-n", place.namespace, "test=1")
    place.cluster.kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=2")
    place.until(lambda each: each["replicas"] == 2, within=limits.ROLLOUT)
    after = [(each["metadata"]["uid"], restarts(each)) for each in place.pods(status["servingRevision"])]
    assert set(before) <= set(after)


def test_uninstalled_chart_leaves_the_crd_and_the_models_serving(place, a_row):
    place.apply(place.model_deployment(quality=QUALITY))
    before = place.until(is_up_to_date, within=limits.ROLLOUT)
    pods = {each["metadata"]["uid"] for each in place.pods(before["servingRevision"])}
    helm(place.cluster, "uninstall", "leadline", "--wait", "--timeout", "120s")
    try:
        assert place.cluster.get("deploy", SYSTEM)["items"] == []
        assert place.cluster.kubectl("get", "crd", "modeldeployments.leadline.dev", "-o", "name").stdout.strip()
        assert place.predict(a_row)[0] == 200
    finally:
        helm_install(place.cluster)
    operator_pod(place.cluster)
    place.cluster.kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=2")
    after = place.until(lambda each: each["replicas"] == 2 and is_up_to_date(each), within=limits.ROLLOUT)
    assert after["servingRevision"] == before["servingRevision"]
    assert pods <= {each["metadata"]["uid"] for each in place.pods(after["servingRevision"])}


def restarts(pod: dict) -> int:
    return sum(each["restartCount"] for each in pod["status"]["containerStatuses"])


@pytest.mark.parametrize("phase", ["Fetching", "Starting", "Testing", "Serving"])
def test_operator_that_is_killed_in_a_phase_ends_in_the_same_state(place, store, digits, a_row, phase):
    """Each phase is held by something missing, so that the kill surely falls into it."""
    quality = {**QUALITY, "testSet": {**QUALITY["testSet"], "uri": f"s3://models/{place.namespace}.parquet"}}
    rollout = {"strategy": "RollingUpdate"} if phase == "Serving" else {}
    store.put({f"{place.namespace}.parquet": digits.files["testset.parquet"]})
    wanted = {"quality": quality, "rollout": rollout, "runtime": {"replicas": 2}}
    place.apply(place.model_deployment(**wanted))
    good = place.until(
        lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT
    )["servingRevision"]
    model, release = "worse", None
    if phase == "Fetching":
        model, release = place.namespace, lambda: store.put({f"{place.namespace}.onnx": digits.files["worse.onnx"]})
    elif phase == "Starting":
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "some"},
            "spec": {"hard": {"pods": "3"}},
        }
        place.apply(quota)
        release = lambda: place.cluster.kubectl("delete", "quota/some", "-n", place.namespace)  # noqa: E731
    elif phase == "Testing":
        quality["testSet"]["uri"] = f"s3://models/{place.namespace}-2.parquet"
        release = lambda: store.put({f"{place.namespace}-2.parquet": digits.files["testset.parquet"]})  # noqa: E731
    place.apply(place.model_deployment(model=model, **wanted))
    if phase == "Serving":
        place.until(lambda each: each["servingRevision"] == each["desiredRevision"], within=limits.ROLLOUT)
    else:
        place.until(lambda each: condition(each, "Reconciling")[1] == phase, within=limits.ROLLOUT)
    kill_operator(place)
    if release is not None:
        release()
    reason = "RolledBack" if phase == "Serving" else "TestDegraded"
    place.until_condition("Stalled", "True", reason, within=limits.ROLLOUT * 2)
    assert place.status()["servingRevision"] == good
    assert versions_seen(place, a_row) == {good}


def test_operator_that_is_killed_while_the_service_moves_ends_in_the_same_state(place, a_row):
    """An admission policy holds the switch between its two writes: the records say who serves, the Service does not yet."""
    wanted = {"quality": QUALITY, "runtime": {"replicas": 2}}
    place.apply(place.model_deployment(**wanted))
    good = place.until(
        lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT
    )["servingRevision"]
    policy = f"hold-{place.namespace}"
    place.cluster.apply(json.dumps(_holding_policy(policy, place.namespace)), place.namespace)
    try:
        place.apply(place.model_deployment(model="successor", **wanted))
        said = place.until_condition("Reconciling", "True", "WriteRefused", within=limits.ROLLOUT)
        assert "the switch is held" in said
        successor = place.status()["desiredRevision"]
        assert place.status()["servingRevision"] == successor != good, "the record is written first"
        assert versions_seen(place, a_row) == {good}, "and the Service is where it was"
        kill_operator(place)
        place.until_condition("Reconciling", "True", "WriteRefused", within=limits.ROLLOUT)
    finally:
        place.cluster.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", policy)
    status = place.until(
        lambda each: is_up_to_date(each) and condition(each, "Reconciling")[0] == "False", within=limits.ROLLOUT
    )
    assert (status["servingRevision"], status["lastGoodRevision"]) == (successor, good)
    assert versions_seen(place, a_row) == {successor}


def _holding_policy(name: str, namespace: str) -> dict:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"]}
    chosen = {
        "resourceRules": [{**rule, "resourceNames": ["digits"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": chosen,
            "validations": [{"expression": "false", "message": "the switch is held"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}

"""How many pods there are, what each is given, and who may take them away, on a real cluster.

No metrics-server is there: an autoscaler keeps to its limits, and changes nothing between them by itself.
"""

import json
import time
from typing import Any

from leadline_api import names

from tests.cluster import limits
from tests.cluster.support import Place, condition, is_up_to_date, wait
from tests.cluster.test_main_job import QUALITY, versions_seen
from tests.cluster.test_rules import STEADY_SECONDS, changed, kill_operator, others, wait_until_quiet, writes

AUTOSCALING: dict[str, Any] = {
    "autoscaling": {"minReplicas": 1, "maxReplicas": 3},
    "resources": {"requests": {"cpu": "50m"}},
}
READ = "import sys; sys.stdout.write(open('/etc/place/region').read())"
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
PLACE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "place"}, "data": {"region": "here"}}
OS = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
NEAR_ITSELF = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "digits"}},
}
POD_TEMPLATE: dict[str, Any] = {
    "labels": {"team": "vision"},
    "annotations": {"example.com/owner": "vision"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "gone", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [OS]}]},
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]}}
            ],
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": NEAR_ITSELF}]
        },
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "serviceAccountName": "reader",
    "imagePullSecrets": [{"name": "store"}],
    "terminationGracePeriodSeconds": 60,
    "volumes": [
        {"name": "place", "configMap": {"name": "place"}},
        {"name": "keys", "secret": {"secretName": "store", "optional": True}},
        {"name": "cache", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "scratch", "emptyDir": {}},
    ],
    "volumeMounts": [
        {"name": "place", "mountPath": "/etc/place", "readOnly": True},
        {"name": "keys", "mountPath": "/etc/keys/region", "subPath": "AWS_REGION"},
        {"name": "cache", "mountPath": "/cache"},
    ],
    "env": [
        {"name": "EXTRA", "value": "1"},
        {"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "place", "key": "region"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "store", "key": "AWS_REGION", "optional": True}}},
        {"name": "LEADLINE_LOG_LEVEL", "value": "debug"},
    ],
}


def live(place: Place, what: str) -> dict[str, Any]:
    """Return an object's spec; empty: there is none."""
    found = place.cluster.get(what, place.namespace)
    spec: dict[str, Any] = found["spec"] if found else {}
    return spec


def of_ours(counted: dict[str, int]) -> dict[str, int]:
    """Leave out what controllers of Kubernetes write: an autoscaler without metrics says so every 15 s."""
    foreign = ("events/", "horizontalpodautoscalers/status", "poddisruptionbudgets/status", "deployments/status")
    return {key: count for key, count in counted.items() if not key.split()[1].startswith(foreign)}


def test_pod_template_reaches_the_pods_and_with_an_autoscaler_the_steady_state_writes_nothing(place, a_row):
    place.apply(ACCOUNT)
    place.apply(PLACE)
    place.apply(place.model_deployment(quality=QUALITY, runtime={**AUTOSCALING, "podTemplate": POD_TEMPLATE}))
    revision = place.until(
        lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT
    )["servingRevision"]
    assert place.predict(a_row)[0] == 200
    (pod,) = place.pods(revision)
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert pod["metadata"]["annotations"]["example.com/owner"] == "vision"
    spec = pod["spec"]
    assert (spec["serviceAccountName"], spec["terminationGracePeriodSeconds"]) == ("reader", 60)
    assert spec["affinity"] == POD_TEMPLATE["affinity"]
    assert spec["tolerations"][:2] == POD_TEMPLATE["tolerations"]
    selected = {names.DEPLOYMENT_LABEL: "digits", names.REVISION_LABEL: revision}
    assert spec["topologySpreadConstraints"][0]["labelSelector"] == {"matchLabels": selected}
    assert [each for each in spec["containers"][0]["env"] if each in POD_TEMPLATE["env"]] == POD_TEMPLATE["env"]
    inside = ("exec", "-n", place.namespace, pod["metadata"]["name"], "--")
    assert place.cluster.kubectl(*inside, "python3", "-c", READ).stdout == "here"
    assert live(place, "hpa/digits")["scaleTargetRef"]["name"] == revision
    assert live(place, f"pdb/{revision}")["maxUnavailable"] == 1

    def is_heard(status: dict[str, Any]) -> bool:
        return "the autoscaler does not scale: FailedGetResourceMetric" in condition(status, "Ready")[2]

    place.until(is_heard, within=limits.VERDICT)
    before = writes(place)
    kill_operator(place)

    def is_looked_at(counted: dict[str, int]) -> bool:
        """Tell whether the successor has posted what pods read, which it cannot know to be there."""
        return {"POST configmaps/ 409", "POST secrets/ 409"} <= changed(before, counted).keys()

    wait(lambda: writes(place), is_looked_at, within=limits.ROLLOUT, explain=place.explain)
    wait(lambda: others(place), lambda names_: not names_, within=limits.ROLLOUT, explain=place.explain)
    settled = of_ours(wait_until_quiet(place))
    generation = place.cluster.get(f"deploy/{revision}", place.namespace)["metadata"]["generation"]
    time.sleep(STEADY_SECONDS)
    assert changed(settled, of_ours(writes(place))) == {}
    assert place.cluster.get(f"deploy/{revision}", place.namespace)["metadata"]["generation"] == generation


def test_pods_of_the_scaled_deployment_are_the_autoscalers_and_a_candidate_takes_them_over(place, a_row):
    kubectl = place.cluster.kubectl
    place.apply(place.model_deployment(runtime=AUTOSCALING))
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    kubectl("scale", f"deploy/{good}", "-n", place.namespace, "--replicas=2")
    place.until(lambda each: each["replicas"] == 2, within=limits.ROLLOUT)
    extra = [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "EXTRA", "value": "1"}}]
    kubectl("patch", f"deploy/{good}", "-n", place.namespace, "--type=json", "-p", json.dumps(extra))

    def is_put_back(spec: dict[str, Any]) -> bool:
        return all(each["name"] != "EXTRA" for each in spec["template"]["spec"]["containers"][0]["env"])

    spec = wait(lambda: live(place, f"deploy/{good}"), is_put_back, within=limits.PUT_BACK, explain=place.explain)
    assert spec["replicas"] == 2

    place.apply(place.model_deployment(model="successor", runtime=AUTOSCALING))
    after = place.until(is_up_to_date, within=limits.ROLLOUT)
    successor = after["servingRevision"]
    assert (after["replicas"], len(place.pods(successor))) == (2, 2)
    assert versions_seen(place, a_row) == {successor}
    assert live(place, "hpa/digits")["scaleTargetRef"]["name"] == successor
    assert {each["metadata"]["name"] for each in place.cluster.get("pdb", place.namespace)["items"]} == {
        good,
        successor,
    }

    kubectl("scale", f"deploy/{successor}", "-n", place.namespace, "--replicas=3")
    followed = wait(
        lambda: live(place, f"deploy/{good}"),
        lambda spec: spec["replicas"] == 3,
        within=limits.PUT_BACK,
        explain=place.explain,
    )
    assert followed["replicas"] == live(place, f"deploy/{successor}")["replicas"]


def test_scaling_by_hand_is_refused_beside_an_autoscaler_and_the_number_passes_over_to_it(place):
    kubectl = place.cluster.kubectl
    place.apply(place.model_deployment(runtime={"replicas": 2}))
    revision = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    assert live(place, "hpa/digits") == {}
    place.apply(place.model_deployment(runtime=AUTOSCALING))
    aimed = wait(lambda: live(place, "hpa/digits"), bool, within=limits.PUT_BACK, explain=place.explain)
    assert aimed["scaleTargetRef"]["name"] == revision
    refused = kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=3", check=False)
    assert refused.returncode != 0
    assert "spec.runtime.autoscaling needs spec.runtime.replicas to be left out" in refused.stderr
    place.until(is_up_to_date, within=limits.ROLLOUT)
    assert live(place, f"deploy/{revision}")["replicas"] == 2
    place.apply(place.model_deployment(runtime={"replicas": 1}))
    wait(
        lambda: (live(place, "hpa/digits"), live(place, f"deploy/{revision}")["replicas"]),
        lambda seen: seen == ({}, 1),
        within=limits.PUT_BACK,
        explain=place.explain,
    )


def test_evictions_take_one_pod_at_a_time(place):
    place.apply(place.model_deployment(runtime={"replicas": 2}))
    revision = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    wait(
        lambda: place.cluster.get(f"pdb/{revision}", place.namespace)["status"],
        lambda status: (status.get("currentHealthy"), status.get("disruptionsAllowed")) == (2, 1),
        within=limits.PUT_BACK,
        explain=place.explain,
    )
    first, second = (each["metadata"]["name"] for each in place.pods(revision))
    assert _evict(place, first).returncode == 0
    held = _evict(place, second)
    assert held.returncode != 0
    assert "disruption budget" in held.stderr
    wait(
        lambda: [each for each in place.pods(revision) if not each["metadata"].get("deletionTimestamp")],
        lambda pods: len(pods) == 2 and first not in {each["metadata"]["name"] for each in pods},
        within=limits.POD_START,
        explain=place.explain,
    )


def test_a_single_pod_can_be_evicted(place):
    place.apply(place.model_deployment())
    revision = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    wait(
        lambda: place.cluster.get(f"pdb/{revision}", place.namespace)["status"],
        lambda status: status.get("disruptionsAllowed") == 1,
        within=limits.PUT_BACK,
        explain=place.explain,
    )
    (pod,) = place.pods(revision)
    assert _evict(place, pod["metadata"]["name"]).returncode == 0
    place.until(
        lambda each: is_up_to_date(each) and pod["metadata"]["uid"] not in _ready(place, revision),
        within=limits.ROLLOUT,
    )


def _ready(place: Place, revision: str) -> set[str]:
    """Return the uids of a revision's pods that are not on their way out."""
    return {each["metadata"]["uid"] for each in place.pods(revision) if not each["metadata"].get("deletionTimestamp")}


def _evict(place: Place, pod: str) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": place.namespace}}
    path = f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction"
    return place.cluster.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body), check=False)

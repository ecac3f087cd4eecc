"""What the models of a spec accept, refuse and fill in. The API server's side of the same rules: tests/cluster."""

import pytest
from leadline_api import names, pod_template, spec
from pydantic import ValidationError

MINIMAL = {"model": {"uri": "s3://models/digits/model.onnx"}}
TEST_SET = {"uri": "s3://models/digits/testset.parquet", "truth": "digit"}


def parsed(**parts):
    return spec.ModelDeploymentSpec.model_validate({**MINIMAL, **parts})


def metric(**fields):
    return {"testSet": TEST_SET, "metrics": [{"name": "accuracy", "metric": "accuracy", **fields}]}


REQUESTS = {"resources": {"requests": {"cpu": "500m"}}}
MEMORY_SHARE = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}},
}


KEY = {"secretKeyRef": {"name": "hub", "key": "token"}}


def mounted(path):
    return {"volumes": [{"name": "a", "emptyDir": {}}], "volumeMounts": [{"name": "a", "mountPath": path}]}


def memory(**target):
    return {"type": "Resource", "resource": {"name": "memory", "target": target}}


def scaled(*metrics, **runtime):
    return {**runtime, "autoscaling": {"maxReplicas": 3, "metrics": list(metrics)}}


def test_spec_needs_nothing_but_a_uri():
    found = parsed()
    assert (found.runtime.replicas, found.rollout.strategy, found.quality.metrics) == (1, "BlueGreen", [])


def test_spec_tolerates_a_field_of_a_newer_crd():
    assert parsed(rollout={"strategy": "BlueGreen", "newer": [{"weight": 10}]}).rollout.strategy == "BlueGreen"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": {"uri": "ftp://models/x"}}, r"must begin with file://, pvc://, http://, .*; got ftp://"),
        ({"model": {"uri": "s3://a b"}}, "hold no blanks; got s3://a b"),
        ({"model": {**MINIMAL["model"], "digest": "sha256:F00"}}, "the 64 lower-case hexadecimal digits .*; got"),
        ({"model": {**MINIMAL["model"], "credentials": {"secretName": "S3"}}}, "the name of a Secret .*; got S3"),
        ({"quality": metric(margin="-1")}, 'a number from 0 to 1 in quotes, such as "0.02": .*; got -1'),
        ({"quality": metric(margin=".02")}, "a number from 0 to 1 in quotes"),
        ({"quality": metric(margin="1.5")}, "a number from 0 to 1 in quotes"),
        ({"quality": metric(floor="2")}, "above 0 and at most 0.9999 in quotes, .*; leave it out for no floor; got 2"),
        ({"quality": metric(floor="0")}, "above 0 and at most 0.9999"),
        ({"quality": metric(floor="1.0")}, "above 0 and at most 0.9999"),
        ({"quality": metric(name="Accuracy!")}, "only a-z, 0-9 and -"),
        ({"quality": {"falseRollbackProbability": "0"}}, "above 0 and at most 0.5"),
        ({"quality": {"falseRollbackProbability": "0.6"}}, "above 0 and at most 0.5"),
        ({"quality": {**metric(), "testSet": None}}, "spec.quality.metrics needs spec.quality.testSet"),
        ({"quality": {"testSet": TEST_SET}}, "spec.quality.testSet needs spec.quality.metrics"),
        ({"quality": {**metric(), "testSet": {**TEST_SET, "interval": "0s"}}}, "must be from 1s to 3650d"),
        ({"rollout": {"progressDeadline": "500ms"}}, "must be from 1s to 3650d"),
        ({"rollout": {"progressDeadline": "soon"}}, "expected a duration such as 90s"),
        ({"rollout": {"lastGood": {"for": "-1h"}}}, "must be from 0s to 3650d"),
        ({"rollout": {"lastGood": {"replicas": "half"}}}, "must be Same, a percentage .*; got half"),
        ({"rollout": {"lastGood": {"replicas": 1001}}}, "a number of pods from 0 to 1000; got 1001"),
        (
            {"runtime": {"resources": {"limits": {"cpu": "lots"}}}},
            "must be a quantity such as 500m, 2 or 1Gi; got lots",
        ),
        ({"runtime": {"resources": {"limits": {"cpu": -1}}}}, "must be a quantity"),
        (
            {"runtime": {**REQUESTS, "replicas": 2, "autoscaling": {"maxReplicas": 3}}},
            "replicas to be left out: the load",
        ),
        (
            {"runtime": {**REQUESTS, "replicas": 0, "autoscaling": {"maxReplicas": 3}}},
            "replicas to be left out: the load",
        ),
        (
            {"runtime": {**REQUESTS, "autoscaling": {"minReplicas": 3, "maxReplicas": 2}}},
            "must be at least minReplicas",
        ),
        ({"runtime": {"autoscaling": {"maxReplicas": 3}}}, "by Utilization .* needs spec.runtime.resources.requests"),
        ({"runtime": scaled(MEMORY_SHARE, **REQUESTS)}, "by Utilization .* needs spec.runtime.resources.requests"),
        ({"runtime": scaled({"type": "Resource"})}, "type: Resource needs resource, type: Pods needs pods"),
        ({"runtime": scaled({**MEMORY_SHARE, "type": "Pods"})}, "type: Resource needs resource, type: Pods needs pods"),
        ({"runtime": scaled(memory(type="Utilization"))}, "type: Utilization needs averageUtilization"),
        ({"runtime": scaled(memory(type="Utilization", averageValue=1))}, "type: Utilization needs averageUtilization"),
        ({"runtime": scaled(memory(type="AverageValue", averageValue="0"))}, "a quantity above 0, .*; got 0"),
        ({"runtime": scaled(memory(type="AverageValue", averageValue="-1"))}, "a quantity above 0, .*; got -1"),
    ],
)
def test_spec_refuses_with_words_when_a_value_makes_no_sense(parts, message):
    with pytest.raises(ValidationError, match=message):
        parsed(**parts)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"labels": {"leadline.dev/revision": "x"}}, "must be labels of your own: leadline.dev/..."),
        ({"labels": {"app.kubernetes.io/instance": "x"}}, "must be labels of your own"),
        ({"labels": {"pod-template-hash": "x"}}, "must be labels of your own"),
        ({"labels": {"team": "-"}}, "must be the value of a label"),
        ({"annotations": {"leadline.dev/digest": "x"}}, "must be annotations of your own"),
        ({"nodeSelector": {"zone": "a b"}}, "must be the value of a label: .*; got a b"),
        ({"serviceAccountName": "Reader"}, "name of a ServiceAccount in the same namespace"),
        ({"priorityClassName": "Top"}, "name of a PriorityClass: a-z"),
        ({"terminationGracePeriodSeconds": 10}, "greater than or equal to 35"),
        ({"env": [{"name": "LEADLINE_MODEL_URI", "value": "x"}]}, "a variable of your own, .*; got LEADLINE_MODEL_URI"),
        ({"env": [{"name": "LEADLINE_DRAIN_SECONDS", "value": "1"}]}, "a variable of your own"),
        ({"env": [{"name": "TMPDIR", "value": "/tmp"}]}, "a variable of your own"),
        ({"env": [{"name": "A-B", "value": "x"}]}, "the name of a variable: letters, digits and _"),
        ({"env": [{"name": "A"}]}, "a variable needs either value or valueFrom"),
        ({"env": [{"name": "A", "value": "1", "valueFrom": KEY}]}, "a variable needs either value or valueFrom"),
        (mounted("/etc/leadline"), "must be a place outside of /etc/leadline, .*; got /etc/leadline"),
        (mounted("/var/lib/leadline/model"), "must be a place outside of"),
        (mounted("/var/run/secrets/x"), "must be a place outside of"),
        (mounted("/etc/x/../leadline"), "and without .."),
        (mounted("etc"), "must be an absolute path without a colon"),
        ({"volumeMounts": [{"name": "a", "mountPath": "/a"}]}, "volumeMounts needs a volume of its name"),
        ({"volumes": [{"name": "a"}]}, "a volume needs one of configMap, secret, emptyDir and persistentVolumeClaim"),
        ({"volumes": [{"name": "a", "emptyDir": {}, "secret": {"secretName": "a"}}]}, "a volume needs one of"),
        ({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "much"}}]}, "must be a quantity such as 500Mi"),
        ({"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}, "a volume needs one of"),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "valueFrom needs either secretKeyRef or configMapKeyRef"),
    ],
)
def test_pod_template_refuses_what_is_ours_and_what_makes_no_sense(template, message):
    with pytest.raises(ValidationError, match=message):
        parsed(runtime={"podTemplate": template})


def test_pod_template_takes_places_beside_ours():
    for path in ("/etc/leadline-own", "/cache", "/home/user/.cache"):
        assert parsed(runtime={"podTemplate": mounted(path)})


def test_pod_template_takes_settings_of_the_runtime_that_are_the_users():
    for name in pod_template.SETTINGS:
        assert parsed(runtime={"podTemplate": {"env": [{"name": name, "value": "1"}]}})


@pytest.mark.parametrize("quantity", ["500m", "2", 2, "1Gi", "1.5", "1e3", "0", ".5", "100k"])
def test_resources_accept_the_quantities_of_kubernetes(quantity):
    found = parsed(runtime={"resources": {"requests": {"cpu": quantity}}})
    assert found.runtime.resources.requests["cpu"] == quantity


@pytest.mark.parametrize(
    "runtime",
    [
        {**REQUESTS, "autoscaling": {"maxReplicas": 3}},
        {**REQUESTS, "replicas": 1, "autoscaling": {"maxReplicas": 3}},
        {"resources": {"limits": {"cpu": 1}}, "autoscaling": {"maxReplicas": 3}},
        scaled(memory(type="AverageValue", averageValue="1.5Gi")),
        scaled({"type": "Pods", "pods": {"metric": {"name": "leadline_queue_rows"}, "target": {"averageValue": 16}}}),
    ],
)
def test_autoscaling_needs_requests_only_where_a_share_of_them_is_aimed_at(runtime):
    assert parsed(runtime=runtime).runtime.autoscaling.max_replicas == 3


@pytest.mark.parametrize("amount", ["Same", "50%", "0%", "100%", 0, 1000, "3"])
def test_last_good_accepts_same_a_percentage_and_a_number(amount):
    assert parsed(rollout={"lastGood": {"replicas": amount}}).rollout.last_good.replicas == amount


def test_longest_name_leaves_room_for_a_revision_in_a_label_value():
    assert len(names.revision_name("x" * names.NAME_MAX, "6c1f02ab9e55")) == 63


def test_keys_secret_of_the_longest_name_has_a_valid_name():
    assert len(names.keys_secret_name("x" * names.NAME_MAX)) <= 63


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"rollout": {"strategy": "Bluegreen"}},
            "spec.rollout.strategy: input should be 'BlueGreen', 'Canary' or 'RollingUpdate'; got Bluegreen",
        ),
        ({"model": {}}, "spec.model.uri: field required"),
        (
            {"rollout": {"progressDeadline": "soon"}},
            "spec.rollout.progressDeadline: expected a duration such as 90s, 1h30m or 7d, got 'soon'",
        ),
        (
            {"quality": metric(margin="2") | {"onDegraded": "Page"}},
            "spec.quality.metrics[0].margin: must be a number from 0 to 1",
        ),
    ],
)
def test_problem_of_a_spec_names_the_field_what_was_expected_and_what_was_found(parts, said):
    with pytest.raises(ValidationError) as refused:
        parsed(**parts)
    assert spec.problems(refused.value).startswith(said)


def test_problems_of_a_spec_are_three_at_most():
    with pytest.raises(ValidationError) as refused:
        parsed(model=1, runtime=2, rollout=3, quality=4)
    assert spec.problems(refused.value).endswith("; and 1 more")

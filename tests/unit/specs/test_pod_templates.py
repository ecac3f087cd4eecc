"""What podTemplate becomes in a pod: laid over the frozen template by its keys, and nothing of ours can be lost by it."""

import copy

import pytest
from leadline_api import pod_template
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.specs import pods, revisions
from leadline_operator.specs.metadata import Owner
from leadline_runtime import errors, settings

OWNER = Owner(name="digits", namespace="ml", uid="uid-1")
PLAIN = {"model": {"uri": "s3://models/digits/2/model.onnx"}}


def spec(**template):
    return ModelDeploymentSpec.model_validate({**PLAIN, "runtime": {"podTemplate": template}})


PLAIN_SPEC = ModelDeploymentSpec.model_validate(PLAIN)
FROZEN = pods.frozen_template(OWNER, "digits-1", spec=PLAIN_SPEC, image="runtime:1")
BEFORE = pods.overlaid_template(FROZEN, spec=PLAIN_SPEC)


def changed(**template):
    """Return what differs from a pod without podTemplate: fields of its spec, but for the container's environment."""
    overlaid = pods.overlaid_template(FROZEN, spec=spec(**template))
    assert overlaid["metadata"] == BEFORE["metadata"]
    assert overlaid["spec"].keys() >= BEFORE["spec"].keys()
    return {name: value for name, value in overlaid["spec"].items() if BEFORE["spec"].get(name) != value}


def environment(pod):
    return pod["spec"]["containers"][0]["env"]


def test_a_template_without_fields_changes_nothing_and_none_changes_the_frozen_one():
    frozen = copy.deepcopy(FROZEN)
    assert pods.overlaid_template(FROZEN, spec=spec()) == BEFORE
    pods.overlaid_template(FROZEN, spec=spec(labels={"a": "b"}, env=[{"name": "A", "value": "1"}]))
    assert frozen == FROZEN


@pytest.mark.parametrize(
    "fields",
    [
        {"nodeSelector": {"gpu": "a100"}},
        {"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]},
        {"tolerations": [{"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]},
        {"priorityClassName": "serving"},
        {"imagePullSecrets": [{"name": "registry"}]},
        {"runtimeClassName": "nvidia"},
        {
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}
                        ]
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 5,
                            "preference": {"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]},
                        }
                    ],
                },
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 100,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "digits"}},
                            },
                        }
                    ]
                },
            }
        },
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_asked_for_is_in_the_pod_as_it_was_written(fields):
    assert changed(**fields) == fields


def test_service_account_has_its_old_name_beside_the_new_one_as_the_api_server_fills_it_in():
    assert changed(serviceAccountName="reader") == {"serviceAccountName": "reader", "serviceAccount": "reader"}
    overlaid = pods.overlaid_template(FROZEN, spec=spec(serviceAccountName="reader"))
    assert overlaid["spec"]["automountServiceAccountToken"] is False


def test_pods_that_are_spread_are_those_of_the_revision():
    asked = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    selected = {"leadline.dev/modeldeployment": "digits", "leadline.dev/revision": "digits-1"}
    expected = [{**asked, "labelSelector": {"matchLabels": selected}}]
    assert changed(topologySpreadConstraints=[asked]) == {"topologySpreadConstraints": expected}


def test_labels_and_annotations_are_beside_ours_and_ours_win():
    asked = spec(labels={"team": "vision"}, annotations={"sidecar.istio.io/inject": "false"})
    forced = asked.runtime.pod_template.model_copy(update={"labels": {"team": "vision", "leadline.dev/revision": "x"}})
    asked = asked.model_copy(update={"runtime": asked.runtime.model_copy(update={"pod_template": forced})})
    overlaid = pods.overlaid_template(FROZEN, spec=asked)
    assert overlaid["metadata"]["labels"] == {"team": "vision", **FROZEN["metadata"]["labels"]}
    assert overlaid["metadata"]["annotations"] == {"sidecar.istio.io/inject": "false"}
    assert overlaid["spec"] == BEFORE["spec"]


def test_variables_come_after_ours():
    asked = [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "AWS_REGION", "valueFrom": {"configMapKeyRef": {"name": "place", "key": "region"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token", "optional": True}}},
        {"name": "LEADLINE_LOG_LEVEL", "value": "debug"},
    ]
    overlaid = pods.overlaid_template(FROZEN, spec=spec(env=asked))
    assert environment(overlaid) == [*environment(BEFORE), *asked]


def test_volumes_are_beside_ours_under_names_that_ours_never_have():
    volumes = [
        {"name": "data", "configMap": {"name": "certificates"}},
        {"name": "keys", "secret": {"secretName": "certificates", "optional": True}},
        {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "features", "persistentVolumeClaim": {"claimName": "features", "readOnly": True}},
        {"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch"}},
    ]
    mounts = [
        {"name": "data", "mountPath": "/etc/ssl/own", "readOnly": True},
        {"name": "keys", "mountPath": "/home/key", "subPath": "key"},
    ]
    pod = pods.overlaid_template(FROZEN, spec=spec(volumes=volumes, volumeMounts=mounts))["spec"]
    assert pod["volumes"] == BEFORE["spec"]["volumes"] + [
        {"name": "user-data", "configMap": {"name": "certificates", "defaultMode": 0o440}},
        {"name": "user-keys", "secret": {"secretName": "certificates", "optional": True, "defaultMode": 0o440}},
        {"name": "user-cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "user-features", "persistentVolumeClaim": {"claimName": "features", "readOnly": True}},
        {"name": "user-scratch", "persistentVolumeClaim": {"claimName": "scratch"}},
    ]
    assert pod["containers"][0]["volumeMounts"] == BEFORE["spec"]["containers"][0]["volumeMounts"] + [
        {"name": "user-data", "mountPath": "/etc/ssl/own", "readOnly": True},
        {"name": "user-keys", "mountPath": "/home/key", "subPath": "key"},
    ]


def test_a_longer_grace_period_is_time_for_draining():
    overlaid = pods.overlaid_template(FROZEN, spec=spec(terminationGracePeriodSeconds=120))
    assert overlaid["spec"]["terminationGracePeriodSeconds"] == 120
    assert environment(overlaid)[-1] == {"name": "LEADLINE_DRAIN_SECONDS", "value": "105"}


def test_no_field_makes_another_revision():
    asked = spec(env=[{"name": "A", "value": "1"}], labels={"a": "b"}, nodeSelector={"gpu": "a100"})
    assert revisions.name_of("digits", asked) == revisions.name_of("digits", PLAIN_SPEC)


def test_settings_that_are_the_users_are_read_by_the_runtime_and_never_set_by_us():
    needed = dict.fromkeys(("LEADLINE_MODEL_NAME", "LEADLINE_REVISION"), "x")
    for name in pod_template.SETTINGS:
        with pytest.raises(errors.SettingsError, match=name):
            settings.read({**needed, "LEADLINE_MODEL_URI": "s3://models/m.onnx", name: "?"})
    fetch = {
        "model": {**PLAIN["model"], "fetch": {}},
        "runtime": {"podTemplate": {"terminationGracePeriodSeconds": 60}},
    }
    ours = environment(pods.overlaid_template(FROZEN, spec=ModelDeploymentSpec.model_validate(fetch)))
    assert not {each["name"] for each in ours} & set(pod_template.SETTINGS)

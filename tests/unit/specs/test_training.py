"""The Job of a training run: what the user says of it, within what the restricted pod security standard allows."""

import json

import pydantic
import pytest
from leadline_api import names
from leadline_api.retraining import Retrain
from leadline_api.spec import ModelDeploymentSpec, problems
from leadline_operator.specs import training
from leadline_operator.specs.metadata import Owner

OWNER = Owner("ml", "n" * names.NAME_MAX, "uid-1")
FACTS = {"trigger": "schedule/2026-01-05T03:00:00Z", "because": "Schedule", "attempt": "2"}
SERVING = {"revision": "digits-1", "uri": "s3://models/1.onnx", "digest": "sha256:" + "a" * 64}


def made(**template):
    asked = Retrain.model_validate({"jobTemplate": {"image": "trainer:1", **template}, "deadline": "90m"})
    return training.job(
        OWNER, run="0a1b2c3d4", facts=FACTS, retrain=asked, ledger_url="http://ledger:8080", serving=SERVING
    )


def container(job):
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return found


def test_job_is_one_try_of_one_pod_with_an_end():
    job = made()
    assert job["spec"]["activeDeadlineSeconds"] == 5400
    assert (job["spec"]["backoffLimit"], job["spec"]["parallelism"]) == (0, 1)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert len(job["metadata"]["name"]) <= 63, "its pods carry it as a label"
    assert json.loads(job["metadata"]["annotations"][names.RETRAIN_ANNOTATION]) == FACTS
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels[names.RETRAIN_LABEL] == "0a1b2c3d4"
    assert names.REVISION_LABEL not in labels, "no Service selects it"


def test_container_is_told_where_outcomes_are_and_what_serves():
    told = {each["name"]: each["value"] for each in container(made())["env"]}
    assert told == {
        "LEADLINE_OUTCOMES_URL": f"http://ledger:8080/v1/namespaces/ml/models/{OWNER.name}/outcomes?split=train",
        "LEADLINE_LEDGER_TOKEN_FILE": "/var/run/secrets/leadline/ledger/token",
        "LEADLINE_MODEL_NAME": OWNER.name,
        "LEADLINE_NAMESPACE": "ml",
        "LEADLINE_SERVING_REVISION": "digits-1",
        "LEADLINE_SERVING_MODEL_URI": "s3://models/1.onnx",
        "LEADLINE_SERVING_MODEL_DIGEST": "sha256:" + "a" * 64,
        "LEADLINE_RETRAIN_ID": "0a1b2c3d4",
        "LEADLINE_RETRAIN_REASON": "Schedule",
        "LEADLINE_RETRAIN_TRIGGER": "schedule",
        "LEADLINE_RETRAIN_ATTEMPT": "2",
        "HOME": "/tmp",
    }


def test_pod_is_within_the_restricted_standard_whatever_is_asked_for():
    job = made(
        runAsUser=1000, readOnlyRootFilesystem=False, serviceAccountName="trainer", automountServiceAccountToken=True
    )
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is True
    assert container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": False,
    }
    for volume in pod["volumes"]:
        assert volume.keys() - {"name"} <= {"projected", "emptyDir"}


def test_what_is_asked_for_is_in_the_pod():
    job = made(
        command=["python", "train.py"],
        args=["--epochs", "3"],
        env=[
            {"name": "HOME", "value": "/work"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        envFrom=[{"secretRef": {"name": "store"}}],
        resources={"limits": {"nvidia.com/gpu": 1}},
        labels={"team": "fraud"},
        annotations={"note": "x"},
        nodeSelector={"gpu": "yes"},
        tolerations=[{"key": "gpu", "operator": "Exists"}],
        volumes=[{"name": "code", "configMap": {"name": "train"}}],
        volumeMounts=[{"name": "code", "mountPath": "/code", "readOnly": True}],
        imagePullSecrets=[{"name": "registry"}],
        priorityClassName="batch",
        runtimeClassName="nvidia",
    )
    pod, found = job["spec"]["template"]["spec"], container(job)
    assert (found["command"], found["args"]) == (["python", "train.py"], ["--epochs", "3"])
    assert [each["value"] for each in found["env"] if each["name"] == "HOME"] == ["/work"]
    assert found["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert found["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert {"name": "user-code", "mountPath": "/code", "readOnly": True} in found["volumeMounts"]
    assert {"name": "user-code", "configMap": {"name": "train", "defaultMode": 0o440}} in pod["volumes"]
    assert (pod["nodeSelector"], pod["priorityClassName"], pod["runtimeClassName"]) == (
        {"gpu": "yes"},
        "batch",
        "nvidia",
    )
    assert job["spec"]["template"]["metadata"]["labels"]["team"] == "fraud"
    assert job["spec"]["template"]["metadata"]["annotations"] == {"note": "x"}


@pytest.mark.parametrize(
    ("retrain", "said"),
    [
        ({"jobTemplate": {"image": "t", "runAsUser": 0}}, "spec.retrain.jobTemplate.runAsUser"),
        (
            {"jobTemplate": {"image": "t", "env": [{"name": "LEADLINE_X", "value": "1"}]}},
            "must be a variable of your own",
        ),
        ({"jobTemplate": {"image": "t", "labels": {"leadline.dev/revision": "x"}}}, "must be labels of your own"),
        (
            {"jobTemplate": {"image": "t", "volumeMounts": [{"name": "a", "mountPath": "/a"}]}},
            "needs a volume of its name",
        ),
        ({"jobTemplate": {"image": "t"}, "when": {"schedule": "@daily"}}, "must be a cron schedule of five fields"),
        ({"jobTemplate": {"image": "t"}, "when": {"schedule": "60 * * * *"}}, "must be a cron schedule of five fields"),
        (
            {"jobTemplate": {"image": "t"}, "when": {"schedule": "0 3 * * MON"}},
            "must be a cron schedule of five fields",
        ),
        ({"jobTemplate": {"image": "t"}, "when": {"newOutcomes": 0}}, "spec.retrain.when.newOutcomes"),
        ({"jobTemplate": {"image": "t"}, "when": {"verdicts": ["Healthy"]}}, "spec.retrain.when.verdicts"),
        ({"when": {}}, "spec.retrain.jobTemplate"),
    ],
)
def test_what_cannot_be_is_said(retrain, said):
    spec = {"model": {"uri": "s3://models/1.onnx"}, "outcomes": {"maturity": "0s"}, "retrain": retrain}
    with pytest.raises(pydantic.ValidationError) as caught:
        ModelDeploymentSpec.model_validate(spec)
    assert said in problems(caught.value)


@pytest.mark.parametrize("schedule", ["0 3 * * 1", "*/15 0-5,22 1,15 1-6 0-7", "59 23 31 12 7", "5-10/2 * * * *"])
def test_schedules_that_cron_knows_are_taken(schedule):
    Retrain.model_validate({"jobTemplate": {"image": "t"}, "when": {"schedule": schedule}})

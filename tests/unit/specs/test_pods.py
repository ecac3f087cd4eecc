"""What a model's place, key and limits become in a pod, and that a spec without them makes the pod that it always made."""

import pytest
from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.specs import pods, revisions
from leadline_operator.specs.metadata import Owner

OWNER = Owner(name="digits", namespace="ml", uid="uid-1")
PLAIN = {"uri": "s3://models/digits/2/model.onnx"}


def spec(**model):
    return ModelDeploymentSpec.model_validate({"model": {**PLAIN, **model}})


def template(**model):
    asked = spec(**model)
    frozen = pods.frozen_template(OWNER, "digits-1", spec=asked, image="runtime:1")
    return frozen, pods.overlaid_template(frozen, spec=asked)


def container(pod):
    (found,) = pod["spec"]["containers"]
    return found


def variables(pod):
    return {each["name"]: each.get("value") for each in container(pod)["env"]}


def names_of(pod):
    return [volume["name"] for volume in pod["spec"]["volumes"]]


def test_a_plain_model_needs_nothing_new():
    """No pod of a running revision is restarted by an operator that knows more."""
    frozen, overlaid = template()
    assert names_of(frozen) == ["keys", "revision", "data"]
    assert [mount["name"] for mount in container(frozen)["volumeMounts"]] == ["keys", "revision", "data"]
    assert set(variables(overlaid)) == {
        "LEADLINE_MODEL_NAME",
        "LEADLINE_REVISION",
        "LEADLINE_MODEL_URI",
        "LEADLINE_POD_UID",
        "LEADLINE_NAMESPACE",
        "TMPDIR",
        "LEADLINE_MAX_ROWS",
    }
    assert revisions.name_of("digits", spec()) == "digits-" + NAME_BEFORE


NAME_BEFORE = "925de8210e"
"""Of this spec, as it was hashed before signatures were known."""


def test_a_claim_is_mounted_read_only_where_the_runtime_looks():
    frozen, overlaid = template(uri="pvc://team-models/digits/2/model.onnx")
    volume = frozen["spec"]["volumes"][-1]
    assert volume == {"name": "claim", "persistentVolumeClaim": {"claimName": "team-models", "readOnly": True}}
    mount = container(overlaid)["volumeMounts"][-1]
    assert mount == {"name": "claim", "mountPath": "/mnt/claims/team-models", "readOnly": True}
    assert names.CLAIMS_DIR == "/mnt/claims"


@pytest.mark.parametrize(
    ("public_key", "volume"),
    [
        (
            {"configMapName": "model-key", "key": "team.pub"},
            {
                "configMap": {
                    "name": "model-key",
                    "items": [{"key": "team.pub", "path": "key.pub"}],
                    "defaultMode": 0o440,
                }
            },
        ),
        (
            {"secretName": "model-key", "key": "team.pub"},
            {
                "secret": {
                    "secretName": "model-key",
                    "items": [{"key": "team.pub", "path": "key.pub"}],
                    "defaultMode": 0o440,
                }
            },
        ),
    ],
)
def test_the_key_of_a_signature_is_mounted_and_named(public_key, volume):
    frozen, overlaid = template(signature={"publicKey": public_key})
    assert frozen["spec"]["volumes"][-1] == {"name": "signature", **volume}
    assert container(overlaid)["volumeMounts"][-1]["mountPath"] == names.SIGNATURE_DIR
    assert variables(frozen)["LEADLINE_SIGNATURE_KEY_FILE"] == f"{names.SIGNATURE_DIR}/key.pub"


def test_who_must_have_signed_makes_another_revision_and_limits_do_not():
    signature = {"publicKey": {"configMapName": "model-key", "key": "key.pub"}}
    other = {"publicKey": {"configMapName": "model-key", "key": "other.pub"}}
    found = {
        revisions.name_of("digits", spec(**model)) for model in ({}, {"signature": signature}, {"signature": other})
    }
    assert len(found) == 3
    assert revisions.name_of("digits", spec(fetch={"maxSize": "20Gi"})) == revisions.name_of("digits", spec())


def test_limits_are_laid_over_as_the_runtime_reads_them():
    _, overlaid = template(fetch={"maxSize": "20Gi", "timeout": "90m"})
    found = variables(overlaid)
    assert found["LEADLINE_MAX_MODEL_BYTES"] == str(20 << 30)
    assert found["LEADLINE_FETCH_TIMEOUT_SECONDS"] == "5400"
    assert found["LEADLINE_LEDGER_AFTER_SECONDS"] == "60"


def test_credentials_are_the_whole_secret_by_name_only():
    _, overlaid = template(uri="oci://registry.example/team/digits:2", credentials={"secretName": "registry"})
    assert container(overlaid)["envFrom"] == [{"secretRef": {"name": "registry"}}]

"""Models from a claim, from a registry in the cluster, and signed ones, as a user asks for them on a real cluster.

What each store does when something is wrong is tested on the real runtime in tests/wiring/runtime.
"""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from leadline_api import names
from pytest_kind.cluster import KindCluster

from tests.cluster import limits
from tests.cluster.support import BUCKET, MANIFESTS, STORE_NAMESPACE, condition, is_up_to_date, wait

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 1_200.0


def provided(what: str) -> str:
    """Return the path of a command or the name of an image; built first where this machine lacks it."""
    command = [ROOT / "hack" / "cluster" / "provide", "build", what]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=BUILD_SECONDS)
    return done.stdout.strip()


def test_model_on_a_claim_is_served(place, digits, a_row):
    files = {name: base64.b64encode(digits.files[name]).decode() for name in ("good.onnx", "testset.parquet")}
    place.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "binaryData": files})
    place.cluster.apply((MANIFESTS / "claim.yaml").read_text(), place.namespace)
    kubectl = place.cluster.kubectl
    wait(
        lambda: place.cluster.get("pod/filler", place.namespace)["status"].get("phase"),
        lambda phase: phase == "Succeeded",
        within=limits.POD_START,
        explain=lambda: kubectl("describe", "pod/filler", "-n", place.namespace, check=False).stdout,
    )
    quality = {
        "metrics": [{"name": "accuracy", "metric": "accuracy", "floor": "0.80"}],
        "testSet": {"uri": "pvc://models/digits/testset.parquet", "truth": "digit"},
    }
    place.apply(place.model_deployment(model={"uri": "pvc://models/digits/good.onnx"}, quality=quality))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    assert place.predict(a_row)[0] == 200


@pytest.fixture
def registry(place, kind_cluster: KindCluster, monkeypatch):
    image = provided("oci-registry")
    kind_cluster.load_docker_image(image)
    monkeypatch.setenv("LEADLINE_REGISTRY_IMAGE", image)
    place.cluster.apply((MANIFESTS / "registry.yaml").read_text(), place.namespace)
    place.cluster.kubectl(
        "wait", "pod/registry", "-n", place.namespace, "--for=condition=Ready", f"--timeout={limits.POD_START:.0f}s"
    )
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "registry"},
        "stringData": {"OCI_ALLOW_HTTP": "true"},
    }
    place.apply(secret)
    return f"registry.{place.namespace}.svc:5000"


def test_model_in_a_registry_is_served(place, registry, digits, a_row, tmp_path):
    (tmp_path / "model.onnx").write_bytes(digits.files["good.onnx"])
    with place.cluster.forwarded("svc/registry", place.namespace, 5000) as port:
        subprocess.run(
            [provided("oras"), "push", "--plain-http", "--no-tty", f"127.0.0.1:{port}/team/digits:1", "model.onnx"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            check=True,
            timeout=60,
            capture_output=True,
        )
    model = {"uri": f"oci://{registry}/team/digits:1", "credentials": {"secretName": "registry"}}
    place.apply(place.model_deployment(model=model))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    assert place.predict(a_row)[0] == 200


@pytest.mark.parametrize("store_is", ["there", "away"])
def test_drained_pod_has_its_model_from_the_ledger_though_the_uri_holds_other_bytes(
    place, store, digits, a_row, store_is
):
    own = f"{place.namespace}.onnx"
    store.put({own: digits.files["good.onnx"]})
    place.apply(place.model_deployment(model=place.namespace))
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    before = {each["metadata"]["uid"] for each in place.pods(good)}
    kubectl = place.cluster.kubectl
    place.until_kept(good)
    store.put({own: digits.files["worse.onnx"]})
    if store_is == "away":
        kubectl("scale", "deploy/store", "-n", STORE_NAMESPACE, "--replicas=0")
        kubectl("wait", "pod", "-l", "app=store", "-n", STORE_NAMESPACE, "--for=delete", "--timeout=60s")
    (node,) = {each["spec"]["nodeName"] for each in place.pods(good)}
    try:
        selected = f"--pod-selector={names.REVISION_LABEL}={good}"
        kubectl("drain", node, selected, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=90s")
        kubectl("uncordon", node)
        status = place.until(
            lambda each: (
                "has the model from the ledger" in condition(each, "Ready")[2] and condition(each, "Ready")[0] == "True"
            ),
            within=limits.ROLLOUT,
        )
        assert (status["servingRevision"], status.get("rejected", [])) == (good, [])
        assert not before & {each["metadata"]["uid"] for each in place.pods(good) if is_ready(each)}
        code, answer = place.predict(a_row)
        assert (code, answer["model_version"]) == (200, good)
    finally:
        kubectl("uncordon", node)
        if store_is == "away":
            kubectl("scale", "deploy/store", "-n", STORE_NAMESPACE, "--replicas=1")
            kubectl("rollout", "status", "deploy/store", "-n", STORE_NAMESPACE, "--timeout=120s")
            store.put(digits.files)


def is_ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions") or ())


def test_signed_folder_is_served_and_one_that_is_not_signed_is_rejected(place, store, digits, a_row, tmp_path):
    openssl = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(tmp_path / "key.pem")]
    subprocess.run(openssl, check=True, capture_output=True)
    public = ["openssl", "ec", "-in", str(tmp_path / "key.pem"), "-pubout", "-out", str(tmp_path / "key.pub")]
    subprocess.run(public, check=True, capture_output=True)
    folder = tmp_path / "signed"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(digits.files["good.onnx"])
    sign = [f"{provided('model-signing')}/model_signing", "sign", "key", "--private_key", str(tmp_path / "key.pem")]
    subprocess.run([*sign, "--signature", str(folder / "model.sig"), str(folder)], check=True, capture_output=True)
    store.put({f"signed/{path.name}": path.read_bytes() for path in folder.iterdir()})
    store.put({"unsigned/model.onnx": digits.files["successor.onnx"]})
    key = {"key.pub": (tmp_path / "key.pub").read_text()}
    place.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "model-key"}, "data": key})
    signature = {"publicKey": {"configMapName": "model-key", "key": "key.pub"}}
    place.apply(place.model_deployment(model={"uri": f"s3://{BUCKET}/signed/", "signature": signature}))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    assert place.predict(a_row)[0] == 200
    place.apply(place.model_deployment(model={"uri": f"s3://{BUCKET}/unsigned/", "signature": signature}))
    message = place.until_condition("Stalled", "True", "SignatureMissing", within=limits.ROLLOUT)
    assert "s3://models/unsigned/ is not signed: there is no model.sig" in message
    assert place.predict(a_row)[0] == 200

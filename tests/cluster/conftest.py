"""The cluster suite's stage: a cluster by pytest-kind, the chart, a model store, and a namespace per test.

Which images and tools are used comes from the environment, as `hack/cluster/env` prints it; `make test` sets it.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from pytest_kind.cluster import KindCluster

from tests.cluster import limits
from tests.cluster.support import MANIFESTS, STORE_KEYS, STORE_NAMESPACE, STORE_URL, Cluster, Place, Store, wait

ROOT = Path(__file__).parents[2]
SYSTEM = "leadline-system"


@pytest.fixture(scope="session")
def cluster(kind_cluster: KindCluster) -> Cluster:
    return Cluster(str(kind_cluster.kubectl_path), str(kind_cluster.kubeconfig_path))


@pytest.fixture(scope="session")
def installed(cluster: Cluster, kind_cluster: KindCluster) -> Cluster:
    """The chart is installed with the images that are under test."""
    for variable in ("LEADLINE_OPERATOR_IMAGE", "LEADLINE_RUNTIME_IMAGE", "LEADLINE_S3_IMAGE"):
        kind_cluster.load_docker_image(os.environ[variable])
    helm_install(cluster)
    return cluster


def helm(cluster: Cluster, *arguments: str) -> None:
    """Run helm on the namespace of the operator."""
    command = [os.environ["LEADLINE_HELM"], "--namespace", SYSTEM, "--kubeconfig", cluster.kubeconfig, *arguments]
    done = subprocess.run(command, text=True, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def helm_install(cluster: Cluster) -> None:
    helm(
        cluster,
        *("upgrade", "--install", "leadline", str(ROOT / "charts" / "leadline"), "--create-namespace"),
        *("--set", f"operator.image={os.environ['LEADLINE_OPERATOR_IMAGE']}"),
        *("--set", f"runtime.image={os.environ['LEADLINE_RUNTIME_IMAGE']}"),
        *("--wait", "--timeout", "180s"),
    )


@pytest.fixture
def kubectl(installed: Cluster) -> Callable[..., subprocess.CompletedProcess[str]]:
    return installed.kubectl


class Digits:
    """The example's models and data, as `examples/digits` makes them."""

    def __init__(self, folder: Path) -> None:
        for name in ("good", "worse", "successor"):
            command = [
                sys.executable,
                str(ROOT / "examples" / "digits" / "train.py"),
                "--model",
                name,
                "--out",
                str(folder / name),
            ]
            done = subprocess.run(command, text=True, capture_output=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
        self.files = {
            f"{name}.onnx": (folder / name / "model.onnx").read_bytes() for name in ("good", "worse", "successor")
        }
        self.files["testset.parquet"] = (folder / "good" / "testset.parquet").read_bytes()
        table = pyarrow.parquet.read_table(folder / "good" / "testset.parquet")
        self.rows: list[list[float]] = table["image"].to_pylist()
        self.truths: list[int] = table["digit"].to_pylist()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def store(installed: Cluster, digits: Digits) -> Iterator[Store]:
    """The model store with the example's models, and the pod from which models are asked."""
    installed.kubectl("delete", "namespace", STORE_NAMESPACE, "--ignore-not-found")
    installed.kubectl("create", "namespace", STORE_NAMESPACE)
    for manifest in ("store.yaml", "client.yaml"):
        installed.apply((MANIFESTS / manifest).read_text(), STORE_NAMESPACE)
    installed.kubectl("rollout", "status", "deploy/store", "-n", STORE_NAMESPACE, "--timeout=120s")
    installed.kubectl("wait", "pod/client", "-n", STORE_NAMESPACE, "--for=condition=Ready", "--timeout=120s")
    made = Store(installed)
    made.put(digits.files)
    yield made
    installed.kubectl("delete", "namespace", STORE_NAMESPACE, "--wait=false")


@pytest.fixture
def place(installed: Cluster, store: Store, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A namespace of one's own under restricted pod security; kept where the test fails."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            "annotations": {"leadline.dev/test": request.node.nodeid},
        },
    }
    installed.kubectl("create", "-f", "-", input=json.dumps(body))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "store"},
        "stringData": STORE_KEYS | {"AWS_ENDPOINT_URL": STORE_URL, "AWS_ALLOW_HTTP": "true"},
    }
    installed.apply(secret, name)
    yield Place(installed, name)
    if not getattr(request.node, "failed", False):
        installed.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True  # type: ignore[attr-defined]
    return report


def operator_pod(cluster: Cluster) -> dict[str, Any]:
    """Return the operator's pod, ready."""

    def look() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = cluster.get("pods", SYSTEM, "-l", "app.kubernetes.io/component=operator")["items"]
        return [each for each in items if not each["metadata"].get("deletionTimestamp")]

    def is_ready(pods: list[dict[str, Any]]) -> bool:
        return len(pods) == 1 and all(each.get("ready") for each in pods[0]["status"].get("containerStatuses") or [{}])

    return wait(look, is_ready, within=limits.POD_START, explain=lambda: "operator pod")[0]


@pytest.fixture
def a_row(digits: Digits) -> list[float]:
    return [float(value) for value in np.asarray(digits.rows[0])]

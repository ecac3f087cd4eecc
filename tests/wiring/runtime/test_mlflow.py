"""Models of a real MLflow registry, logged by MLflow's own client: versions and aliases, artifacts by the server or in S3."""

import pytest

from tests.wiring.runtime.gathers import Gather
from tests.wiring.runtime.pods import infer
from tests.wiring.runtime.servers import S3, Mlflow

LOG = """
import sys, onnx, mlflow
mlflow.set_experiment("digits")
with mlflow.start_run():
    for name in sys.argv[1:]:
        mlflow.onnx.log_model(
            onnx.load(name), name="model", registered_model_name="digits of the post", pip_requirements=["onnxruntime"]
        )
client = mlflow.MlflowClient()
client.set_registered_model_alias("digits of the post", "champion", "1")
"""
NAME = "digits of the post"


@pytest.fixture(scope="module")
def proxied(digits, tmp_path_factory):
    """A server that passes artifacts on itself."""
    with Mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        server.run(LOG, str(digits.folder / "good.onnx"), str(digits.folder / "worse.onnx"))
        yield server


@pytest.fixture(scope="module")
def direct(digits, tmp_path_factory):
    """A server whose artifacts its clients fetch from S3."""
    with S3(tmp_path_factory.mktemp("s3")) as bucket:
        more = {"AWS_ACCESS_KEY_ID": bucket.access, "AWS_SECRET_ACCESS_KEY": bucket.secret}
        more |= {"MLFLOW_S3_ENDPOINT_URL": bucket.url, "AWS_DEFAULT_REGION": "us-east-1"}
        options = ("--no-serve-artifacts", "--default-artifact-root", "s3://models/mlflow")
        with Mlflow(tmp_path_factory.mktemp("mlflow"), options=options, more=more) as server:
            server.run(LOG, str(digits.folder / "good.onnx"), **more)
            yield server, bucket


@pytest.fixture
def tracking(proxied, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxied.url)


@pytest.mark.usefixtures("tracking")
async def test_a_version_and_an_alias_come_from_the_server(tmp_path):
    by_alias = await Gather(f"models:/{NAME}@champion", tmp_path / "alias").found()
    by_version = await Gather(f"models:/{NAME}/1", tmp_path / "version").found()
    other = await Gather("models:/digits%20of%20the%20post/2", tmp_path / "other").found()
    assert by_alias == by_version
    assert by_alias.resolved == "mlflow version 1"
    assert other.model.digest != by_alias.model.digest
    paths = {file.path for file in by_alias.model.files}
    assert {"MLmodel", "model.onnx", "requirements.txt"} <= paths
    assert (tmp_path / "alias" / "model" / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("uri", "reason", "said"),
    [
        ("models:/nothing@champion", "ModelNotFound", "/registered-models/alias answered 404"),
        (f"models:/{NAME}@nobody", "", "/registered-models/alias answered 4"),
        (f"models:/{NAME}/99", "ModelNotFound", "/model-versions/get-download-uri answered 404"),
        ("models:/no-version", "ModelNotFound", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
    ],
)
@pytest.mark.usefixtures("tracking")
async def test_what_the_registry_does_not_have_is_said(tmp_path, uri, reason, said):
    trouble = await Gather(uri, tmp_path).trouble()
    assert said in trouble.message
    assert not reason or trouble.reason == reason


async def test_without_a_server_the_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "expected MLFLOW_TRACKING_URI=" in (await Gather("models:/a/1", tmp_path).trouble()).message


def test_a_pod_serves_an_alias(proxied, start, digits):
    pod = start(f"models:/{NAME}@champion", environment={"MLFLOW_TRACKING_URI": proxied.url})
    digest = pod.report("waits", lambda report: report.phase == "Waiting").digest
    pod.exchange(digest=digest)
    pod.wait_ready()
    assert infer(pod.public, digits.rows[0]).json()["outputs"][0]["data"] == [digits.label]
    assert pod.exchange().resolved == "mlflow version 1"


async def test_artifacts_in_a_bucket_come_from_there(direct, tmp_path, monkeypatch):
    server, bucket = direct
    for name, value in bucket.credentials(MLFLOW_TRACKING_URI=server.url).items():
        monkeypatch.setenv(name, value)
    found = await Gather(f"models:/{NAME}@champion", tmp_path).found()
    assert "model.onnx" in {file.path for file in found.model.files}
    assert found.resolved == "mlflow version 1"

"""Models from real servers that speak the protocols of S3, Google Cloud Storage and Azure Blob Storage: files and folders.

What becomes of a pod whose store goes away is in test_s3.py. Google's own logins and Azure's are not here: the emulators
have none but Azure's account keys.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
from datetime import UTC, datetime

import obstore
import pytest
from obstore.store import AzureStore, S3Store

from tests.wiring.runtime.gathers import Gather, tree
from tests.wiring.runtime.pods import infer
from tests.wiring.runtime.servers import S3, Azure, Gcs

FILES = {"model.onnx": b"a model", "weights/a.bin": b"12" * 70_000, "weights/b c.bin": b"-", "Größe.txt": b"umlaut"}
PLAIN = {"client_options": {"allow_http": True}}


def make_container(server: Azure, name: str) -> None:
    """Make a container as Azure wants it signed, which obstore does not."""
    now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")  # noqa: TID251  # the server checks it
    signed = f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{now}\nx-ms-version:2021-12-02\n/{server.account}/{server.account}/{name}\nrestype:container"
    mac = base64.b64encode(hmac.digest(base64.b64decode(server.key), signed.encode(), hashlib.sha256)).decode()
    headers = {
        "x-ms-date": now,
        "x-ms-version": "2021-12-02",
        "authorization": f"SharedKey {server.account}:{mac}",
        "content-length": "0",
    }
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("PUT", f"/{server.account}/{name}?restype=container", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()


async def fill(store, digits):
    for name, content in FILES.items():
        await obstore.put_async(store, f"folder/{name}", content)
    await obstore.put_async(store, "folder-of-another/x.bin", b"not ours")
    await obstore.put_async(store, "digits/good.onnx", (digits.folder / "good.onnx").read_bytes())


@pytest.fixture(scope="module", params=["s3", "gs", "az"])
def bucket(request, digits, tmp_path_factory):
    """A server with a bucket `models`, and how to write to it."""
    server = {"s3": S3, "gs": Gcs, "az": Azure}[request.param](tmp_path_factory.mktemp(request.param))
    if request.param == "gs":
        # The emulator takes what is in a folder when it starts.
        objects = {f"folder/{name}": content for name, content in FILES.items()} | {
            "folder-of-another/x.bin": b"not ours",
            "digits/good.onnx": (digits.folder / "good.onnx").read_bytes(),
        }
        tree(server.bucket, objects)
    with server:
        if request.param == "s3":
            store = S3Store(
                "models", endpoint=server.url, access_key_id=server.access, secret_access_key=server.secret,
                region="us-east-1", **PLAIN,
            )  # fmt: skip
            asyncio.run(fill(store, digits))
        elif request.param == "az":
            make_container(server, "models")
            store = AzureStore(
                "models", account_name=server.account, account_key=server.key,
                endpoint=f"{server.url}/{server.account}", **PLAIN,
            )  # fmt: skip
            asyncio.run(fill(store, digits))
        server.scheme = request.param
        yield server


@pytest.fixture
def environment(bucket, monkeypatch):
    for name, value in bucket.credentials().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
async def test_a_file_and_a_folder_come_whole(bucket, tmp_path):
    one = await Gather(f"{bucket.scheme}://models/folder/model.onnx", tmp_path / "one").model()
    assert (one.is_folder, one.digest) == (False, f"sha256:{hashlib.sha256(b'a model').hexdigest()}")
    assert await Gather(f"{bucket.scheme}://models/folder/", tmp_path / "all").files() == FILES


@pytest.mark.usefixtures("environment")
async def test_what_is_not_there_is_said_so(bucket, tmp_path):
    for place in ("nothing.onnx", "nothing/"):
        trouble = await Gather(f"{bucket.scheme}://models/{place}", tmp_path).trouble()
        assert (trouble.reason, f"{bucket.scheme}://models/{place}" in trouble.message) == ("ModelNotFound", True)


@pytest.mark.usefixtures("environment")
async def test_plain_http_has_to_be_allowed(bucket, tmp_path, monkeypatch):
    variable = next(name for name in bucket.credentials() if name.endswith("_ALLOW_HTTP"))
    monkeypatch.delenv(variable)
    trouble = await Gather(f"{bucket.scheme}://models/folder/", tmp_path).trouble()
    assert f"plain http needs {variable}=true" in trouble.message


def test_a_pod_serves_what_is_in_the_bucket(bucket, start, digits):
    uri = f"{bucket.scheme}://models/digits/good.onnx"
    pod = start(uri, digest=digits.digest("good.onnx"), environment=bucket.credentials()).wait_ready()
    assert infer(pod.public, digits.rows[0]).status == 200


@pytest.mark.parametrize("bucket", ["s3", "az"], indirect=True)  # the emulator of gs asks for none
async def test_a_wrong_key_is_told_without_the_key(tmp_path, monkeypatch, bucket):
    secret = base64.b64encode(b"a key that is none").decode()
    variable = {"s3": "AWS_SECRET_ACCESS_KEY", "az": "AZURE_STORAGE_ACCOUNT_KEY"}[bucket.scheme]
    for name, value in (bucket.credentials() | {variable: secret}).items():
        monkeypatch.setenv(name, value)
    trouble = await Gather(f"{bucket.scheme}://models/folder/model.onnx", tmp_path).trouble()
    assert trouble.reason == "ModelAccessDenied"
    assert secret not in trouble.message

"""No credential is ever in a message or a log: every store, with every key of its Secret, at a place that does not answer."""

import asyncio
import base64
import json
import logging

import pytest
from leadline_runtime.fetch import gathering
from leadline_runtime.supervisor import signing

SECRET = "hush-hush"
KEY = base64.b64encode(SECRET.encode()).decode()
NOWHERE = "http://127.0.0.1:9"
ACCOUNT = json.dumps(
    {"client_email": f"{SECRET}@x", "private_key": SECRET, "private_key_id": SECRET, "gcs_base_url": NOWHERE}
)
CASES = {
    "http": ("http://127.0.0.1:9/m.onnx", {"HTTP_AUTHORIZATION": f"Bearer {SECRET}", "HTTP_HEADERS": f"x-key: {SECRET}"}),
    "http in the URI": (f"http://user:{SECRET}@127.0.0.1:9/m.onnx?token={SECRET}#{SECRET}", {}),
    "http with a bad header": ("http://127.0.0.1:9/m.onnx", {"HTTP_HEADERS": f"{SECRET}\nx-y: z"}),
    "s3": (
        "s3://models/m.onnx",
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET, "AWS_REGION": "x",
         "AWS_ENDPOINT_URL": NOWHERE, "AWS_ALLOW_HTTP": "true"},
    ),
    "s3, a folder": (
        "s3://models/m/",
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "x", "AWS_ENDPOINT_URL": NOWHERE,
         "AWS_ALLOW_HTTP": "true"},
    ),
    "gs with a token": (
        "gs://models/m.onnx", {"GOOGLE_BEARER_TOKEN": SECRET, "GOOGLE_BASE_URL": NOWHERE, "GOOGLE_ALLOW_HTTP": "true"}
    ),
    "gs with an account that is none": ("gs://models/m.onnx", {"GOOGLE_SERVICE_ACCOUNT_KEY": ACCOUNT}),
    "gs with nonsense": ("gs://models/m.onnx", {"GOOGLE_SERVICE_ACCOUNT_KEY": SECRET}),
    "az with a key": (
        "az://models/m.onnx",
        {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": KEY, "AZURE_STORAGE_ENDPOINT": NOWHERE,
         "AZURE_ALLOW_HTTP": "true"},
    ),
    "az with a key that is none": (
        "az://models/m.onnx", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": SECRET}
    ),
    "az with a signature": (
        "az://models/m/",
        {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": f"sv=1&sig={SECRET}",
         "AZURE_STORAGE_ENDPOINT": NOWHERE, "AZURE_ALLOW_HTTP": "true"},
    ),
    "oci": (
        "oci://127.0.0.1:9/team/m:1",
        {"OCI_USERNAME": "a", "OCI_PASSWORD": SECRET, "OCI_TOKEN": SECRET, "OCI_ALLOW_HTTP": "true"},
    ),
    "hf": ("hf://acme/digits/m.onnx", {"HF_TOKEN": SECRET, "HF_ENDPOINT": NOWHERE}),
    "mlflow": (
        "models:/digits/1",
        {"MLFLOW_TRACKING_URI": f"http://user:{SECRET}@127.0.0.1:9", "MLFLOW_TRACKING_USERNAME": "a",
         "MLFLOW_TRACKING_PASSWORD": SECRET, "MLFLOW_TRACKING_TOKEN": SECRET},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_no_credential_is_told(case, tmp_path, monkeypatch, caplog):
    uri, environment = CASES[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)
    told = asyncio.get_running_loop().create_future()
    work = gathering.Gathering(
        uri,
        tmp_path / "model",
        limit_bytes=1 << 20,
        try_seconds=15.0,
        on_progress=lambda *_: None,
        on_trouble=lambda error: told.done() or told.set_result(error),
    )
    running = asyncio.ensure_future(work.run())
    async with asyncio.timeout(30.0):
        error = await told
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for text in (str(error), error.trouble.message, caplog.text):
        assert text.strip()
        assert SECRET not in text
        assert KEY not in text


@pytest.mark.parametrize(
    ("uri", "signature"),
    [
        ("s3://models/m.onnx", "s3://models/m.onnx.sig"),
        ("https://host/m.onnx?token=a.b#x", "https://host/m.onnx.sig?token=a.b"),
    ],
)
def test_a_signature_is_beside_its_file(uri, signature):
    assert signing.beside(uri) == signature

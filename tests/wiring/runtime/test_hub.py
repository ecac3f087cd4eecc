"""Models from a server that speaks as the Hugging Face hub; the hub's own client judges that it does. Not the hub itself."""

import os
import subprocess

import pytest
from leadline_runtime import errors

from tests.wiring.runtime.gathers import Gather
from tests.wiring.runtime.hubs import COMMIT, TOKEN, Hub
from tests.wiring.runtime.pods import infer
from tests.wiring.runtime.servers import provided

FILES = {"README.md": b"# Digits", "onnx/model.onnx": b"graph" * 400, "onnx/weights.bin": b"12" * 70_000}
DOWNLOAD = """
import sys, huggingface_hub as hub
print(hub.snapshot_download("acme/digits", revision="v2", local_dir=sys.argv[1]))
print(hub.hf_hub_download("acme/digits", "README.md", local_dir=sys.argv[2]))
"""


@pytest.fixture
def hub(monkeypatch):
    with Hub(FILES) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_the_hubs_own_client_downloads_from_this_server(hub, tmp_path):
    python = provided("huggingface") / "python"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    places = [str(tmp_path / "all"), str(tmp_path / "one")]
    subprocess.run([python, "-c", DOWNLOAD, *places], env=environment, check=True, timeout=60, capture_output=True)
    for name, content in FILES.items():
        assert (tmp_path / "all" / name).read_bytes() == content
    assert (tmp_path / "one" / "README.md").read_bytes() == FILES["README.md"]


@pytest.mark.parametrize("revision", ["", "@main", "@v2", f"@{COMMIT}"])
async def test_a_file_comes_by_the_commit_that_its_revision_stands_for(hub, tmp_path, revision):
    found = await Gather(f"hf://acme/digits{revision}/onnx/model.onnx", tmp_path).found()
    assert (found.model.is_folder, found.resolved) == (False, f"hf commit {COMMIT}")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == FILES["onnx/model.onnx"]
    assert [path for _, path, _ in hub.asked if "/resolve/" in path] == [
        f"/acme/digits/resolve/{COMMIT}/onnx/model.onnx"
    ]


@pytest.mark.usefixtures("hub")
async def test_a_folder_and_a_whole_repository_come(tmp_path):
    below = {"model.onnx": FILES["onnx/model.onnx"], "weights.bin": FILES["onnx/weights.bin"]}
    assert await Gather("hf://acme/digits@v2/onnx/", tmp_path / "below").files() == below
    assert await Gather("hf://acme/digits@v2", tmp_path / "all").files() == FILES


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hf://acme/digits/nothing.onnx", "has no file 'nothing.onnx'"),
        ("hf://acme/digits/onnx", "has no file 'onnx'; a folder's URI ends in /"),
        ("hf://acme/digits/none/", "has no file below 'none/'"),
        ("hf://acme/digits@v9/onnx/", "/api/models/acme/digits/revision/v9 answered 404"),
        ("hf://acme", "expected hf://organisation/name@revision/path"),
    ],
)
async def test_what_is_not_there_is_said_so(tmp_path, uri, said):
    trouble = await Gather(uri, tmp_path).trouble()
    assert (trouble.reason, said in trouble.message) == ("ModelNotFound", True), trouble


async def test_a_token_goes_to_the_hub_and_not_to_where_it_sends_us(tmp_path, monkeypatch):
    with Hub(FILES, private=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        trouble = await Gather("hf://acme/digits@v2/onnx/", tmp_path).trouble()
        assert (trouble.reason, "answered 401" in trouble.message) == ("ModelAccessDenied", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        await Gather("hf://acme/digits@v2/onnx/", tmp_path).found()
        told = {host: {authorization for where, _, authorization in server.asked[1:] if where == host}
                for host in ("hub", "elsewhere")}  # fmt: skip
        assert told == {"hub": {f"Bearer {TOKEN}"}, "elsewhere": {None}}


async def test_a_folder_goes_on_with_the_file_and_the_byte_where_it_broke_off(hub, tmp_path):
    hub.broken = True
    gather = Gather("hf://acme/digits@v2", tmp_path)
    with pytest.raises(errors.BlockedError, match="the connection ended after 1000 of 2000 bytes"):
        await gather.work.once()
    hub.broken = False
    await gather.work.once()
    assert (tmp_path / "model" / "onnx" / "model.onnx").read_bytes() == FILES["onnx/model.onnx"]
    assert [path for _, path, _ in hub.asked].count(f"/acme/digits/resolve/{COMMIT}/README.md") == 1
    assert hub.ranges == ["bytes=1000-"]
    assert gather.progress[-1] == (sum(map(len, FILES.values())),) * 2


def test_a_pod_serves_a_model_of_the_hub(start, digits):
    with Hub({"model.onnx": (digits.folder / "good.onnx").read_bytes()}) as server:
        environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN}
        pod = start(
            "hf://acme/digits@v2/model.onnx", digest=digits.digest("good.onnx"), environment=environment
        ).wait_ready()
        assert infer(pod.public, digits.rows[0]).status == 200
        assert pod.exchange().resolved == f"hf commit {COMMIT}"
        assert TOKEN not in pod.log.read_text()

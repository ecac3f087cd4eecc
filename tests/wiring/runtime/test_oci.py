"""Models from a real OCI registry (CNCF distribution), pushed by ORAS: files, folders, images; passwords and tokens."""

import hashlib
import io
import json
import shutil
import tarfile

import pytest

from tests.wiring.runtime.gathers import Gather, tree
from tests.wiring.runtime.pods import call, infer
from tests.wiring.runtime.servers import Registry
from tests.wiring.runtime.token_servers import Tokens

FILES = {"model.onnx": b"a model", "weights/a.bin": b"12" * 70_000}
PASSWORD = "open sesame"
HTPASSWD = "leadline:$2a$05$nALvu3C4aWM4cevy80kgAO2zIv77R5vytjFZ9AEb40SpXbDXs4NSG\n"
"""The password of `leadline`, by bcrypt."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with Registry(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("OCI_ALLOW_HTTP", "true")


@pytest.fixture
def files(tmp_path):
    return tree(tmp_path / "files", FILES)


def uri(registry, reference):
    return f"oci://127.0.0.1:{registry.port}/{reference}"


def put(registry, repository, content, media_type=""):
    """Put a blob, or a manifest with its type, as a client of the registry's own protocol; return its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if media_type:
        answer = call(
            registry.port, "PUT", f"/v2/{repository}/manifests/{digest}", content, {"content-type": media_type}
        )
    else:
        begun = call(registry.port, "POST", f"/v2/{repository}/blobs/uploads/")
        place = begun.headers["location"].partition(str(registry.port))[2]
        answer = call(registry.port, "PUT", f"{place}&digest={digest}", content)
    assert answer.status == 201, answer.body
    return digest


def image(registry, repository, *layers):
    """Put an image of layers, each media type and content; return its manifest's digest."""
    config = b"{}"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": put(registry, repository, config),
            "size": len(config),
        },
        "layers": [
            {"mediaType": kind, "digest": put(registry, repository, content), "size": len(content)}
            for kind, content in layers
        ],
    }
    return put(registry, repository, json.dumps(manifest).encode(), MANIFEST)


def tar(files, mode="w:gz", *more):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in more:
            archive.addfile(member)
    return packed.getvalue()


async def test_one_file_is_that_file_and_the_manifest_is_named(registry, files, tmp_path):
    digest = registry.push("team/one:1", files, "model.onnx")
    for reference in ("team/one:1", f"team/one@{digest}", f"team/one:other@{digest}"):
        found = await Gather(uri(registry, reference), tmp_path / "to").found()
        assert (found.model.is_folder, found.resolved) == (False, f"oci manifest {digest}")
        assert found.model.digest == f"sha256:{hashlib.sha256(b'a model').hexdigest()}"


async def test_several_files_are_a_folder(registry, files, tmp_path):
    registry.push("team/several:1", files, "model.onnx", "weights/a.bin")
    assert await Gather(uri(registry, "team/several:1"), tmp_path / "to").files() == FILES


async def test_a_folder_that_oras_packed_is_unpacked(registry, files, tmp_path):
    registry.push("team/packed:1", files, "model.onnx", "weights/")
    assert await Gather(uri(registry, "team/packed:1"), tmp_path / "to").files() == FILES


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("application/vnd.oci.image.layer.v1.tar+gzip", "w:gz"),
        ("application/vnd.oci.image.layer.v1.tar", "w"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "w:gz"),
    ],
)
async def test_an_image_of_one_layer_is_unpacked(registry, tmp_path, kind, mode):
    digest = image(registry, "team/image", (kind, tar({f"models/{name}": b for name, b in FILES.items()}, mode)))
    found = await Gather(uri(registry, f"team/image@{digest}"), tmp_path / "to").files()
    assert found == {f"models/{name}": content for name, content in FILES.items()}


def link(name, target, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tar({}, "w:gz", link("model.onnx", "/etc/passwd", tarfile.SYMTYPE)), "is a link or a device"),
        (tar({"a": b""}, "w:gz", link("b", "a", tarfile.LNKTYPE)), "is a link or a device"),
        (tar({"../model.onnx": b"x"}), "without empty parts, '.' and '..'"),
        (tar({"/model.onnx": b"x"}), "without empty parts, '.' and '..'"),
        (tar({"a/.wh.b": b""}), "removes a file of a layer below"),
        (tar({"model.onnx": b"x" * 200_000}), "more than 100000 bytes unpacked"),
        (tar({"A": b"", "a": b""}), "differ in case or accents only"),
        (b"no archive", "not a tar archive"),
        (tar({"model.onnx": bytes(range(256)) * 300}, "w:gz")[:-200], "not a tar archive"),
    ],
    ids=["symlink", "hard link", "parent", "absolute", "whiteout", "bomb", "case", "none", "cut"],
)
async def test_what_an_archive_must_not_hold_is_refused(registry, tmp_path, content, said):
    digest = image(registry, "team/bad", ("application/vnd.oci.image.layer.v1.tar+gzip", content))
    trouble = await Gather(uri(registry, f"team/bad@{digest}"), tmp_path / "to", limit_bytes=100_000).trouble()
    assert (trouble.reason, said in trouble.message) == ("ModelUnusable", True), trouble
    assert not (tmp_path / "model.onnx").exists()


GZIPPED = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([(GZIPPED, b"1"), (GZIPPED, b"2")], "no title (annotation org.opencontainers.image.title)"),
        (
            [("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"1")],
            "'application/vnd.cncf.helm.chart.content.v1",
        ),
        ([("application/vnd.oci.image.layer.v1.tar+zstd", b"1")], "'application/vnd.oci.image.layer.v1.tar+zstd'"),
        ([], "it has no layers"),
    ],
    ids=["an image of two layers", "a chart", "zstd", "nothing"],
)
async def test_foreign_things_are_named(registry, tmp_path, layers, said):
    digest = image(registry, "team/foreign", *layers)
    trouble = await Gather(uri(registry, f"team/foreign@{digest}"), tmp_path).trouble()
    assert (trouble.reason, said in trouble.message) == ("ModelUnusable", True), trouble


async def test_an_index_is_refused(registry, files, tmp_path):
    digest = registry.push("team/index:1", files, "model.onnx")
    size = len(call(registry.port, "GET", f"/v2/team/index/manifests/{digest}", None, {"accept": MANIFEST}).body)
    kind = "application/vnd.oci.image.index.v1+json"
    index = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [{"mediaType": MANIFEST, "digest": digest, "size": size}],
    }
    named = put(registry, "team/index", json.dumps(index).encode(), kind)
    trouble = await Gather(uri(registry, f"team/index@{named}"), tmp_path).trouble()
    assert "an index of several manifests; name the one that is meant by its digest" in trouble.message


async def test_what_is_not_there_and_what_cannot_be_meant(registry, tmp_path):
    trouble = await Gather(uri(registry, "team/nothing:1"), tmp_path).trouble()
    assert trouble.reason == "ModelNotFound"
    assert "/v2/team/nothing/manifests/1 answered 404 Not Found" in trouble.message
    trouble = await Gather(uri(registry, "Team/UPPER:1"), tmp_path).trouble()
    assert "expected oci://registry/repository:tag" in trouble.message


@pytest.fixture
def guarded(tmp_path, files):
    """A registry that asks for a password."""
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = f"auth:\n  htpasswd: {{realm: tests, path: '{tmp_path / 'htpasswd'}'}}\n"
    with Registry(tmp_path / "guarded", auth=auth) as server:
        server.push("team/model:1", files, "model.onnx", user=f"leadline:{PASSWORD}")
        yield server


async def test_a_password_is_sent_where_it_is_asked_for(guarded, tmp_path, monkeypatch):
    place = uri(guarded, "team/model:1")
    trouble = await Gather(place, tmp_path).trouble()
    assert (trouble.reason, "OCI_USERNAME and OCI_PASSWORD" in trouble.message) == ("ModelAccessDenied", True)
    monkeypatch.setenv("OCI_USERNAME", "leadline")
    monkeypatch.setenv("OCI_PASSWORD", "not this one")
    trouble = await Gather(place, tmp_path).trouble()
    assert (trouble.reason, "not this one" in trouble.message) == ("ModelAccessDenied", False)
    monkeypatch.setenv("OCI_PASSWORD", PASSWORD)
    assert await Gather(place, tmp_path).files() == {"model.onnx": b"a model"}


async def test_a_token_is_had_where_the_registry_says(files, tmp_path, monkeypatch):
    with (
        Tokens(tmp_path, "leadline", PASSWORD) as tokens,
        Registry(tmp_path / "guarded", auth=tokens.configuration()) as server,
    ):
        server.push("team/model:1", files, "model.onnx", user=f"leadline:{PASSWORD}")
        place = uri(server, "team/model:1")
        trouble = await Gather(place, tmp_path).trouble()
        assert (trouble.reason, "/token answered 401" in trouble.message) == ("ModelAccessDenied", True)
        monkeypatch.setenv("OCI_USERNAME", "leadline")
        monkeypatch.setenv("OCI_PASSWORD", PASSWORD)
        assert await Gather(place, tmp_path).files() == {"model.onnx": b"a model"}
        assert tokens.asked[-1] == "service=registry.example&scope=repository%3Ateam/model%3Apull"


def test_a_pod_serves_an_artifact_and_reports_its_manifest(registry, start, digits, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(digits.folder / "good.onnx", folder / "good.onnx")
    digest = registry.push("team/digits:1", folder, "good.onnx")
    pod = start(
        uri(registry, "team/digits:1"), digest=digits.digest("good.onnx"), environment={"OCI_ALLOW_HTTP": "true"}
    ).wait_ready()
    assert infer(pod.public, digits.rows[0]).status == 200
    assert pod.exchange().resolved == f"oci manifest {digest}"

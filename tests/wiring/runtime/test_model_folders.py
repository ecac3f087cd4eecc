"""Models of several files in real pods: external data, claims, and the ledger's copies of folders."""

import hashlib
import shutil

import numpy as np
import pytest
from leadline_runtime.fetch import folders
from onnx import TensorProto, helper

from tests.wiring.runtime.gathers import Gather, tree
from tests.wiring.runtime.pods import call, eventually, inference

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)


def external(location: str) -> bytes:
    """Return a model that multiplies two numbers by weights that are in another file."""
    weights = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[2, 3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(WEIGHTS.nbytes))):
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "W"], ["Y"])],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


FILES = {"model.onnx": external("weights/w.bin"), "weights/w.bin": WEIGHTS.tobytes(), "README.md": b"two by three"}


def digest(files):
    return folders.of_files(
        [folders.File(path, folders.digest_of(content), len(content)) for path, content in files.items()],
        is_folder=True,
    ).digest


def learned(pod):
    """Say what the pod should believe: what it found."""
    found = pod.report("waits", lambda report: report.phase == "Waiting").digest
    pod.exchange(digest=found)
    return found


def answers(pod):
    answer = call(pod.public, "POST", "/v2/models/digits/infer", inference([1.0, 10.0]))
    return answer.json()["outputs"][0]["data"]


def test_external_data_is_loaded_and_the_folder_has_one_digest(start, tmp_path):
    pod = start(tree(tmp_path / "m", FILES).as_uri())
    assert learned(pod) == digest(FILES)
    pod.wait_ready()
    assert answers(pod) == [30.0, 41.0, 52.0]
    report = pod.exchange()
    assert (report.digest, report.bytes_done) == (digest(FILES), sum(map(len, FILES.values())))


def test_a_model_below_the_top_is_named_after_the_uri(start, tmp_path):
    files = {"onnx/model.onnx": external("w.bin"), "onnx/w.bin": WEIGHTS.tobytes()}
    pod = start(tree(tmp_path / "m", files).as_uri())
    trouble = pod.report("failed", lambda report: report.phase == "Failed").trouble
    assert (trouble.reason, trouble.blame) == ("InvalidModel", "model")
    assert "has no .onnx file at its top; it has onnx/model.onnx, onnx/w.bin" in trouble.message
    named = start(f"{(tmp_path / 'm').as_uri()}#onnx/model.onnx")
    assert learned(named) == digest(files)
    named.wait_ready()
    assert answers(named) == [30.0, 41.0, 52.0]


@pytest.mark.parametrize("where", ["../w.bin", "absolute", "nothing.bin"])
def test_external_data_outside_of_the_folder_is_refused(start, tmp_path, where):
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    location = str(tmp_path / "w.bin") if where == "absolute" else where
    folder = tree(tmp_path / "m", {"model.onnx": external(location)})
    pod = start(folder.as_uri())
    # The pod's own copy of the folder is what counts: what would be at ../w.bin there is put there, too.
    learned_digest = pod.report("waits", lambda report: report.phase == "Waiting").digest
    (pod.folder / "data" / "w.bin").write_bytes(WEIGHTS.tobytes())
    pod.exchange(digest=learned_digest)
    trouble = pod.report("failed", lambda report: report.phase == "Failed").trouble
    assert (trouble.reason, trouble.blame) == ("InvalidModel", "model")
    assert "the model's external data cannot be had" in trouble.message


def test_a_single_file_cannot_read_what_lies_about_in_the_pod(start, tmp_path):
    place = tmp_path / "m.onnx"
    place.write_bytes(external("token"))
    pod = start(place.as_uri(), digest=f"sha256:{hashlib.sha256(place.read_bytes()).hexdigest()}")
    # The worker's own folder, which would be / in a container.
    (pod.folder / "token").write_bytes(WEIGHTS.tobytes())
    trouble = pod.report("failed", lambda report: report.phase == "Failed").trouble
    assert "the model's external data cannot be had" in trouble.message


def test_a_container_that_is_started_again_needs_no_store_for_a_folder(start, tmp_path):
    place = tree(tmp_path / "m", FILES)
    first = start(place.as_uri(), digest=digest(FILES)).wait_ready()
    first.terminate()
    first.ended()
    shutil.rmtree(place)
    again = start(
        place.as_uri(), digest=digest(FILES), environment={"LEADLINE_DATA_DIR": str(first.folder / "data")}
    ).wait_ready()
    assert answers(again) == [30.0, 41.0, 52.0]


def test_a_claims_file_and_folder_are_read_and_nothing_else(start, tmp_path):
    tree(tmp_path / "claims" / "models" / "two", FILES)
    (tmp_path / "secret").write_text("nobody's business")
    (tmp_path / "claims" / "models" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "claims" / "models" / "inner").symlink_to("two")
    environment = {"LEADLINE_CLAIMS_DIR": str(tmp_path / "claims")}
    for uri in ("pvc://models/two/", "pvc://models/two", "pvc://models/inner"):
        pod = start(uri, digest=digest(FILES), environment=environment).wait_ready()
        assert answers(pod) == [30.0, 41.0, 52.0]
        pod.stop()
    for uri, reason, said in (
        ("pvc://models/link", "ModelUnusable", "leads out of the claim"),
        ("pvc://models/../../secret", "ModelUnusable", "leads out of the claim"),
        ("pvc://models/nothing", "ModelNotFound", "there is no such file"),
        ("pvc://others/two", "ModelNotFound", "this claim is not mounted here"),
    ):
        pod = start(uri, environment=environment)
        trouble = pod.report("failed", lambda report: report.trouble).trouble
        assert (trouble.reason, said in trouble.message, trouble.blame) == (reason, True, "surroundings"), trouble
        pod.stop()


@pytest.fixture
def ledger(ledgers, tmp_path):
    token = tmp_path / "token"
    token.write_text("a token")
    return {"LEADLINE_LEDGER_URL": ledgers.edge.url, "LEADLINE_LEDGER_TOKEN_FILE": str(token)}


def test_a_folder_is_kept_file_by_file_and_comes_back_when_its_place_is_gone(ledgers, ledger, start, tmp_path):
    place = tree(tmp_path / "m", FILES)
    pod = start(place.as_uri(), digest=digest(FILES), environment=ledger).wait_ready()
    eventually("kept", lambda: digest(FILES) in ledgers.edge.blobs)
    assert set(ledgers.edge.blobs) == {digest(FILES)} | {folders.digest_of(content) for content in FILES.values()}
    pod.stop()
    shutil.rmtree(place)
    back = start(place.as_uri(), digest=digest(FILES), environment=ledger).wait_ready()
    assert answers(back) == [30.0, 41.0, 52.0]
    assert back.exchange().uri_trouble.reason == "ModelNotFound"


def test_a_folder_of_which_one_file_was_overwritten_comes_from_the_ledger(ledgers, ledger, start, tmp_path):
    place = tree(tmp_path / "m", FILES)
    for content in FILES.values():
        ledgers.edge.blobs[folders.digest_of(content)] = content
    files = [folders.File(path, folders.digest_of(content), len(content)) for path, content in FILES.items()]
    ledgers.edge.blobs[digest(FILES)] = folders.manifest(files)
    (place / "weights" / "w.bin").write_bytes(np.zeros(6, np.float32).tobytes())
    pod = start(place.as_uri(), digest=digest(FILES), environment=ledger).wait_ready()
    assert answers(pod) == [30.0, 41.0, 52.0]
    assert pod.exchange().uri_trouble.reason == "DigestMismatch"


@pytest.mark.parametrize("spoilt", ["a file is missing", "a file is another", "the manifest is none"])
def test_a_ledger_that_lost_a_part_gives_no_mixture(ledgers, ledger, start, tmp_path, spoilt):
    files = [folders.File(path, folders.digest_of(content), len(content)) for path, content in FILES.items()]
    ledgers.edge.blobs = {folders.digest_of(content): content for content in FILES.values()}
    ledgers.edge.blobs[digest(FILES)] = folders.manifest(files)
    weights = folders.digest_of(FILES["weights/w.bin"])
    if spoilt == "a file is missing":
        del ledgers.edge.blobs[weights]
    elif spoilt == "a file is another":
        ledgers.edge.blobs[weights] = b"0" * len(FILES["weights/w.bin"])
    else:
        ledgers.edge.blobs[digest(FILES)] = folders.HEADER + b"nonsense\n"
    pod = start((tmp_path / "gone").as_uri(), digest=digest(FILES), environment=ledger)
    eventually("asked in vain", lambda: "blob store does not have the model" in pod.log.read_text())
    assert pod.report("failed", lambda report: report.trouble).trouble.reason == "ModelNotFound"
    assert not (pod.folder / "data" / "model").exists()


async def test_a_folder_over_the_limit_is_refused_before_it_is_fetched(tmp_path):
    tree(tmp_path / "m", {"model.onnx": b"x" * 600, "weights.bin": b"x" * 600})
    gather = Gather((tmp_path / "m").as_uri(), tmp_path, limit_bytes=1_000)
    trouble = await gather.trouble()
    assert (trouble.reason, "more than 1000 bytes" in trouble.message) == ("ModelTooLarge", True)
    assert gather.progress == []


async def test_a_disk_without_room_is_told_before_a_byte_is_written(tmp_path):
    place = tmp_path / "m.onnx"
    with place.open("wb") as file:
        size = shutil.disk_usage(tmp_path).total + 1
        file.truncate(size)  # of holes: it takes no room itself
    trouble = await Gather(place.as_uri(), tmp_path, limit_bytes=1 << 60).trouble()
    assert (trouble.reason, f"needs {size} bytes more" in trouble.message) == ("NoRoomOnDisk", True)


async def test_a_host_that_can_be_none_is_told(tmp_path):
    trouble = await Gather("http://a..b/model.onnx", tmp_path).trouble()
    assert (trouble.reason, "'a..b' can be no host's name" in trouble.message) == ("ModelStoreUnreachable", True)

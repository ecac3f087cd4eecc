"""Signed models: signed by the real package (OpenSSF model signing), verified by ours; both judge the same folders."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from leadline_runtime.fetch import folders, signatures

from tests.wiring.runtime.gathers import tree
from tests.wiring.runtime.pods import infer
from tests.wiring.runtime.servers import provided

FILES = {"model.onnx": b"graph", "weights/w.bin": b"1234", ".gitattributes": b"not signed"}


def key_pair(folder: Path, curve=None) -> tuple[Path, Path]:
    """Write a private and a public key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def run(*arguments: object) -> bool:
    """Run the real package's command; return whether it said yes."""
    command = [str(provided("model-signing") / "model_signing"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def sign(private: Path, model: Path, signature: Path, *more: str) -> None:
    assert run("sign", "key", "--private_key", private, "--signature", signature, *more, model)


def package_says(public: Path, model: Path, signature: Path) -> bool:
    return run("verify", "key", "--public_key", public, "--signature", signature, model)


def we_say(public: Path, folder: Path, signature: Path, loaded: str = "model.onnx") -> str:
    """Return why we refuse; empty: we do not."""
    files = [
        folders.File(path, folders.digest_of((folder / path).read_bytes()), size)
        for path, size, _ in folders.walk(folder)
    ]
    try:
        signatures.verify(signature.read_bytes(), public.read_bytes(), folders.of_files(files, is_folder=True), loaded)
    except signatures.InvalidError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A signed folder with its keys; tests change copies of it."""
    folder = tmp_path_factory.mktemp("signed")
    private, _ = key_pair(folder / "keys")
    model = tree(folder / "model", FILES)
    sign(private, model, model / "model.sig")
    return folder


@pytest.fixture
def copy(signed, tmp_path):
    return Path(shutil.copytree(signed / "model", tmp_path / "copy"))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_each_kind_of_key_that_the_package_takes_is_taken(tmp_path, curve):
    private, public = key_pair(tmp_path / "keys", curve)
    model = tree(tmp_path / "model", FILES)
    sign(private, model, model / "model.sig")
    assert we_say(public, model, model / "model.sig") == ""


def changed(folder: Path, how: str) -> None:
    match how:
        case "changed":
            (folder / "weights" / "w.bin").write_bytes(b"1235")
        case "added":
            (folder / "weights" / "more.bin").write_bytes(b"")
        case "removed":
            (folder / "weights" / "w.bin").unlink()
        case "renamed":
            (folder / "weights" / "w.bin").rename(folder / "weights" / "v.bin")
        case "git's own changed":
            (folder / ".gitattributes").write_bytes(b"changed")
        case "cut":
            content = (folder / "model.sig").read_bytes()
            (folder / "model.sig").write_bytes(content[: len(content) // 2])
        case "payload":
            content = (folder / "model.sig").read_text().replace('"payload":"ew', '"payload":"eA')
            (folder / "model.sig").write_text(content.replace('"payload": "ew', '"payload": "eA'))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("untouched", ""),
        ("git's own changed", ""),
        ("changed", "'weights/w.bin' has digest"),
        ("added", "'weights/more.bin' is not signed"),
        ("removed", "'weights/w.bin' is signed and not there"),
        ("renamed", "'weights/v.bin' is not signed"),
        ("cut", "not a bundle"),
        ("payload", "the signature is not of this key"),
    ],
)
def test_we_and_the_package_say_the_same(signed, copy, how, said):
    changed(copy, how)
    public = signed / "keys" / "key.pub"
    ours = we_say(public, copy, copy / "model.sig")
    assert said in ours
    assert bool(said) == bool(ours)
    assert package_says(public, copy, copy / "model.sig") == (not ours)


def test_another_key_is_refused_by_both(signed, copy, tmp_path):
    _, other = key_pair(tmp_path / "other")
    assert we_say(other, copy, copy / "model.sig") == "signed with another key"
    assert not package_says(other, copy, copy / "model.sig")


@pytest.mark.parametrize("key", ["none", "of another kind"])
def test_a_public_key_that_cannot_be_meant_is_told(copy, tmp_path, key):
    public = tmp_path / "key.pub"
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(b"no key" if key == "none" else other.public_bytes(*form))
    with pytest.raises(signatures.KeyUnusableError, match="expected a"):
        we_say(public, copy, copy / "model.sig")


def test_the_model_itself_may_not_be_left_out_of_the_signature(signed, tmp_path):
    """The package takes what its signer left out; we want the file that is loaded to be signed."""
    model = tree(tmp_path / "model", FILES)
    private, public = signed / "keys" / "key.pem", signed / "keys" / "key.pub"
    sign(private, model, model / "model.sig", "--ignore-paths", str(model / "model.onnx"))
    assert package_says(public, model, model / "model.sig")
    assert we_say(public, model, model / "model.sig") == "'model.onnx', which is to be loaded, is not signed"


# In pods


@pytest.fixture
def place(digits, tmp_path, signed):
    """A folder with a model that can be served, signed."""
    folder = tmp_path / "place"
    folder.mkdir()
    shutil.copy(digits.folder / "good.onnx", folder / "model.onnx")
    sign(signed / "keys" / "key.pem", folder, folder / "model.sig")
    return folder


def key_of(signed):
    return {"LEADLINE_SIGNATURE_KEY_FILE": str(signed / "keys" / "key.pub")}


def learned(pod):
    pod.exchange(digest=pod.report("waits", lambda report: report.phase == "Waiting").digest)
    return pod.wait_ready()


def rejected(pod):
    """Return the reason of a finding, of which no digest is told."""
    report = pod.report("failed", lambda report: report.phase == "Failed")
    assert (report.trouble.blame, report.digest) == ("model", "")
    return report.trouble.reason


def test_a_signed_folder_is_served(start, digits, place, signed):
    pod = learned(start(place.as_uri() + "/", environment=key_of(signed)))
    assert infer(pod.public, digits.rows[0]).status == 200


def test_a_folder_that_is_not_signed_or_not_so_is_rejected_and_its_digest_not_told(start, place, signed, tmp_path):
    (place / "model.onnx").write_bytes((place / "model.onnx").read_bytes() + b" ")
    assert rejected(start(place.as_uri(), environment=key_of(signed))) == "SignatureInvalid"
    (place / "model.sig").unlink()
    assert rejected(start(place.as_uri(), environment=key_of(signed))) == "SignatureMissing"


def test_a_key_that_cannot_be_used_is_no_finding_about_the_model_and_is_looked_at_again(
    start, place, signed, tmp_path, monkeypatch
):
    key = tmp_path / "key.pub"
    pod = start(place.as_uri() + "/", environment={"LEADLINE_SIGNATURE_KEY_FILE": str(key)})
    for content, said in ((None, "cannot be read"), (b"no key", "expected a public key in PEM")):
        if content is not None:
            key.write_bytes(content)
        trouble = pod.report(said, lambda report, said=said: report.trouble and said in report.trouble.message).trouble
        assert (trouble.reason, trouble.blame) == ("SignatureKeyUnusable", "surroundings")
    shutil.copy(signed / "keys" / "key.pub", key)
    assert pod.report("waits", lambda report: report.phase == "Waiting").signature == "Verified"


@pytest.fixture
def file(digits, tmp_path, signed):
    """A single file, signed beside it."""
    path = tmp_path / "single.onnx"
    shutil.copy(digits.folder / "good.onnx", path)
    sign(signed / "keys" / "key.pem", path, tmp_path / "single.onnx.sig")
    assert package_says(signed / "keys" / "key.pub", path, tmp_path / "single.onnx.sig")
    return path


def test_a_single_file_has_its_signature_beside_it(start, file, signed):
    learned(start(file.as_uri(), environment=key_of(signed)))
    file.with_name("single.onnx.sig").unlink()
    assert rejected(start(file.as_uri(), environment=key_of(signed))) == "SignatureMissing"


def test_a_single_file_that_was_changed_is_rejected(start, file, signed):
    file.write_bytes(file.read_bytes() + b" ")
    assert rejected(start(file.as_uri(), environment=key_of(signed))) == "SignatureInvalid"


def test_a_container_that_is_started_again_needs_no_signature_from_the_store(start, file, signed, digits):
    first = learned(start(file.as_uri(), environment=key_of(signed)))
    first.terminate()
    first.ended()
    file.unlink()
    file.with_name("single.onnx.sig").unlink()
    again = {**key_of(signed), "LEADLINE_DATA_DIR": str(first.folder / "data")}
    start(file.as_uri(), digest=digits.digest("good.onnx"), environment=again).wait_ready()


@pytest.mark.parametrize("told_by", ["exchange", "spec"])
def test_bytes_of_the_ledger_need_no_second_signature_if_their_digest_was_learned(
    ledgers, start, digits, signed, told_by
):
    digest = digits.digest("good.onnx")
    ledgers.edge.blobs[digest] = (digits.folder / "good.onnx").read_bytes()
    environment = {**key_of(signed), "LEADLINE_LEDGER_URL": ledgers.edge.url}
    gone = (digits.folder / "gone.onnx").as_uri()
    pod = start(gone, digest=digest if told_by == "spec" else "", environment=environment)
    if told_by == "exchange":
        pod.report("nothing there", lambda report: report.trouble)
        pod.exchange(digest=digest)
        assert pod.wait_ready().exchange().signature == "Vouched"
    else:
        pod.report("failed", lambda report: report.trouble and report.trouble.reason == "SignatureMissing")


def test_bytes_of_the_ledger_are_not_judged_by_the_signature_of_the_next_ones(ledgers, start, digits, file, signed):
    digest = digits.digest("good.onnx")
    ledgers.edge.blobs[digest] = (digits.folder / "good.onnx").read_bytes()
    next_one = file.with_name("next.onnx")
    next_one.write_bytes((digits.folder / "worse.onnx").read_bytes())
    sign(signed / "keys" / "key.pem", next_one, next_one.with_name("next.onnx.sig"))
    next_one.unlink()
    pod = start(next_one.as_uri(), environment={**key_of(signed), "LEADLINE_LEDGER_URL": ledgers.edge.url})
    pod.report("nothing there", lambda report: report.trouble)
    pod.exchange(digest=digest)
    pod.wait_ready()
    assert pod.exchange().digest == digest

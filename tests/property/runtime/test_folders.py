"""The digest of a folder: what it depends on and what not, which paths are taken, and that its manifest can be read back."""

import hashlib
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leadline_runtime.fetch import folders

NAMES = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\"), min_size=1, max_size=12)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=40), min_size=1, max_size=8)


def taken(paths):
    """Tell by the written rules alone whether a folder with these paths is taken."""
    folded = [unicodedata.normalize("NFC", path).casefold() for path in paths]
    parents = {name[:at] for name in folded for at, letter in enumerate(name) if letter == "/"}
    return (
        len(set(folded)) == len(paths)
        and not parents & set(folded)
        and all(unicodedata.is_normalized("NFC", path) for path in paths)
        and all(part not in {".", ".."} and len(part.encode()) < 256 for path in paths for part in path.split("/"))
    )


def files_of(tree):
    return [
        folders.File(path, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
        for path, content in tree.items()
    ]


@given(TREES, st.randoms())
def test_the_digest_is_that_of_the_manifest_in_any_order_and_reads_back(tree, random):
    files = files_of(tree)
    if not taken(tree):
        with pytest.raises(folders.FolderError):
            folders.of_files(files, is_folder=True)
        return
    model = folders.of_files(files, is_folder=True)
    random.shuffle(files)
    assert folders.of_files(files, is_folder=True) == model
    lines = sorted(f"{hashlib.sha256(tree[path]).hexdigest()} {len(tree[path])} {path}" for path in tree)
    by_path = sorted(lines, key=lambda line: line.split(" ", 2)[2].encode())
    text = "leadline-folder-v1\n" + "".join(f"{line}\n" for line in by_path)
    assert model.digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert folders.parse(folders.manifest(files)) == model.files


@given(TREES, st.data())
def test_a_changed_byte_name_or_file_changes_the_digest(tree, data):
    if not taken(tree):
        return
    before = folders.of_files(files_of(tree), is_folder=True).digest
    path = data.draw(st.sampled_from(sorted(tree)))
    changes = [{**tree, path: tree[path] + b"."}, {**tree, path + "x": b""}]
    changes.append({(f"{name}_" if name == path else name): content for name, content in tree.items()})
    for changed in changes:
        if taken(changed):
            assert folders.of_files(files_of(changed), is_folder=True).digest != before


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=30)
@given(TREES)
def test_a_folder_on_disk_has_the_digest_of_its_files(tree):
    if not taken(tree):
        return
    with tempfile.TemporaryDirectory() as name:
        for path, content in tree.items():
            target = Path(name) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        model = folders.of_files(files_of(tree), is_folder=True)
        assert folders.held(Path(name), model.digest) == model
        target.write_bytes(content + b".")
        assert folders.held(Path(name), model.digest) is None


@given(st.binary(max_size=200))
def test_a_manifest_that_is_none_is_an_error_of_ours(content):
    with pytest.raises(folders.FolderError):
        folders.parse(folders.HEADER + content)

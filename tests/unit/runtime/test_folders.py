"""Models of several files: the digest's worked example, paths that are refused, and which file is the model."""

import os
import re
from pathlib import Path

import pytest
from leadline_runtime import errors
from leadline_runtime.fetch import folders

PAGE = Path(__file__).parents[3] / "docs" / "models.md"


def digests(paths):
    return [folders.File(path, "sha256:" + "0" * 64, 1) for path in paths]


def test_the_worked_example_of_the_page_holds():
    """docs/models.md: files with their content, the manifest, its digest."""
    example = PAGE.read_text().partition("### A worked example")[2]
    (manifest,) = re.findall(r"```text\n(leadline-folder-v1\n.*?)```", example, re.DOTALL)
    (digest,) = re.findall(r"`(sha256:[0-9a-f]{64})`", example)
    contents = {"model.onnx": b"graph\n", "weights/layer-1.bin": b"\x00\x01\x02\x03"}
    files = [folders.File(path, folders.digest_of(content), len(content)) for path, content in contents.items()]
    assert folders.manifest(files).decode() == manifest
    assert folders.of_files(files, is_folder=True).digest == digest


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "the folder is empty"),
        (["../model.onnx"], "without empty parts, '.' and '..'"),
        (["a/../model.onnx"], "without empty parts, '.' and '..'"),
        (["/model.onnx"], "without empty parts, '.' and '..'"),
        (["a//b"], "without empty parts, '.' and '..'"),
        (["a/"], "without empty parts, '.' and '..'"),
        (["./a"], "without empty parts, '.' and '..'"),
        ([""], "expected 1 to 1024 bytes, got 0"),
        (["x" * 1_025], "expected 1 to 1024 bytes, got 1025"),
        (["x" * 256], "expected names of at most 255 bytes"),
        (["a\\b"], "expected no backslash and no control characters"),
        (["a\nb"], "expected no backslash and no control characters"),
        (["a\u2028b"], "expected no backslash and no control characters"),
        (["a\udcffb"], "expected UTF-8"),
        (["u\u0308.bin"], "expected Unicode in its composed form (NFC)"),
        (["Model.onnx", "model.onnx"], "'Model.onnx' and 'model.onnx' differ in case or accents only"),
        (["straße", "STRASSE"], "differ in case or accents only"),
        (["a", "a/b"], "'a' is a file and a folder"),
    ],
)
def test_a_path_that_is_not_taken_is_named_with_the_rule(paths, said):
    with pytest.raises(folders.FolderError, match=re.escape(said)):
        folders.of_files(digests(paths), is_folder=True)


@pytest.mark.parametrize(
    ("paths", "wanted", "found"),
    [
        (["model.onnx", "w.bin"], "", "model.onnx"),
        (["MLmodel", "digits.onnx", "deep/other.onnx"], "", "digits.onnx"),
        (["a.onnx", "b.onnx"], "b.onnx", "b.onnx"),
        (["onnx/model.onnx"], "onnx/model.onnx", "onnx/model.onnx"),
    ],
)
def test_the_one_onnx_file_at_the_top_is_the_model_or_the_one_that_is_named(paths, wanted, found):
    assert folders.model_file(folders.of_files(digests(paths), is_folder=True), wanted) == found


@pytest.mark.parametrize(
    ("paths", "wanted", "said"),
    [
        (["a.onnx", "b.onnx"], "", "has 2 .onnx files at its top (a.onnx, b.onnx); name the one to load after #"),
        (["onnx/model.onnx", "README.md"], "", "has no .onnx file at its top; it has README.md, onnx/model.onnx"),
        (["model.onnx"], "other.onnx", "the folder has no file 'other.onnx'; it has model.onnx"),
    ],
)
def test_where_no_file_can_be_meant_it_is_said_what_there_is(paths, wanted, said):
    with pytest.raises(errors.RejectedError, match=re.escape(said)) as raised:
        folders.model_file(folders.of_files(digests(paths), is_folder=True), wanted)
    assert (raised.value.trouble.reason, raised.value.trouble.blame) == ("InvalidModel", "model")


def test_a_path_after_the_uri_of_a_file_is_refused():
    model = folders.of_files(digests(["model.onnx"]), is_folder=False)
    assert folders.model_file(model, "") == "model.onnx"
    with pytest.raises(errors.RejectedError, match="the URI names a file"):
        folders.model_file(model, "x")


@pytest.mark.parametrize("kind", ["file", "folder", "nowhere", "pipe"])
def test_what_is_neither_file_nor_folder_is_refused(tmp_path, kind):
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    (tmp_path / "other").mkdir()
    target = folder / "deep" / "link"
    if kind == "pipe":
        os.mkfifo(target)
    else:
        target.symlink_to({"file": tmp_path / "outside", "folder": tmp_path / "other", "nowhere": "gone"}[kind])
    with pytest.raises(folders.FolderError, match="'deep/link' is"):
        folders.walk(folder)


def test_more_files_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "FILES_MAX", 3)
    for number in range(5):
        (tmp_path / str(number)).touch()
    with pytest.raises(folders.FolderError, match="more than 3 files"):
        folders.walk(tmp_path)


def test_a_manifest_in_another_form_is_no_manifest():
    good = folders.manifest(digests(["a", "b"]))
    lines = good.splitlines(keepends=True)
    for bad in (b"".join([lines[0], lines[2], lines[1]]), good[:-1], good.replace(b" 1 ", b" 01 "), good + b"\n"):
        with pytest.raises(folders.FolderError):
            folders.parse(bad)

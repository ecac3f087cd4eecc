"""Archives of models: what stops one halfway leaves nothing behind, and what it holds is counted."""

import errno
import io
import tarfile
import tracemalloc

import pytest
from leadline_runtime.fetch import folders, gathering, stores, unpacking

LIMIT = 1 << 20


def archive(path, members):
    with tarfile.open(path, "w:gz") as packed:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                packed.addfile(member)
            else:
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_that_is_cut_off_can_be_unpacked_in_the_same_folder_once_it_is_whole(tmp_path):
    whole = archive(tmp_path / "whole", [("a", b"1" * 200_000), ("b/c", bytes(range(256)) * 500)])
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(stores.StoreError, match="not a tar archive that can be read"):
        unpacking.unpack(cut, tmp_path / "to", gzipped=True, limit_bytes=LIMIT)
    found = unpacking.unpack(whole, tmp_path / "to", gzipped=True, limit_bytes=LIMIT)
    assert [(file.path, file.size_bytes) for file in found] == [("a", 200_000), ("b/c", 128_000)]


def test_a_full_disk_is_no_finding_about_the_archive(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = archive(tmp_path / "a", [("a", b"1")])
    monkeypatch.setattr(unpacking, "_written", full)
    with pytest.raises(stores.StoreError, match="no room to unpack it: No space left") as caught:
        unpacking.unpack(path, tmp_path / "to", gzipped=True, limit_bytes=LIMIT)
    assert caught.value.fault is stores.Fault.UNREACHABLE


def test_a_header_that_is_large_once_it_is_unpacked_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as packed:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "x" * (64 << 20)}
        packed.addfile(member)
    assert path.stat().st_size < LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(folders.FolderError, match=r"a header of 67108.* bytes, the limit is 1048576"):
            unpacking.unpack(path, tmp_path / "to", gzipped=True, limit_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20, (
            "a block of what is packed may be a thousand times as large"
        )
    finally:
        tracemalloc.stop()


def test_folders_count_as_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "_MEMBERS_MAX", 3)
    path = archive(tmp_path / "a", [(f"d{place}", None) for place in range(4)])
    with pytest.raises(folders.FolderError, match="more than 3 entries"):
        unpacking.unpack(path, tmp_path / "to", gzipped=True, limit_bytes=LIMIT)


@pytest.fixture
def settled(tmp_path):
    """What a folder holds after it was put in its place for a model of one file."""

    def settle(files):
        work = gathering.Gathering(
            (tmp_path / "m").as_uri(),
            tmp_path / "model",
            limit_bytes=LIMIT,
            try_seconds=1.0,
            on_progress=lambda *_: None,
            on_trouble=lambda *_: None,
        )
        for name, content in files.items():
            path = work._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        work._settle(folders.of_files([folders.File("model.onnx", "sha256:" + "0" * 64, 1)], is_folder=True))
        return sorted(str(path.relative_to(tmp_path / "model")) for path in (tmp_path / "model").rglob("*"))

    return settle


def test_what_an_earlier_listing_named_is_not_kept_beside_the_model(settled):
    assert settled({"model.onnx": b"1", "extra.bin": b"2", "d/e/f": b"3"}) == ["model.onnx"]


async def test_files_may_be_called_as_ours_are_on_their_way(tmp_path):
    names = ["model.onnx", "model.onnx.partial", "model.onnx.archive", "d/model.partial/x", "d/model.pieces"]
    for name in names:
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    work = gathering.Gathering(
        (tmp_path / "source").as_uri() + "/",
        tmp_path / "model",
        limit_bytes=LIMIT,
        try_seconds=5.0,
        on_progress=lambda *_: None,
        on_trouble=lambda *_: None,
    )
    found = await work.once()
    assert sorted(file.path for file in found.model.files) == sorted(names)
    assert {name: (tmp_path / "model" / name).read_text() for name in names} == {name: name for name in names}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]


def test_a_file_that_is_not_there_is_told(settled):
    with pytest.raises(Exception, match=r"'model\.onnx' was overwritten by another file"):
        settled({"other": b"1"})

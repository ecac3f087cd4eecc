"""A key stands for content: equal content, equal key; any change, another key."""

import pytest
from localkind import keys


def test_key_is_the_same_whatever_the_order():
    one, two = ("a.go", b"package a"), ("b.go", b"package b")
    assert keys.content_key([one, two]) == keys.content_key([two, one])


@pytest.mark.parametrize(
    "parts",
    [
        [("a.go", b"package b")],
        [("b.go", b"package a")],
        [("a.go", b"package a"), ("b.go", b"")],
        [("a.gop", b"ackage a")],
        [],
    ],
    ids=["other content", "other name", "one more file", "moved boundary", "nothing"],
)
def test_key_is_another_when_anything_changes(parts):
    assert keys.content_key(parts) != keys.content_key([("a.go", b"package a")])


def test_key_has_twelve_hexadecimal_digits():
    key = keys.content_key([("a", b"b")])
    assert len(key) == keys.KEY_DIGITS
    assert int(key, 16) >= 0


def test_files_come_with_names_below_the_root_and_without_bytecode(tmp_path):
    (tmp_path / "app" / "__pycache__").mkdir(parents=True)
    (tmp_path / "app" / "main.py").write_text("pass")
    (tmp_path / "app" / "__pycache__" / "main.cpython-311.pyc").write_text("compiled")
    (tmp_path / "LICENSE").write_text("free")
    found = keys.files_of(tmp_path, ["LICENSE", "app"])
    assert sorted(found) == [("LICENSE", b"free"), ("app/main.py", b"pass")]


def test_missing_file_is_an_error_rather_than_no_content(tmp_path):
    with pytest.raises(FileNotFoundError):
        keys.files_of(tmp_path, ["pyproject.toml"])

"""Names of captured files: what they say is read again, and which files are to go."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_ledger.captures import naming

from tests.unit.ledger.ledgers import DAY_MS, NOW_MS
from tests.wiring.ledger.chunks import chunk


def test_a_name_says_all_that_is_known_of_a_file():
    made = chunk(1, 2, at_ms=NOW_MS)
    path = naming.path_of("shop/fraud", made, b"body", keep_ms=DAY_MS)
    found = naming.read(path, 7)
    assert found == naming.File(path, "shop/fraud", NOW_MS, NOW_MS, 2, NOW_MS + DAY_MS, found.columns, 7)
    assert naming.path_of("shop/fraud", made, b"body", keep_ms=DAY_MS) == path
    assert naming.path_of("shop/fraud", made, b"other", keep_ms=DAY_MS) != path
    assert naming.read(naming.path_of("shop/fraud", chunk(1, name="Y"), b"", keep_ms=1), 1).columns != found.columns


@pytest.mark.parametrize("path", ["captures/shop/fraud/notes.txt", "captures/shop/fraud/2026-01-01/a.parquet", "x"])
def test_what_is_not_ours_is_left_alone(path):
    assert naming.read(path, 1) is None


FILE = naming.File("a", "shop/fraud", 0, 0, 1, 100, "", 1)
FILES = st.lists(
    st.builds(
        lambda number, last, expires, size: dataclasses.replace(
            FILE, path=f"{number}", last_ms=last, expires_ms=expires, size_bytes=size
        ),
        st.integers(0, 10**6),
        st.integers(0, 100),
        st.integers(50, 150),
        st.integers(1, 10),
    ),
    unique_by=lambda file: file.path,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(FILES, st.integers(1, 60))
def test_the_oldest_go_and_no_more_than_must(files, most):
    gone = naming.to_delete(files, now_ms=100, most_bytes=most)
    left = [file for file in files if file not in gone]
    assert all(file.expires_ms > 100 for file in left)
    assert sum(file.size_bytes for file in left) <= most
    crowded_out = [file for file in gone if file.expires_ms > 100]
    for file in crowded_out:
        assert all(file.last_ms <= other.last_ms for other in left)
    if crowded_out:
        newest = max(crowded_out, key=lambda file: (file.last_ms, file.path))
        assert sum(file.size_bytes for file in left) + newest.size_bytes > most, "the last to go had to"

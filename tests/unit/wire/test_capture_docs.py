"""Captured files as people read them: what docs/capture.md shows runs as it is there."""

import re
from pathlib import Path

from leadline_ledger.captures import naming
from leadline_wire import capture_files

from tests.unit.ledger.ledgers import NOW_MS
from tests.wiring.ledger.chunks import chunk

PAGE = Path(__file__).parents[3] / "docs" / "capture.md"


def test_files_are_read_as_the_page_shows(tmp_path, monkeypatch, capsys):
    brought = [chunk(1, 2, 3), chunk(4, 5, at_ms=NOW_MS)]
    for each in brought:
        path = tmp_path / naming.path_of("shop/fraud", each, each.ids.encode(), keep_ms=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(capture_files.parquet(each))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text(encoding="utf-8"))
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.split() == ["0", "5"]

"""The programs of docs/client.md run as they stand, and print what they say; Python's one after the other, as they are told.

curl and Go report while the ledger is away, and it comes back: they have to try again. Go is the one that the local cluster is
built with.
"""

import contextlib
import io
import os
import re
import subprocess
from pathlib import Path

import pytest
from leadline_wire import receipts

from tests.wiring.runtime.pods import KEY, eventually

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "client.md").read_text()
BUILD_SECONDS = 600


def programs(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def promised(code):
    """Return what a program says that it prints: the comments behind what prints."""
    return re.findall(r"^\s*(?:print\(|fmt.Println\(|cat ).*?(?:  #|//) (.+)$", code, re.MULTILINE)


@pytest.fixture
def go(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "hack" / "cluster"))
    from localkind import layout, toolchain  # noqa: PLC0415 - found only now

    return toolchain.find(layout.default()).command


def test_python_prints_what_it_says(site, tmp_path, monkeypatch):
    there = site(entity="customer_id")
    monkeypatch.chdir(tmp_path)
    codes = programs("python")
    assert len(codes) == 4
    for code in codes:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(code.replace("http://digits.ml", there.url), {})  # our own page
        assert said.getvalue().splitlines() == promised(code)
    told = [(entry.truth, entry.correct, entry.tags, bool(entry.entity)) for entry in there.outcomes()]
    assert told == [("i7", None, {"country": "de"}, True), ("i0", None, {}, False), ("", True, {}, False)]


def reports_again(there, folder, command):
    """Run a program whose report comes while the ledger is away, until the pod has refused it; return what it prints."""
    there.ledger.kill()
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_PROXY": "*"},
    ) as program:
        try:
            eventually(
                "refused", lambda: there.pod.metrics().get('leadline_outcomes_total{fate="Unavailable"}', 0) >= 1, 60.0
            )
            there.ledger.start()
            out, err = program.communicate(timeout=60)
        finally:
            program.kill()
    assert program.returncode == 0, err
    (entry,) = there.outcomes()
    assert entry.truth == "i7"
    kept = (folder / "order-4711.receipt").read_text()
    assert receipts.verify(kept, {(key := receipts.key_of(KEY)).id: key}).id == entry.id
    return out.strip()


def test_curl_reports_again_until_the_ledger_is_back(site, tmp_path):
    (code,) = programs("bash")
    there = site()
    script = tmp_path / "script"
    script.write_text(code.replace("http://digits.ml", there.url))
    assert [reports_again(there, tmp_path, ["bash", "-eu", str(script)])] == promised(code)


def test_go_reports_again_until_the_ledger_is_back(site, tmp_path, go):
    (code,) = programs("go")
    there = site()
    (tmp_path / "main.go").write_text(code.replace("http://digits.ml", there.url))
    build = [go, "build", "-o", "program", "main.go"]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    done = subprocess.run(
        build, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [reports_again(there, tmp_path, ["./program"])] == promised(code)

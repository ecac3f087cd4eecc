"""`leadline labels` against the real ledger in its own process, behind a kubectl that only forwards."""

import json

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_cli import main
from leadline_wire import ledger

from tests.wiring.ledger import clusters
from tests.wiring.ledger.parts import RUNTIME

LABELLER = "system:serviceaccount:shop:leadline-labeller"
PATH = "/v1/namespaces/shop/models/fraud"


@pytest.fixture
def running(process, api, tmp_path, monkeypatch):
    api.allowed = {(LABELLER, verb, "modeldeployments/labels", "shop") for verb in ("create", "get")}
    started = process().start()
    monkeypatch.setenv("KUBECTL", str(clusters.kubectl(tmp_path, started.port, token=LABELLER)))
    return started


def labels(*arguments):
    return main.main(["labels", arguments[0], "-n", "shop", "fraud", *map(str, arguments[1:])])


def waiting(running):
    status, body = running.call("GET", f"{PATH}/labels/waiting", token=RUNTIME)
    assert status == 200, body
    return msgspec.json.decode(body, type=ledger.LabelsWaiting).rows


def settle(running):
    """Answer what waits as a runtime does: the new revision wrong on the first row."""
    done = []
    for number, label in enumerate(waiting(running)):
        said = "i1" if number else "i2"
        outcome = ledger.Outcome(0, id=label.id, revision="fraud-b", prediction=said, truth="i1")
        done.append(ledger.Labelled(label.id, outcome, ledger.Copied(label.id, "fraud-b", "fraud-a", said, "i1")))
    done[-1] = ledger.Labelled(done[-1].id, refused="a row of the test set")
    status, body = running.call("POST", f"{PATH}/intake", ledger.Intake(labelled=done))
    assert status == 200, body


def write(path, values):
    rows = [{"X": [value, 0.5], "label": 1} for value in values]
    if path.suffix == ".parquet":
        lists = pa.FixedSizeListArray.from_arrays(pa.array(np.array([row["X"] for row in rows], "f4").ravel()), 2)
        pq.write_table(pa.table({"X": lists, "label": [1] * len(rows)}), path)
    elif path.suffix == ".csv":
        path.write_text("X,label\n" + "".join(f'"{json.dumps(row["X"])}",1\n' for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_all_formats_are_the_same_rows_and_the_table_says_what_came_of_them(running, tmp_path, capsys):
    for number, name in enumerate(("a.parquet", "a.csv", "a.ndjson")):
        path = write(tmp_path / name, [0.1, 2.0, 3.25, 4.0])
        assert labels("add", path, "--truth", "label") == 0
        new, known = (4, 0) if number == 0 else (0, 4)
        assert capsys.readouterr().out.splitlines() == [
            f"shop/fraud: {new} rows accepted, {known} were there already, 0 with another truth",
            "4 wait to be answered",
        ]
    settle(running)
    assert labels("status") == 0
    assert capsys.readouterr().out.splitlines() == [
        "0 wait to be answered",
        "",
        f"{'answered by':<32} {'rows':>7} {'right':>7}  {'beside':<32} {'right':>7}",
        f"{'fraud-b':<32} {3:>7} {2:>7}  {'fraud-a':<32} {3:>7}",
        "",
        "not counted",
        "      1  a row of the test set",
    ]


def test_large_file_goes_in_several_calls_and_another_truth_is_told_by_its_row(running, tmp_path, capsys):
    path = write(tmp_path / "a.ndjson", range(5_000))
    assert labels("add", path, "--truth", "label") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "5,000 wait to be answered"
    assert said.err.splitlines() == ["  4,096 rows brought", "  5,000 rows brought"]
    lines = path.read_text().splitlines()
    lines[4_200] = json.dumps({"X": [4_200, 0.5], "label": 9})
    path.write_text("\n".join(lines))
    assert labels("add", path, "--truth", "label") == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "shop/fraud: 0 rows accepted, 4,999 were there already, 1 with another truth",
        "the first truth stays, of rows 4201",
    ]


def test_waiting_ends_with_the_time_and_says_so_by_its_status(running, tmp_path, capsys):
    path = write(tmp_path / "a.csv", [1.0])
    assert labels("add", path, "--truth", "label", "--wait", "0.1") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 wait to be answered"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "X,label\n1\n", "another number of cells"),
        ("a.csv", "X,label\n", "holds no rows"),
        ("a.csv", "X,y\n1,2\n", 'row 1: column "label" not found'),
        ("a.ndjson", "{", "cannot be read"),
        ("a.txt", "", "expected a file that ends in"),
        ("a.parquet", "PAR1", "not a readable Parquet file"),
    ],
)
def test_file_that_cannot_be_meant_is_told_and_nothing_of_it_is_kept(running, tmp_path, capsys, name, content, said):  # noqa: PLR0917
    path = tmp_path / name
    path.write_text(content)
    assert labels("add", path, "--truth", "label") == 1
    assert said in capsys.readouterr().err
    assert waiting(running) == []


def test_missing_right_is_named(running, api, tmp_path, capsys):
    api.allowed = set()
    assert labels("add", write(tmp_path / "a.csv", [1.0]), "--truth", "label") == 1
    said = capsys.readouterr().err
    assert f"{LABELLER} may not create modeldeployments/labels of group leadline.dev in namespace shop" in said
    assert "docs/labels.md" in said

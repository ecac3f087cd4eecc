"""`leadline outcomes export` against the real ledger in its own process, behind a kubectl that only forwards.

Covered: files of each format, one more file each time with every outcome once, whatever was killed in between, and words for
what is wrong. Not covered: a real kubectl, which the cluster suite has for `leadline replay`.
"""

import csv
import http.client
import io
import json
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from leadline_cli import main
from leadline_wire import captures, ledger, predictions

from tests.unit.ledger.ledgers import identifier, outcome
from tests.wiring.ledger import chunks, clusters
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.ledger.tables import parquet

END_SECONDS = 60.0


def now_ms():
    return time.time_ns() // 1_000_000


def spread(number, at_ms):
    """Return number and time for an identifier, which holds small numbers only."""
    return number % 4_000, at_ms + number // 4_000


def identifiers(numbers, at_ms):
    return [identifier(*spread(number, at_ms)) for number in numbers]


def tell(running, numbers, *, at_ms, model=MODEL, **more):
    told = []
    for number in numbers:
        short, later_ms = spread(number, at_ms)
        told.append(outcome(short, at_ms=later_ms, truth=number % 2, **more))
    for first in range(0, len(told), 4_000):
        message = ledger.Intake(outcomes=told[first : first + 4_000])
        status, body = running.call("POST", f"{model}/intake", message)
        assert status == 200, body


@pytest.fixture
def running(process, tmp_path, monkeypatch):
    started = process().start()
    monkeypatch.setenv("KUBECTL", str(clusters.kubectl(tmp_path, started.port)))
    return started


def export(*arguments):
    return main.main(["outcomes", "export", "-n", "shop", "fraud", *map(str, arguments)])


def refused(capsys, *arguments):
    """Return the line that the command ends with when it is refused."""
    assert export(*arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1].removeprefix("leadline outcomes export: ")


def tables(folder):
    return sorted(folder.glob("*.parquet"))


def ids(paths):
    return [row["prediction_id"] for path in paths for row in pyarrow.parquet.read_table(path).to_pylist()]


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".leadline-export-")]


def test_file_holds_every_outcome_and_the_table_counts_them(running, tmp_path, capsys):
    at_ms = now_ms()
    tell(running, range(90), at_ms=at_ms)
    tell(running, range(90, 100), at_ms=at_ms + 1, revision="fraud-b")
    path = tmp_path / "fraud.parquet"
    assert export("-o", path) == 0
    said = capsys.readouterr()
    table, metadata = parquet(path.read_bytes())
    assert table["prediction_id"].to_pylist() == [identifier(number, at_ms + (number >= 90)) for number in range(100)]
    assert (metadata["model"], metadata["cursor"], metadata["split"]) == ("shop/fraud", "100", "both")
    sides = table["split"].to_pylist()
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1_000))
    assert said.out.splitlines() == [
        "shop/fraud: 100 outcomes of entries 1 to 100",
        "",
        "revision      train       test  predicted (UTC)",
        f"fraud-a  {sides[:90].count('train'):>10} {sides[:90].count('test'):>10}  {when}",
        f"fraud-b  {sides[90:].count('train'):>10} {sides[90:].count('test'):>10}  {when}",
        f"all      {sides.count('train'):>10} {sides.count('test'):>10}  {when}",
        "",
        f"file  {path}",
        f"next  --after 100@{metadata['timeline']}",
    ]
    assert said.err.splitlines() == ["  100 outcomes, up to entry 100", "  writing parquet"]
    assert left_over(tmp_path) == []


def test_formats_hold_the_same_rows(running, tmp_path):
    tell(running, range(20), at_ms=now_ms(), tags={"country": 'a "b", c'})
    for name in ("a.parquet", "a.csv", "a.ndjson"):
        assert export("-o", tmp_path / name, "--test-percent", "50") == 0
    rows = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "a.ndjson").read_text().splitlines()]
    cells = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == 20
    for row, line, cell in zip(rows, lines, cells, strict=True):
        assert {name: row[name] for name in row if name not in {"predicted_at", "came_at", "tags"}} == {
            name: line[name] for name in line if name not in {"predicted_at", "came_at", "tags"}
        }
        assert (dict(row["tags"]), json.loads(cell["tags"])) == (line["tags"], line["tags"])
        assert list(cell) == list(line)
        assert (cell["truth"], cell["correct"], cell["score"]) == (str(line["truth"]), str(line["correct"]).lower(), "")
        assert cell["came_at"] == line["came_at"]


def test_one_side_alone_is_exported(running, tmp_path):
    tell(running, range(200), at_ms=now_ms())
    for side in ("train", "test"):
        assert export("-o", tmp_path / side, "--split", side, "--test-percent", "30") == 0
    sides = [pyarrow.parquet.read_table(tmp_path / side)["split"].to_pylist() for side in ("train", "test")]
    assert [set(each) for each in sides] == [{"train"}, {"test"}]
    assert len(sides[0]) + len(sides[1]) == 200


def test_predictions_of_many_kinds_are_strings_in_the_whole_file(running, tmp_path):
    at_ms = now_ms()
    tell(running, range(3), at_ms=at_ms)
    named = outcome(3, at_ms=at_ms, prediction=predictions.of_class("fine"))
    running.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=[msgspec.structs.replace(named, truth="i7")]))
    assert export("-o", tmp_path / "a.parquet") == 0
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table["prediction"].to_pylist() == ["1", "1", "1", "fine"]
    assert table["truth"].to_pylist() == ["0", "1", "0", "7"]


def test_each_call_adds_what_came_since_and_kills_of_the_ledger_lose_and_double_nothing(running, tmp_path, capsys):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    at_ms, brought = now_ms(), 0
    for number in (30, 1, 50):
        tell(running, range(brought, brought + number), at_ms=at_ms)
        brought += number
        running.kill()
        running.start()
        assert export("-o", folder, "--state", state) == 0
    assert export("-o", folder, "--state", state) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "shop/fraud: nothing new after entry 81; no file was written"
    assert [path.name for path in tables(folder)] == [
        "fraud-000000000000-000000000030.parquet",
        "fraud-000000000030-000000000031.parquet",
        "fraud-000000000031-000000000081.parquet",
    ]
    assert ids(tables(folder)) == identifiers(range(81), at_ms)
    assert left_over(folder) == []


def command(*arguments):
    return [
        sys.executable,
        "-m",
        "leadline_cli.main",
        "outcomes",
        "export",
        "-n",
        "shop",
        "fraud",
        *map(str, arguments),
    ]


@pytest.fixture
def forward(running, tmp_path):
    """Put a way between kubectl and the ledger, on which something happens in the midst of an answer."""
    made = []

    def make(happens, *, after_bytes=1_000_000):
        made.append(clusters.Forward(running.port, after_bytes, happens))
        clusters.kubectl(tmp_path, made[-1].port)

    yield make
    for each in made:
        each.close()


def test_ledger_that_is_killed_in_the_midst_of_its_answer_leaves_no_file(running, tmp_path, capsys, forward):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    at_ms = now_ms()
    tell(running, range(20_000), at_ms=at_ms)
    forward(running.kill)
    assert "IncompleteRead" in refused(capsys, "-o", folder, "--state", state)
    assert (list(folder.iterdir()), state.exists()) == ([], False)
    running.start()
    assert export("-o", folder, "--state", state) == 0
    assert ids(tables(folder)) == identifiers(range(20_000), at_ms)


def test_call_that_is_killed_in_the_midst_is_made_again_as_if_it_had_not_been(running, tmp_path, forward):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    at_ms = now_ms()
    tell(running, range(10), at_ms=at_ms)
    assert export("-o", folder, "--state", state) == 0
    before = state.read_bytes()
    tell(running, range(10, 20_000), at_ms=at_ms)
    made = threading.Event()
    forward(lambda: made.wait(END_SECONDS) and child.kill())
    child = subprocess.Popen(command("-o", folder, "--state", state), stderr=subprocess.DEVNULL)
    made.set()
    assert child.wait(END_SECONDS) == -signal.SIGKILL
    assert (len(tables(folder)), len(left_over(folder)), state.read_bytes()) == (1, 1, before)
    assert export("-o", folder, "--state", state) == 0
    assert ids(tables(folder)) == identifiers(range(20_000), at_ms)
    assert left_over(folder) == []


def test_second_call_with_a_state_that_is_in_use_is_refused(running, tmp_path, capsys, forward):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    tell(running, range(20_000), at_ms=now_ms())
    reached, go_on = threading.Event(), threading.Event()

    def stand_still():
        reached.set()
        assert go_on.wait(END_SECONDS)

    forward(stand_still)
    first = subprocess.Popen(
        command("-o", folder, "--state", state), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert reached.wait(END_SECONDS)
    said = refused(capsys, "-o", folder, "--state", state)
    go_on.set()
    assert said == f"--state: {state}: another export with it is running"
    assert first.wait(END_SECONDS) == 0
    assert len(ids(tables(folder))) == 20_000


def test_ledger_that_was_restored_is_noticed(running, tmp_path, capsys):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    at_ms = now_ms()
    tell(running, range(5), at_ms=at_ms)
    running.end()
    backup = tmp_path / "backup"
    shutil.copytree(running.folder, backup)
    running.start()
    tell(running, range(5, 10), at_ms=at_ms)
    assert export("-o", folder, "--state", state) == 0
    capsys.readouterr()
    running.end()
    shutil.rmtree(running.folder)
    shutil.copytree(backup, running.folder)
    running.start()
    # As many came as were lost, so that only the name of the history tells.
    tell(running, range(20, 30), at_ms=at_ms)
    said = refused(capsys, "-o", folder, "--state", state)
    assert "the ledger answers 410: cursor 10 is of a history that this ledger does not know" in said
    assert said.endswith("begin anew, with another --state and an empty folder")
    assert len(tables(folder)) == 1


def test_token_of_another_namespace_is_refused(running, tmp_path, capsys):
    tell(running, range(5), at_ms=now_ms())
    clusters.kubectl(tmp_path, running.port, token="system:serviceaccount:bank:default")
    said = refused(capsys, "-o", tmp_path / "a.parquet")
    assert said == (
        "shop/fraud: the ledger answers 403: system:serviceaccount:bank:default may not use namespace shop; "
        "--system-namespace and --service-account name the operator that the ledger trusts"
    )
    assert not (tmp_path / "a.parquet").exists()


def test_model_that_has_no_outcomes_is_refused_and_nothing_is_remembered(running, tmp_path, capsys):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    said = refused(capsys, "-o", folder, "--state", state)
    assert said.startswith(
        "shop/fraud: the ledger holds no outcomes of it; kubectl get mdep -n shop lists those there are"
    )
    assert not state.exists()


def test_state_of_something_else_is_refused(running, tmp_path, capsys):
    folder, state = tmp_path / "out", tmp_path / "state.json"
    tell(running, range(5), at_ms=now_ms())
    assert export("-o", folder, "--state", state) == 0
    capsys.readouterr()
    more = "; name another file for another export"
    assert refused(capsys, "-o", folder, "--state", state, "--split", "test") == (
        f"--state: {state}: is of --split both, not test{more}"
    )
    assert refused(capsys, "-o", folder, "--state", state, "--test-percent", "30") == (
        f"--state: {state}: is of --test-percent 20, not 30{more}"
    )
    assert main.main(["outcomes", "export", "-n", "shop", "other", "-o", str(folder), "--state", str(state)]) == 1
    assert capsys.readouterr().err.endswith(f"--state: {state}: is of shop/fraud, not shop/other{more}\n")
    state.write_text("{}")
    assert "is no state of an export: Object missing required field `model`" in refused(
        capsys, "-o", folder, "--state", state
    )


def test_after_begins_where_the_last_call_ended(running, tmp_path, capsys):
    at_ms = now_ms()
    tell(running, range(5), at_ms=at_ms)
    assert export("-o", tmp_path / "a.ndjson") == 0
    cursor = capsys.readouterr().out.splitlines()[-1].split()[-1]
    tell(running, range(5, 9), at_ms=at_ms)
    assert export("-o", tmp_path / "b.ndjson", "--after", cursor) == 0
    lines = (tmp_path / "b.ndjson").read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--after", "x"], "expected a cursor as the last call said it, got 'x'"),
        (["--after", "5", "--state", "s"], "--state: not allowed with argument --after"),
        (["--test-percent", "101"], "expected a whole number from 0 to 100, got '101'"),
        (["--format", "xlsx"], "invalid choice: 'xlsx'"),
        (["--state", "s", "-o", "FILE"], "--output: with --state a folder, and"),
    ],
)
def test_wrong_usage_is_said(tmp_path, capsys, arguments, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        export("-o", tmp_path / "a", *(str(tmp_path / "file") if each == "FILE" else each for each in arguments))
    assert said in capsys.readouterr().err


def test_folder_without_a_state_and_a_folder_that_is_missing_are_refused(running, tmp_path, capsys):
    tell(running, range(5), at_ms=now_ms())
    assert refused(capsys, "-o", tmp_path).endswith("is a folder; name a file, or give --state FILE as well")
    assert "No such file or directory" in refused(capsys, "-o", tmp_path / "none" / "a.parquet")


def captured(running, numbers, at_ms):
    body = msgspec.msgpack.encode(
        captures.Chunk(
            "".join(identifiers(numbers, at_ms)),
            [
                captures.Column("X", "FP32", [2], chunks.floats(*(part for n in numbers for part in (n / 2, 0.1)))),
                captures.Column("country", "BYTES", [], texts=[f"c{number}" for number in numbers]),
            ],
        )
    )
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        connection.request("POST", chunks.PATH, body, {"authorization": f"Bearer {RUNTIME}"})
        assert connection.getresponse().status == 204
    finally:
        connection.close()


@pytest.mark.parametrize("format_", ["parquet", "csv", "ndjson"])
def test_outcomes_come_with_the_inputs_that_were_captured(running, tmp_path, capsys, format_):
    at_ms = now_ms()
    tell(running, range(6), at_ms=at_ms)
    captured(running, [1, 4], at_ms)
    assert export("-o", tmp_path / f"all.{format_}", "--inputs") == 0
    assert "inputs  2 columns; the ledger holds 2 captured rows" in capsys.readouterr().out
    assert export("-o", tmp_path / f"only.{format_}", "--inputs", "only") == 0
    found = {}
    for name in ("all", "only"):
        path = tmp_path / f"{name}.{format_}"
        if format_ == "parquet":
            table = pyarrow.parquet.read_table(path)
            assert table.schema.field("input.X").type.value_type == pa.float32()
            found[name] = table.to_pylist()
        elif format_ == "csv":
            found[name] = [
                row | {"input.X": json.loads(row["input.X"] or "null"), "input.country": row["input.country"] or None}
                for row in csv.DictReader(io.StringIO(path.read_text()))
            ]
        else:
            found[name] = [json.loads(line) for line in path.read_text().splitlines()]
    expected = {identifiers([number], at_ms)[0]: number for number in range(6)}
    tenth = struct.unpack("<f", struct.pack("<f", 0.1))[0]
    inputs = {number: ([number / 2, tenth], f"c{number}") if number in (1, 4) else (None, None) for number in range(6)}
    for name, numbers in (("all", list(range(6))), ("only", [1, 4])):
        rows = [(expected[row["prediction_id"]], row["input.X"], row["input.country"]) for row in found[name]]
        assert rows == [(number, *inputs[number]) for number in numbers]


def test_predictions_of_several_kinds_are_text_beside_inputs_too(running, tmp_path):
    at_ms = now_ms()
    tell(running, [1], at_ms=at_ms)
    tell(running, [2], at_ms=at_ms, prediction=predictions.of_class("fine"))
    captured(running, [1, 2], at_ms)
    assert export("-o", tmp_path / "all.parquet", "--inputs") == 0
    rows = pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [(row["prediction"], row["truth"], row["input.country"]) for row in rows] == [
        ("1", "1", "c1"),
        ("fine", "0", "c2"),
    ]


def test_a_state_without_inputs_is_not_gone_on_with_by_an_export_with_them(running, tmp_path, capsys):
    tell(running, [1], at_ms=now_ms())
    assert export("-o", tmp_path / "out", "--state", tmp_path / "state") == 0
    capsys.readouterr()
    said = refused(capsys, "-o", tmp_path / "out", "--state", tmp_path / "state", "--inputs")
    assert said.startswith(f"--state: {tmp_path / 'state'}: is of --inputs none, not true")
    assert export("-o", tmp_path / "both", "--state", tmp_path / "other", "--inputs") == 0
    assert "none were captured: spec.outcomes.capture" in capsys.readouterr().out

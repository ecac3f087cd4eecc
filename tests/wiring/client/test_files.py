"""Late answers from a file, reported to the real runtime and the real ledger by `python -m leadline_client`."""

import csv
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_client import Client


def predicted(there, count):
    """Return receipts of so many predictions of one row."""
    with Client(there.url, model="digits", store=None) as client:
        return [client.predict(there.digits.rows[:1]).receipt for _ in range(count)]


def report(there, file, *more):
    command = [sys.executable, "-W", "error", "-m", "leadline_client", "report", str(file), "--url", there.url]
    return subprocess.run(
        [*command, "--model", "digits", *more], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".ndjson"])
def test_each_answer_of_a_file_is_in_the_ledger_once_however_often_it_is_told(site, tmp_path, suffix):
    there = site()
    receipts = predicted(there, 5)
    rows = [{"order": f"00{place}", "token": receipt, "digit": place} for place, receipt in enumerate(receipts)]
    rows[4]["digit"] = None
    file = tmp_path / f"answers{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == ".csv":
        with file.open("w", newline="") as opened:
            writer = csv.DictWriter(opened, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text("\n".join(map(json.dumps, rows)))
    first = report(there, file, "--receipt", "token", "--truth", "digit")
    assert (first.returncode, first.stdout.split()) == (0, ["4", "accepted"]), first.stderr
    again = report(there, file, "--receipt", "token", "--truth", "digit")
    assert (again.returncode, again.stdout.split()) == (0, ["4", "duplicate"]), again.stderr
    assert sorted(entry.truth for entry in there.outcomes()) == ["i0", "i1", "i2", "i3"]


def test_what_is_not_taken_is_told_by_its_row_and_the_others_are_taken(site, tmp_path):
    there = site()
    (receipt,) = predicted(there, 1)
    file = tmp_path / "answers.ndjson"
    file.write_text(f'{{"receipt": "1.forged", "truth": 1}}\n{{"receipt": "{receipt}", "truth": 3}}\n')
    told = report(there, file)
    assert told.returncode == 1
    assert "row 1: refused" in told.stdout
    assert [entry.truth for entry in there.outcomes()] == ["i3"]


def test_ids_of_a_table_stay_as_they_are_written(site, tmp_path):
    there = site(key_by="id")
    with Client(there.url, model="digits", store=None) as client:
        client.predict(there.digits.rows[:1], id="0042")
    file = tmp_path / "answers.csv"
    file.write_text("order,right\n0042,true\n")
    told = report(there, file, "--id", "order", "--correct", "right")
    assert (told.returncode, told.stdout.split()) == (0, ["1", "accepted"]), told.stderr
    assert [(entry.client_id, entry.correct) for entry in there.outcomes()] == [("0042", True)]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "expected a file that ends in .parquet, .csv, .ndjson or .jsonl"),
        ("a.parquet", "PAR1", "not a readable Parquet file"),
        ("a.ndjson", "[1]", "line 1: expected an object"),
        ("a.csv", "truth\n1\n", "row 1: key: expected one of key, receipt and id, got none"),
    ],
)
def test_file_that_holds_no_outcomes_is_told_in_one_line(tmp_path, name, content, said):
    file = tmp_path / name
    file.write_text(content)
    command = [sys.executable, "-m", "leadline_client", "report", str(file), "--url", "http://127.0.0.1:1"]
    told = subprocess.run([*command, "--model", "digits"], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    assert said in told.stderr
    assert "Traceback" not in told.stderr

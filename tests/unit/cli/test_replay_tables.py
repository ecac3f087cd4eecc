"""Tables of past predictions as people have them: every kind of file, and words for what is wrong with one.

Not covered: what is found in them, see `test_replay_history`.
"""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_cli import history_replay, main
from leadline_cli.history_files import Columns
from leadline_cli.history_replay import Options

from tests.unit.cli import histories_of

ROWS = histories_of.stream(("v1", 600, 0.95), ("v2", 400, 0.8))


def found(path, columns: Columns | None = None):
    """Return what is found, without what is said of the reading."""
    return history_replay.replay(path, columns or Columns(), Options()).lives


@pytest.fixture
def plain(tmp_path):
    return histories_of.write(tmp_path / "plain.csv", ROWS)


def refused(capsys, *arguments: object) -> str:
    """Return the one line that the command is refused with."""
    assert main.main(["replay", *map(str, arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line.removeprefix("leadline replay: ")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_are_read_like_commas(tmp_path, plain, delimiter):
    assert found(histories_of.write(tmp_path / "other.csv", ROWS, delimiter=delimiter)) == found(plain)


def test_gzipped_file_with_a_byte_order_mark_is_read_like_a_plain_one(tmp_path, plain):
    path = tmp_path / "history.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + plain.read_bytes()))
    assert found(path) == found(plain)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_is_read_like_csv_whatever_types_it_has(tmp_path, plain, kind):
    texts = isinstance(kind, pa.DictionaryType) or kind == pa.string()
    columns = list(zip(*ROWS, strict=True))
    answers = [pa.array([str(each) if texts else each for each in column]).cast(kind) for column in columns[2:]]
    times = (
        pa.array([each.replace("+00:00", "") for each in columns[0]])
        .cast(pa.timestamp("us"))
        .cast(pa.timestamp("us", "UTC"))
    )
    table = pa.table([times, pa.array(columns[1]), *answers], names=list(histories_of.HEADER))
    pq.write_table(table, tmp_path / "history.parquet")
    assert found(tmp_path / "history.parquet") == found(plain)


def test_table_without_a_telling_name_is_known_by_its_header_and_a_log_stays_a_log(tmp_path, plain, capsys):
    path = tmp_path / "history"
    path.write_bytes(plain.read_bytes())
    assert main.main(["replay", str(path)]) == 0
    assert "1,000 rows" in capsys.readouterr().out
    (tmp_path / "log").write_text("time, and again\n")
    assert "expected an entry of the ledger's log" in refused(capsys, tmp_path / "log")


def test_columns_are_found_by_other_names(tmp_path, plain):
    path = histories_of.write(tmp_path / "other.csv", ROWS, ("at", "model", "said", "was"))
    assert found(path, Columns("at", "model", "said", "was")) == found(plain)


@pytest.mark.parametrize(
    "shown", [lambda time: time.replace("T", " ").replace("+00:00", "Z"), lambda time: time.replace("+00:00", "")]
)
def test_times_of_other_forms_are_the_same_times(tmp_path, plain, shown):
    rows = [(shown(row[0]), *row[1:]) for row in ROWS]
    assert found(histories_of.write(tmp_path / "other.csv", rows)) == found(plain)


@pytest.mark.parametrize(("per_minute", "unit"), [(60, "seconds"), (60_000, "milliseconds")])
def test_times_as_numbers_are_told_apart_by_size(tmp_path, plain, per_minute, unit):
    begin = int(histories_of.BEGIN.timestamp()) * per_minute // 60
    rows = [(begin + place * per_minute, *row[1:]) for place, row in enumerate(ROWS)]
    path = histories_of.write(tmp_path / "other.csv", rows)
    assert found(path) == found(plain)
    assert f"times are read as {unit} since 1970" in history_replay.replay(path, Columns(), Options()).notes


def test_rows_out_of_order_are_taken_in_order_of_time_and_keep_their_numbers(tmp_path, plain):
    path = histories_of.write(tmp_path / "other.csv", ROWS[::-1])
    second = found(path)[1]
    assert second.found.row == len(ROWS) + 1 - found(plain)[1].found.row
    assert any("not in order" in note for note in history_replay.replay(path, Columns(), Options()).notes)


def test_rows_of_one_time_stay_in_the_order_of_the_file(tmp_path):
    days = [f"2026-01-{1 + place // 250:02}" for place in range(len(ROWS))]
    in_order = [(day, *row[1:]) for day, row in zip(days, ROWS, strict=True)]
    expected = found(histories_of.write(tmp_path / "in_order.csv", in_order))[1].found
    later_day_first = found(histories_of.write(tmp_path / "other.csv", [*in_order[750:], *in_order[:750]]))[1].found
    assert later_day_first.outcome == expected.outcome


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda answer: f"{answer}.0", "'1.0' where column 'truth' has '1'"),
        (lambda answer: f' "{answer}"', "'"),
        (lambda answer: ["FALSE", "TRUE"][answer], "'TRUE' where column 'truth' has '1'"),
    ],
)
def test_classes_that_differ_in_form_alone_are_the_same_and_are_told(tmp_path, plain, written, said):
    path = histories_of.write(tmp_path / "other.csv", [(*row[:2], written(row[2]), row[3]) for row in ROWS])
    assert found(path) == found(plain)
    (note,) = [note for note in history_replay.replay(path, Columns(), Options()).notes if "same class" in note]
    assert said in note


def test_rows_whose_true_answer_is_not_known_yet_are_left_out_and_told(tmp_path, plain):
    path = histories_of.write(tmp_path / "other.csv", [*ROWS, (histories_of.when(5000), "v2", 1, " ")])
    assert found(path) == found(plain)
    assert any(note.startswith("1 rows without") for note in history_replay.replay(path, Columns(), Options()).notes)


TIME, HEAD = "2026-01-01T00:00:00Z", ",".join(histories_of.HEADER)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected a header with the columns time, revision, prediction, truth"),
        (HEAD, "has no rows; expected one for each prediction"),
        ("time,model,prediction,truth\n", "has no column 'revision'; name it by --revision (columns: time, model, "),
        (f"{HEAD},truth\n", "has the column 'truth' 2 times; expected it once"),
        (f"{HEAD}\n{TIME},v1,1,1\nyesterday,v1,1,1\n", "row 2: column 'time': expected a time, ISO 8601, such as "),
        (f"{HEAD}\n1700000000,v1,1,1\n{TIME},v1,1,1\n", "row 2: column 'time': expected a time, a number as in"),
        (f"{HEAD}\n{TIME},v1,1,1\n{TIME},v1,1\n", "row 2: expected 4 cells, as the header has; got 3"),
        (f"{HEAD}\n{TIME},v1,1,\n", "no row has 'revision', 'prediction' and 'truth' filled in"),
        (f"{HEAD}\n{TIME},v1,1,0\n{TIME},v1,0,0\n", "column 'truth' is '0' in every row: with one class nothing"),
        (f"{HEAD}\n{TIME},v1,cat,Cat\n{TIME},v1,dog,Dog\n", "no prediction is ever a true answer: column 'prediction'"),
        (
            f"{HEAD}\n" + "".join(f"{TIME},v1,{n}.5,{n}.5\n" for n in range(30)),
            "column 'truth' holds numbers with a fraction, such as 0.5; expected classes. Values of a regression are replayed with --metric",
        ),
        (f"{HEAD}\n{TIME},{'v' * 9},{'c' * 300},1\n{TIME},v,1,0\n", "class name of 300 bytes, expected at most 256"),
    ],
    ids=lambda each: each[:40] if "\n" not in each else "text",
)
def test_table_that_cannot_be_used_is_refused_with_what_was_expected(tmp_path, capsys, text, said):
    path = tmp_path / "history.csv"
    path.write_text(text)
    line = refused(capsys, path)
    assert line.startswith(f"{path}: ")
    assert said in line


def test_file_that_is_cut_or_no_text_is_refused(tmp_path, plain, capsys):
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(plain.read_bytes())[:-400])
    assert "cannot be read after row" in refused(capsys, tmp_path / "cut.csv.gz")
    (tmp_path / "latin.csv").write_bytes(f"{HEAD}\n{TIME},v\xe4,1,1\n".encode("latin-1"))
    assert "expected UTF-8 text" in refused(capsys, tmp_path / "latin.csv")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and nothing more")
    assert "is no Parquet file that can be read" in refused(capsys, tmp_path / "cut.parquet")
    assert "there is no such file" in refused(capsys, tmp_path / "none.csv")


def test_more_revisions_than_there_can_be_are_refused_with_the_option(tmp_path, capsys):
    path = histories_of.write(tmp_path / "history.csv", [(TIME, f"row {n}", n % 2, 1) for n in range(1_001)])
    assert "more than 1,000 different revisions, the first 'row 0'; name the right column by --revision" in refused(
        capsys, path
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metric", "recall"], "--metric precision, recall and f1 need --positive CLASS"),
        (["--metric", "mae", "--positive", "1"], "--metric precision, recall and f1 need --positive CLASS"),
        (["--metric", "recall", "--positive", "fraud"], "--positive fraud: is no true answer in "),
        (["--positive", "1"], "need --positive CLASS (the one that is to be found), and no other has it"),
        (["--margin", "2"], "--margin: expected a share from 0 to below 1, such as 0.02, got 2"),
        (["--probability", "0.9"], "--probability: false rollback probability: expected above 0 and at most 0.5"),
        (["--maturity", "soon"], "--maturity: expected a duration such as 24h or 30m, got 'soon'"),
        (["--id", "request"], "has no column 'request'"),
        (["--entity", "customer"], "has no column 'customer'"),
    ],
)
def test_option_that_does_not_fit_is_named(plain, capsys, options, said):
    assert said in refused(capsys, plain, *options)


@pytest.mark.parametrize("option", [["--save", "log"], ["--evidence"]])
def test_options_for_logs_are_wrong_usage_with_a_table(plain, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main.main(["replay", str(plain), *option])
    assert ended.value.code == 2
    assert "not for a table of predictions" in capsys.readouterr().err


def test_value_that_is_no_number_is_refused_with_its_row(tmp_path, capsys):
    rows = histories_of.values(("v1", 60, 5.0))
    rows[49] = (*rows[49][:2], "12,5", rows[49][3])
    path = histories_of.write(tmp_path / "values.csv", rows)
    said = refused(capsys, path, "--metric", "mae")
    assert "row 50: column 'prediction': expected a number such as 12.5, got '12,5'" in said


def test_values_that_are_missing_are_left_out_and_told(tmp_path):
    rows = histories_of.values(("v1", 700, 5.0))
    gaps = [(*rows[0][:2], "", 100), (*rows[0][:2], "nan", 100), (*rows[0][:2], 100, " "), (*rows[0][:2], 100, "inf")]
    path = histories_of.write(tmp_path / "values.csv", [*gaps, *rows])
    replayed = history_replay.replay(path, Columns(), Options(metric="mae"))
    assert replayed.lives[0].outcomes == 700
    assert any(note.startswith("4 rows without") for note in replayed.notes)

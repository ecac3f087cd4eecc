"""Test sets that are plain tables: a column per number, from Parquet, CSV or npz, in the order that the model knows."""

import numpy as np
import pandas as pd
import pytest
import xgboost
from leadline_cli import errors, main, testsets
from sklearn.datasets import load_iris

ROWS, TRUTHS = load_iris(return_X_y=True)
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]
TABLE = pd.DataFrame(ROWS, columns=NAMES).assign(kind=TRUTHS)


def write(table, path):
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".npz":
            np.savez(path, **{name: table[name].to_numpy() for name in table.columns})
        case _:
            table.to_parquet(path, index=False)
    return path


@pytest.fixture(params=["t.parquet", "t.csv", "t.npz"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_all_columns_but_the_truth_are_the_input_in_the_files_order(path):
    found = testsets.read(write(TABLE, path), truth="kind")
    assert (found.input_name, found.truth_name) == ("input", "kind")
    np.testing.assert_array_equal(found.rows, ROWS)
    np.testing.assert_array_equal(found.truths, TRUTHS)


def test_columns_go_in_the_models_order_and_others_are_left_out(path):
    shuffled = TABLE[["kind", *reversed(NAMES)]].assign(note=1.0)
    found = testsets.read(write(shuffled, path), truth="kind", features=NAMES)
    np.testing.assert_array_equal(found.rows, ROWS)


def test_cell_that_is_empty_is_a_missing_number(tmp_path):
    gaps = TABLE.copy()
    gaps.loc[3, "sepal width"] = np.nan
    for file in ("t.parquet", "t.csv"):
        rows = testsets.read(write(gaps, tmp_path / file), truth="kind").rows
        assert np.argwhere(np.isnan(rows)).tolist() == [[3, 1]]


def test_arrays_of_an_npz_are_a_list_column(tmp_path):
    np.savez(tmp_path / "t.npz", image=ROWS.astype(np.float32).reshape(-1, 2, 2), kind=TRUTHS)
    found = testsets.read(tmp_path / "t.npz", truth="kind")
    assert (found.input_name, found.rows.dtype, found.rows.shape) == ("image", np.float32, (150, 4))


@pytest.mark.parametrize(
    ("truths", "kept"),
    [
        (pd.Categorical(np.array(["a", "b", "c"])[TRUTHS]), "U"),
        (TRUTHS == 1, "i"),
        (TRUTHS * 0.5, "f"),
    ],
    ids=["categories", "booleans", "numbers"],
)
def test_true_answers_may_be_categories_booleans_and_numbers(tmp_path, truths, kept):
    found = testsets.read(write(TABLE.assign(kind=truths), tmp_path / "t.parquet"), truth="kind")
    assert found.truths.dtype.kind == kept


@pytest.mark.parametrize(
    ("table", "features", "message"),
    [
        (
            TABLE[["sepal length", "kind"]],
            NAMES,
            "has no column 'sepal width', which the model was trained on; it has: ",
        ),
        (TABLE.assign(colour="red"), (), "column 'colour': expected numbers, got .*string; leave it out or encode it"),
        (TABLE.assign(wide=np.inf), (), "column 'wide' has infinite numbers"),
    ],
)
def test_table_that_does_not_fit_is_refused_with_the_column(tmp_path, table, features, message):
    with pytest.raises(errors.Refused, match=message):
        testsets.read(write(table, tmp_path / "t.parquet"), truth="kind", features=features)


@pytest.mark.parametrize(("file", "kind"), [("t.csv", "CSV"), ("t.npz", "npz"), ("t.parquet", "Parquet")])
def test_file_that_is_not_what_its_name_says_is_refused(tmp_path, file, kind):
    (tmp_path / file).write_bytes(b'\xff\xfe,\0\n"')
    with pytest.raises(errors.Refused, match=f"is no {kind} file that can be read"):
        testsets.read(tmp_path / file, truth="kind")


def test_command_takes_a_table_and_words_for_the_classes(tmp_path, capsys):
    model = xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(TABLE[NAMES][::2], TRUTHS[::2])
    model.save_model(tmp_path / "model.json")
    words = np.array(["setosa", "versicolor", "virginica"])
    write(TABLE[1::2].assign(kind=words[TRUTHS[1::2]])[["kind", *reversed(NAMES)]], tmp_path / "t.csv")
    command = [
        "package",
        f"{tmp_path}/model.json",
        f"--test-set={tmp_path}/t.csv",
        "--truth=kind",
        f"--out={tmp_path}/out",
    ]
    assert main.main([*command, "--classes=setosa,versicolor,virginica"]) == 0
    said = capsys.readouterr().out
    right = int((model.predict(TABLE[NAMES][1::2]) == TRUTHS[1::2]).sum())
    assert "model       Booster, multi:softprob, 10 rounds" in said
    assert f"accuracy    {right / 75:.3f}" in said
    assert "75 of 75 answers equal the original's" in said
    assert main.main(command) == 1
    assert "column 'kind' holds none of the model's classes: expected some of [0, 1, 2]" in capsys.readouterr().err


def test_command_of_a_regression_measures_its_error(tmp_path, capsys):
    model = xgboost.XGBRegressor(n_estimators=10, n_jobs=1).fit(ROWS[::2, :3], ROWS[::2, 3])
    model.save_model(tmp_path / "model.ubj")
    write(TABLE[1::2].drop(columns="kind"), tmp_path / "t.parquet")
    command = [
        f"{tmp_path}/model.ubj",
        f"--test-set={tmp_path}/t.parquet",
        "--truth=petal width",
        f"--out={tmp_path}/out",
    ]
    assert main.main(["package", *command]) == 0
    off = model.predict(ROWS[1::2, :3]) - ROWS[1::2, 3]
    measured = f"error       {np.abs(off).mean():.4g} mean absolute, {np.sqrt((off**2).mean()):.4g} root mean square"
    assert measured in capsys.readouterr().out
    assert main.main(["package", *command, "--floor=0.9"]) == 1
    assert "--floor: is the lowest accuracy, and this model predicts numbers" in capsys.readouterr().err

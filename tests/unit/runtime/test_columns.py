"""Reading a test set from Parquet: what becomes of its columns, and what is said of one that does not fit."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_runtime.testset import columns, orders
from leadline_wire.exchange import TensorInfo

IMAGE = TensorInfo("image", "FP32", [-1, 4])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "columns").mkdir()
    return tmp_path


def order(folder, *inputs, truth="digit"):
    return orders.Order(
        path=str(folder / "t.parquet"),
        folder=str(folder / "columns"),
        uri="s3://tests/t.parquet",
        truth=truth,
        inputs=list(inputs),
    )


def read(folder, table, *inputs, truth="digit"):
    pq.write_table(table, folder / "t.parquet")
    result = columns.read(order(folder, *inputs, truth=truth))
    assert not result.trouble, result.trouble
    arrays = [np.load(folder / "columns" / orders.input_file(place)) for place in range(len(inputs))]
    return result.rows, np.load(folder / "columns" / orders.TRUTH_FILE), arrays


def trouble(folder, table, *inputs, truth="digit"):
    pq.write_table(table, folder / "t.parquet")
    result = columns.read(order(folder, *inputs, truth=truth))
    assert result.trouble.startswith("test set s3://tests/t.parquet: ")
    return result.trouble


def fixed(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(rows), pa.float32()), len(rows[0]))


def test_fixed_size_lists_become_rows(folder):
    rows = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
    count, truth, (image,) = read(folder, pa.table({"image": fixed(rows), "digit": [3, 4]}), IMAGE)
    assert (count, truth.tolist(), image.tolist(), image.dtype) == (2, [3, 4], rows, np.float32)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.int32())])
def test_lists_of_equal_length_become_rows_of_the_models_type(folder, kind):
    table = pa.table({"image": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], kind), "digit": ["a", "b"]})
    _, truth, (image,) = read(folder, table, IMAGE)
    assert truth.tolist() == ["a", "b"]
    assert (image.shape, image.dtype) == ((2, 4), np.float32)


def test_flat_and_nested_lists_take_the_models_inner_shape(folder):
    picture = TensorInfo("image", "FP32", [-1, 2, 2])
    flat = pa.table({"image": [[1.0, 2.0, 3.0, 4.0]], "digit": [1]})
    nested = pa.table({"image": [[[1.0, 2.0], [3.0, 4.0]]], "digit": [1]})
    for table in (flat, nested):
        _, _, (image,) = read(folder, table, picture)
        assert image.tolist() == [[[1.0, 2.0], [3.0, 4.0]]]


def test_scalar_columns_are_taken_where_they_are_the_inputs(folder):
    table = pa.table({"age": [30, 40], "city": ["x", "y"], "bmi": [20.5, 21.5], "digit": [True, False]})
    inputs = (TensorInfo("age", "INT64", [-1]), TensorInfo("city", "BYTES", [-1, 1]), TensorInfo("bmi", "FP32", []))
    _, truth, (age, city, bmi) = read(folder, table, *inputs)
    assert (age.tolist(), city.tolist(), bmi.tolist()) == ([30, 40], [["x"], ["y"]], [20.5, 21.5])
    assert truth.tolist() == [True, False]


def test_a_dictionary_of_strings_is_a_true_answer_like_any_other(folder):
    table = pa.table({"image": fixed([[1.0, 2.0, 3.0, 4.0]]), "digit": pa.array(["a"]).dictionary_encode()})
    assert read(folder, table, IMAGE)[1].tolist() == ["a"]


def test_a_missing_column_is_named_with_those_that_are_there(folder):
    table = pa.table({"image": fixed([[1.0, 2.0, 3.0, 4.0]]), "label": [1]})
    assert 'column "digit" not found (spec.quality.testSet.truth); it has image, label' in trouble(folder, table, IMAGE)
    said = trouble(folder, table, TensorInfo("pixels", "FP32", [-1, 4]), truth="label")
    assert 'column "pixels" not found (one column per model input); it has image, label' in said


@pytest.mark.parametrize(
    ("image", "digit", "said"),
    [
        ([[1.0, 2.0, 3.0]], [1], 'column "image" has 3 elements in each row; expected 4'),
        ([[1.0, 2.0, 3.0, 4.0], [1.0]], [1, 2], "lists of different lengths"),
        ([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]], [1, 2], "lists of different lengths"),
        ([1.0], [1], "expected 4"),
        ([["a", "b", "c", "d"]], [1], "expected numbers for FP32"),
        ([["a", "b", "c", None]], [1], 'column "image", row 1 has empty elements'),
        ([None, [1.0, 2.0, 3.0, 4.0]], [1, 2], 'column "image", row 1 is empty (1 such cells); expected none'),
        ([[1.0, 2.0, 3.0, 4.0]], [None], 'column "digit"'),
        ([[1.0, 2.0, 3.0, 4.0]] * 2, [1, None], 'column "digit", row 2 is empty'),
        ([[1.0, 2.0, 3.0, 4.0]], [[1]], 'column "digit" has type list<element: int64>; expected whole numbers'),
        ([{"a": 1}], [1], "expected numbers or lists"),
        ([], [], "has no rows"),
    ],
)
def test_a_column_that_does_not_fit_says_what_was_expected(folder, image, digit, said):
    assert said in trouble(folder, pa.table({"image": image, "digit": digit}), IMAGE)


def test_too_many_rows_are_refused(folder):
    table = pa.table({"age": np.zeros(65_537), "digit": np.zeros(65_537, int)})
    assert "has 65537 rows; expected at most 65536" in trouble(folder, table, TensorInfo("age", "FP32", [-1]))


def test_a_parquet_file_that_is_cut_off_is_refused(folder):
    (folder / "t.parquet").write_bytes(b"PAR1" + bytes(100))
    assert "not a readable Parquet file" in columns.read(order(folder, IMAGE)).trouble

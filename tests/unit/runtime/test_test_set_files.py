"""Reading a test set from CSV and .npz, and which columns an input is made of; Parquet is in test_columns.py."""

import gzip
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from leadline_runtime.testset import columns, orders, sources, text
from leadline_wire.exchange import TensorInfo

AGE = TensorInfo("age", "FP32", [-1, 1])
IMAGE = TensorInfo("image", "FP32", [-1, 3])
COUNT = TensorInfo("count", "INT64", [-1])
SMALL = TensorInfo("small", "INT8", [-1, 1])
CITY = TensorInfo("city", "BYTES", [-1, 1])
MEMBER = TensorInfo("member", "BOOL", [-1, 1])


@pytest.fixture
def read(tmp_path):
    """Return a reader: truth and inputs of a file's bytes."""
    (tmp_path / "columns").mkdir()

    def reading(data, *inputs, truth="y"):
        (tmp_path / "file").write_bytes(data)
        folder = tmp_path / "columns"
        result = columns.read(orders.Order(str(tmp_path / "file"), str(folder), "s3://tests/t", truth, list(inputs)))
        if result.trouble:
            return result.trouble.removeprefix("test set s3://tests/t: ")
        arrays = [np.load(folder / orders.input_file(place)) for place in range(len(inputs))]
        assert all(len(array) == result.rows for array in arrays)
        return np.load(folder / orders.TRUTH_FILE).tolist(), *arrays

    return reading


def npz(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


def parquet(**arrays):
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer)
    return buffer.getvalue()


def told(value):
    """Name a case by what is said of it: files make no good names."""
    return value if isinstance(value, str) else "-"


# Formats


def test_csv_columns_become_inputs_of_the_models_types(read):
    data = b"age,count,city,member,y\n1.5,7,007,true,a\n2,-8,,0,b\n"
    truth, age, count, city, member = read(data, AGE, COUNT, CITY, MEMBER)
    assert truth == ["a", "b"]
    assert (age.tolist(), age.dtype) == ([[1.5], [2.0]], np.float32)
    assert (count.tolist(), count.dtype) == ([7, -8], np.int64)
    assert city.tolist() == [["007"], [""]]
    assert (member.tolist(), member.dtype) == ([[True], [False]], np.bool_)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfage,y\r\n1,0\r\n2,1\r\n",
        b"age;y\n1;0\n2;1",
        b"age\ty\n1\t0\n2\t1\n",
        gzip.compress(b"age,y\n1,0\n2,1\n", mtime=0),
        b'"age","y"\n"1","0"\n"2","1"\n',
        b"\n".join([b"age,y", b" 1,0", b"2.0 ,1"]),
    ],
    ids=["BOM and CRLF", "semicolons", "tabs", "gzip", "quotes", "spaces"],
)
def test_csv_of_spreadsheets_and_data_frames_is_read(read, data):
    truth, age = read(data, AGE)
    assert (truth, age.tolist()) == (["0", "1"], [[1.0], [2.0]])


def test_a_quoted_cell_may_hold_delimiter_and_line_end(read):
    truth, city = read(b'city,y\n"Ulm, ""D""\nSouth",1\n', CITY)
    assert (truth, city.tolist()) == (["1"], [['Ulm, "D"\nSouth']])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_arrays_become_inputs(read, save):
    data = npz(save, image=np.arange(6.0).reshape(2, 3), city=np.array(["a", "b"]), y=np.array([3, 4]), other=np.eye(9))
    truth, image, city = read(data, IMAGE, CITY)
    assert (truth, image.tolist(), city.tolist()) == ([3, 4], [[0, 1, 2], [3, 4, 5]], [["a"], ["b"]])
    assert image.dtype == np.float32


@pytest.mark.parametrize("packed", [False, True])
def test_the_same_examples_are_the_same_in_all_formats(read, packed):
    rows = np.array([[0.1, -2.5, 3e-7], [1e6, 0.0, 7.0]])
    lines = ["image[0],image[1],image[2],y", *(",".join(map(repr, map(float, row))) + ",1" for row in rows)]
    plain = "\n".join(lines).encode()
    csv = read(gzip.compress(plain) if packed else plain, IMAGE)[1]
    array = read(npz(image=rows, y=np.array([1, 1])), IMAGE)[1]
    lists = read(parquet(image=rows.tolist(), y=[1, 1]), IMAGE)[1]
    assert csv.tolist() == array.tolist() == lists.tolist() == rows.astype(np.float32).tolist()


# Which columns an input is made of


def test_elements_stand_in_numbered_columns_in_any_order(read):
    assert read(b"image[2],y,image[0],image[1]\n3,0,1,2\n", IMAGE)[1].tolist() == [[1.0, 2.0, 3.0]]
    square = TensorInfo("image", "FP32", [-1, 2, 2])
    data = b"image[0],image[1],image[2],image[3],y\n1,2,3,4,0\n"
    assert read(data, square)[1].tolist() == [[[1.0, 2.0], [3.0, 4.0]]]


def test_elements_stand_in_one_cell_as_a_list(read):
    data = b'image,y\n"[1, 2.5, 3]",0\n"[4, 5, 6]",1\n'
    assert read(data, IMAGE)[1].tolist() == [[1.0, 2.5, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize("make", ["csv", "parquet", "npz"])
def test_the_columns_beside_the_truth_are_the_elements_of_the_only_input(read, make):
    columns_ = {"b": [1.0, 4.0], "y": [0, 1], "a": [2.0, 5.0], "c": [3.0, 6.0]}
    data = {
        "csv": b"b,y,a,c\n1,0,2,3\n4,1,5,6\n",
        "parquet": parquet(**columns_),
        "npz": npz(**{name: np.array(values) for name, values in columns_.items()}),
    }[make]
    assert read(data, IMAGE)[1].tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    ("data", "inputs", "said"),
    [
        (b"a,b,y\n1,2,0\n", [IMAGE], 'has 2 columns beside "y" (a, b); expected 3, the elements of input "image"'),
        (b"image[0],image[2],y\n1,2,0\n", [IMAGE], 'column "image[1]" not found; expected "image[0]" to "image[2]"'),
        (b"image[0],image[1],image[2],image[3],y\n1,2,3,4,0\n", [IMAGE], 'has a column "image[3]"; expected 3'),
        (
            b"a,b,c,y\n1,2,3,0\n",
            [IMAGE, AGE],
            'column "image" not found (one column per model input); it has a, b, c, y',
        ),
        (b"age,x\n1,2\n", [AGE], 'column "y" not found (spec.quality.testSet.truth); it has age, x'),
        (b"age,y,age\n1,2,3\n", [AGE], 'column "age" is there 2 times; expected once'),
        (b"y,x\n1,2\n", [TensorInfo("y", "FP32", [-1, 1])], 'column "y" is both input and true answer'),
        (b'image,y\n"[1, 2, 3]",0\n"[1, 2]",0\n', [IMAGE], 'column "image", row 2 has lists of different lengths'),
        (b"image,y\n1,0\n", [IMAGE], "column \"image\", row 1 holds '1'; expected a list"),
    ],
)
def test_columns_that_do_not_make_the_input_are_named(read, data, inputs, said):
    assert said in read(data, *inputs)


# Values that do not fit


@pytest.mark.parametrize(
    ("data", "tensor", "said"),
    [
        (b"age,y\n1,0\nold,1\n", AGE, "column \"age\", row 2 holds 'old'; expected a number"),
        (b"count,y\n1,0\n2.5,1\n", COUNT, "column \"count\", row 2 holds '2.5'; expected a whole number"),
        (b"count,y\n1,0\n,1\n", COUNT, 'column "count", row 2 is empty; expected a whole number'),
        (b"count,y\n1,0\n1.0,1\n,2\n", COUNT, 'column "count", row 3 is empty; expected a whole number'),
        (b"small,y\n1,0\n300,1\n", SMALL, 'column "small", row 2 holds 300; expected whole numbers from -128 to 127'),
        (b"small,y\n1,0\n99999999999999999999,1\n", SMALL, "row 2 holds 99999999999999999999"),
        (b"member,y\n1,0\nmaybe,1\n", MEMBER, "column \"member\", row 2 holds 'maybe'; expected true or false"),
        (b"age,y\n1,0\n1e39,1\n", AGE, 'column "age", row 2 holds 1e+39; expected numbers up to 3.4'),
        (b"age,y\n1,0\n2,\n", AGE, 'column "y", row 2 is empty; expected the true answer'),
        (b"age,y\n1,0\n2\n", AGE, "line 3 has 1 cells; expected 2, as the header has"),
        (b"age,y\n", AGE, "has no rows; expected at least one"),
        (b"age,y\n1,\xff\n", AGE, "is not UTF-8 everywhere"),
        (b"age,y\n" + b"1,0\n" * 65_537, AGE, "has more than 65536 rows; expected at most 65536"),
        (npz(age=np.array([1.0, 2.0]), y=np.array([1])), AGE, 'different lengths: "y" 1, "age" 2'),
        (npz(age=np.array([1.0]), y=np.array([{}], object)), AGE, 'array "y" has type object; expected numbers'),
        (npz(age=np.array([1.0]), y=np.array(1)), AGE, 'array "y" is a single value; expected one per row'),
        (npz(age=np.array(["a"]), y=np.array([1])), AGE, 'column "age" holds text; expected numbers for FP32'),
        (npz(city=np.array([1.0]), y=np.array([1])), CITY, 'column "city" holds numbers; expected strings for BYTES'),
        (npz(age=np.array([1.0]), y=np.array([np.nan])), AGE, 'column "y", row 1 is empty; expected the true answer'),
        (npz(age=np.array([[1.0, 2.0]]), y=np.array([1])), AGE, 'column "age" has 2 elements in each row; expected 1'),
        (
            parquet(count=[1.0, 2.5], y=[0, 0]),
            COUNT,
            'column "count", row 2 holds 2.5; expected whole numbers for INT64',
        ),
        (parquet(count=[1, None], y=[0, 0]), COUNT, 'column "count", row 2 is empty (1 such cells)'),
        (parquet(count=[1.0, None], y=[0, 0]), COUNT, 'column "count", row 2 holds nothing; expected whole numbers'),
        (parquet(small=[1, 200], y=[0, 0]), SMALL, 'column "small", row 2 holds 200; expected whole numbers from -128'),
        (parquet(member=[1, 2], y=[0, 0]), MEMBER, 'column "member", row 2 holds 2; expected true or false for BOOL'),
    ],
    ids=told,
)
def test_a_value_that_does_not_fit_is_named_with_its_row(read, data, tensor, said):
    assert said in read(data, tensor)


def test_integers_of_any_size_are_compared_exactly(read):
    largest = 2**63 - 1
    assert read(npz(count=np.array([largest]), y=np.array([1])), COUNT)[1].tolist() == [largest]
    assert "holds 9.2" in read(npz(count=np.array([2.0**63]), y=np.array([1])), COUNT)
    unsigned = TensorInfo("count", "UINT64", [-1])
    assert read(b"count,y\n18446744073709551615,0\n", unsigned)[1].tolist() == [2**64 - 1]
    assert "row 1 holds -1; expected whole numbers from 0 to" in read(b"count,y\n-1,0\n", unsigned)
    assert read(b"count,y\n9223372036854775809,0\n5,0\n", unsigned)[1].tolist() == [2**63 + 1, 5]
    assert "row 2 holds 9223372036854775808; expected whole numbers from -" in read(
        b"count,y\n-5,0\n9223372036854775808,0\n", COUNT
    )
    assert "row 2 holds -5; expected whole numbers from 0 to" in read(
        b"count,y\n9223372036854775808,0\n-5,0\n", unsigned
    )


def test_a_missing_number_is_nan(read):
    for data in (b"age,y\n1,0\n,1\nNA,1\nnan,0\n", parquet(age=[1, None, None, None], y=[0, 1, 1, 0])):
        age = read(data, AGE)[1]
        assert np.isnan(age[1:]).all()
        assert age[0] == 1.0


# Bytes that are none of these formats


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; expected a Parquet file, an .npz archive, or CSV"),
        (b"\x00\x01\x02", "begins with b'\\x00\\x01\\x02'; expected a Parquet file"),
        ("age,y\n1,2\n".encode("utf-16"), "is text in UTF-16; expected UTF-8"),
        (b"\xe9ge,y\n1,2\n", "its first line is not UTF-8 (byte 0)"),
        (b"\n1,2\n", "its first line is empty; expected the columns' names"),
        (b"age,y\r1,2\r", "has lines that end in CR alone; expected LF or CRLF"),
        (b"PK\x03\x04 and no archive", "not a readable .npz archive"),
        (npz(age=np.array([1.0]), y=np.array([1]))[:-40], "not a readable .npz archive"),
        (gzip.compress(b"age,y\n1,2\n" * 1_000, mtime=0)[:-20], "not a readable gzipped CSV file"),
        (b"\x1f\x8b but no gzip", "not a readable gzipped CSV file"),
        (b"PAR1 but no Parquet", "not a readable Parquet file"),
    ],
    ids=told,
)
def test_bytes_that_are_no_test_set_are_told(read, data, said):
    assert said in read(data, AGE)


def test_one_array_without_a_name_is_told(read):
    buffer = io.BytesIO()
    np.save(buffer, np.eye(2))
    assert "is one array (.npy), which has no name" in read(buffer.getvalue(), AGE)


def test_a_zip_without_arrays_is_told(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is a zip archive without arrays" in read(buffer.getvalue(), AGE)


def test_a_small_archive_of_a_huge_array_is_refused_unread(read):
    header = io.BytesIO()
    shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (60000, 1000000), }"
    header.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + shape.ljust(117).encode() + b"\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("age.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    assert "holds 60000000000 values; expected at most" in read(buffer.getvalue(), AGE)


def test_a_small_file_of_much_text_is_refused(read, monkeypatch):
    monkeypatch.setattr(text, "_TEXT_BYTES_MAX", 1 << 20)
    assert "holds more than 1048576 bytes of text" in read(gzip.compress(b"age,y\n" + b"1,0\n" * 400_000), AGE)


def test_a_column_of_too_many_values_is_refused(read, monkeypatch):
    monkeypatch.setattr(sources, "VALUES_MAX", 5)
    for data in (npz(image=np.eye(3), y=np.arange(3)), parquet(image=np.eye(3).tolist(), y=[1, 2, 3])):
        assert 'column "image" holds 9 values; expected at most 5' in read(data, IMAGE)


def test_the_example_of_the_docs_is_read(read):
    page = (Path(__file__).parents[3] / "docs" / "test-sets.md").read_text()
    (example,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    truth, rows = read(example.encode(), TensorInfo("X", "FP32", [-1, 4]), truth="species")
    assert truth == ["setosa", "virginica"]
    assert rows.tolist() == np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], np.float32).tolist()

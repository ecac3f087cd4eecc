"""Tensors from lists and arrays to bytes and back, with and without numpy, and what is said of what does not fit.

The runtime's own reader is the judge of the bytes.
"""

import math

import hypothesis
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies
from leadline_client import arrays, errors, tensors
from leadline_runtime.oip import datatypes, raw

NUMBERS = sorted(tensors.DATATYPES - {"BYTES", "BOOL"})


def of(datatype, shape=(-1, 2)):
    return tensors.Tensor("X", datatype, shape)


def read(datatype, shape, packed):
    """Return what the runtime makes of it."""
    return raw.to_array(packed, datatypes.BY_NAME[datatype], tuple(shape), "X").tolist()


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_go_the_same_way_from_lists_and_from_arrays(datatype):
    rows = [[0, 1], [2, 127]]
    shape, packed = tensors.pack(of(datatype), rows)
    assert (shape, packed) == arrays.pack(of(datatype), np.array(rows))
    assert tensors.unpack(datatype, shape, packed) == rows
    assert arrays.unpack(datatype, shape, packed).tolist() == read(datatype, shape, packed) == rows


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP32", "FP64"])
def test_missing_numbers_are_nan_and_infinity_stays(datatype):
    shape, packed = tensors.pack(of(datatype), [[None, math.inf], [-math.inf, math.nan]])
    (nan, up), (down, also_nan) = tensors.unpack(datatype, shape, packed)
    assert (math.isnan(nan), up, down, math.isnan(also_nan)) == (True, math.inf, -math.inf, True)
    assert np.array_equal(
        arrays.unpack(datatype, shape, packed), np.array([[np.nan, np.inf], [-np.inf, np.nan]]), equal_nan=True
    )


@hypothesis.example([1.00390625, 1.01171875, -1.00390625])  # halfway between two: to the even one
@hypothesis.given(strategies.lists(strategies.floats(width=32), min_size=1))
def test_bf16_is_rounded_as_others_do(numbers):
    expected = np.array(numbers, np.float32).astype(ml_dtypes.bfloat16)
    for _, packed in (
        tensors.pack(of("BF16"), numbers),
        arrays.pack(of("BF16"), np.array(numbers, np.float32)),
    ):
        found = np.frombuffer(packed, ml_dtypes.bfloat16)
        assert np.array_equal(found.astype(np.float32), expected.astype(np.float32), equal_nan=True)


def test_strings_and_truths_go_both_ways():
    words = [["a", "ä€"], ["", "x" * 300]]
    shape, packed = tensors.pack(of("BYTES"), words)
    assert arrays.pack(of("BYTES"), np.array(words)) == (shape, packed)
    assert tensors.unpack("BYTES", shape, packed) == words
    assert arrays.unpack("BYTES", shape, packed).tolist() == read("BYTES", shape, packed) == words
    flags = [[True, False]]
    assert arrays.pack(of("BOOL"), np.array(flags)) == tensors.pack(of("BOOL"), flags) == ([1, 2], b"\1\0")
    assert tensors.unpack("BOOL", [1, 2], b"\1\0") == flags


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 0, 3), (0, 2), (2, 3, 4), (1, 1, 1)])
def test_every_shape_goes_both_ways(shape):
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    packed = array.tobytes()
    assert tensors.unpack("FP32", shape, packed) == array.tolist()
    if 0 not in shape[:-1]:
        assert tensors.pack(of("FP32"), array.tolist()) == (list(shape), packed)


def test_tables_and_other_layouts_are_taken():
    table = pd.DataFrame({"a": [1.5, 2.0], "b": [3, None]})
    _, packed = arrays.pack(of("FP32"), table)
    assert np.array_equal(arrays.unpack("FP32", [2, 2], packed), [[1.5, 3.0], [2.0, np.nan]], equal_nan=True)
    fortran = np.asfortranarray([[1, 2], [3, 4]])
    assert arrays.pack(of("INT64"), fortran) == arrays.pack(of("INT64"), np.ascontiguousarray(fortran))
    mixed = np.array([[1, 2.5], [None, 3]], dtype=object)
    assert arrays.pack(of("FP32"), mixed) == tensors.pack(of("FP32"), [[1, 2.5], [None, 3]])


@pytest.mark.parametrize(
    ("datatype", "value", "said"),
    [
        (
            "FP32",
            [[1.0, 2.0], [3.0]],
            'inputs["X"]: expected 2 elements at each place of depth 1, as at place 0; got 1 elements at place 1',
        ),
        (
            "FP32",
            [[1.0, 2.0], 3.0],
            'inputs["X"]: expected 2 elements at each place of depth 1, as at place 0; got 3.0 at place 1',
        ),
        ("FP32", [[1.0, "2"]], "inputs[\"X\"]: element 1: expected a number that FP32 holds, got '2'"),
        ("FP32", [[1e39]], 'inputs["X"]: element 0: expected a number that FP32 holds, got 1e+39'),
        ("FP16", [[65520.0]], 'inputs["X"]: element 0: expected a number that FP16 holds, got 65520.0'),
        ("INT8", [[1, 128]], 'inputs["X"]: element 1: expected a whole number that INT8 holds, got 128'),
        ("INT64", [[1.0]], 'inputs["X"]: element 0: expected a whole number that INT64 holds, got 1.0'),
        ("INT64", [[None]], 'inputs["X"]: element 0: expected a whole number that INT64 holds, got None'),
        ("BOOL", [[True, 1]], 'inputs["X"]: element 1: expected true or false that BOOL holds, got 1'),
        ("BYTES", [["a", 1]], 'inputs["X"]: element 1: expected a string for BYTES, got 1'),
        ("FP8", [[1]], 'inputs["X"]: datatype FP8 is not known to this client; use a newer one'),
        ("FP32", {"a": 1}, "inputs[\"X\"]: element 0: expected a number that FP32 holds, got {'a': 1}"),
    ],
)
def test_what_does_not_fit_is_told_by_input_and_place(datatype, value, said):
    with pytest.raises(errors.InputError) as found:
        tensors.pack(of(datatype), value)
    assert str(found.value) == said


@pytest.mark.parametrize(
    ("datatype", "array", "said"),
    [
        ("FP32", np.array([[1.0, 1e39]]), "element 1: expected a number that FP32 holds, got 1e+39"),
        ("INT8", np.array([[1, 200]]), "element 1: expected a number that INT8 holds, got 200"),
        ("UINT64", np.array([[-1]]), "element 0: expected a number that UINT64 holds, got -1"),
        ("INT64", np.array([[1.0]]), "expected an array for INT64, got one of float64"),
        ("FP32", np.array([["a"]]), "expected an array for FP32, got one of <U1"),
        ("BOOL", np.array([[1]]), "expected an array for BOOL, got one of int64"),
        ("BYTES", np.array([[1]]), "element 0: expected a string for BYTES, got 1"),
    ],
)
def test_arrays_that_do_not_fit_are_told_by_input_and_place(datatype, array, said):
    with pytest.raises(errors.InputError) as found:
        arrays.pack(of(datatype), array)
    assert str(found.value) == f'inputs["X"]: {said}'


@pytest.mark.parametrize("unpack", [tensors.unpack, arrays.unpack], ids=["lists", "arrays"])
@pytest.mark.parametrize(
    ("datatype", "shape", "packed"),
    [("FP32", [3], b"\0" * 8), ("BYTES", [1], b"\5\0\0\0ab"), ("FP8", [1], b"\0"), ("BF16", [2], b"\0\0")],
)
def test_bytes_that_are_no_such_tensor_are_refused(unpack, datatype, shape, packed):
    with pytest.raises(ValueError):
        unpack(datatype, shape, packed)

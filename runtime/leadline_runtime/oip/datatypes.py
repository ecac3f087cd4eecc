"""Datatypes of the Open Inference Protocol, and what each is in onnxruntime, numpy and JSON.

numpy has no BF16: such arrays are FP32 on this side of onnxruntime, which holds each of its numbers exactly. Must not
know a model.
"""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np


class Kind(enum.Enum):
    """What a datatype's elements are in JSON."""

    FLOAT = "numbers"
    INTEGER = "whole numbers"
    BOOLEAN = "true or false"
    TEXT = "strings"


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype."""

    name: str
    """In the protocol, e.g. `FP32`."""
    kind: Kind
    numpy: np.dtype
    """Of arrays in this process."""
    bytes: int
    """Of one element of a raw tensor; 0: as long as its text."""
    pack: str
    """Code of `struct` in standard size; empty: rows of it are not packed."""


def _datatype(name: str, kind: Kind, numpy: str, pack: str = "") -> Datatype:
    dtype = np.dtype(numpy)
    return Datatype(name, kind, dtype, 0 if kind is Kind.TEXT else dtype.itemsize, pack)


BF16: Final = Datatype("BF16", Kind.FLOAT, np.dtype("float32"), 2, "")


BY_ONNX: Final = {
    # FP16 is not packed: struct rounds to it, but refuses what numpy takes as the largest value.
    "tensor(float16)": _datatype("FP16", Kind.FLOAT, "float16"),
    "tensor(bfloat16)": BF16,
    "tensor(float)": _datatype("FP32", Kind.FLOAT, "float32", "f"),
    "tensor(double)": _datatype("FP64", Kind.FLOAT, "float64", "d"),
    "tensor(int8)": _datatype("INT8", Kind.INTEGER, "int8", "b"),
    "tensor(int16)": _datatype("INT16", Kind.INTEGER, "int16", "h"),
    "tensor(int32)": _datatype("INT32", Kind.INTEGER, "int32", "i"),
    "tensor(int64)": _datatype("INT64", Kind.INTEGER, "int64", "q"),
    "tensor(uint8)": _datatype("UINT8", Kind.INTEGER, "uint8", "B"),
    "tensor(uint16)": _datatype("UINT16", Kind.INTEGER, "uint16", "H"),
    "tensor(uint32)": _datatype("UINT32", Kind.INTEGER, "uint32", "I"),
    "tensor(uint64)": _datatype("UINT64", Kind.INTEGER, "uint64", "Q"),
    "tensor(bool)": _datatype("BOOL", Kind.BOOLEAN, "bool"),
    "tensor(string)": _datatype("BYTES", Kind.TEXT, "object"),
}
"""By onnxruntime's name of the type."""

BY_NAME: Final = {datatype.name: datatype for datatype in BY_ONNX.values()}

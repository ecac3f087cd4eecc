"""What the supervisor asks the reader of test sets for, what it gets back, and where the worker finds the columns.

Apart from `columns`, so that neither supervisor nor worker imports pyarrow by naming these.
"""

from pathlib import Path
from typing import Final

import msgspec
from leadline_wire import exchange

TRUTH_FILE: Final = "truth.npy"


class Order(msgspec.Struct, frozen=True):
    """What is to be read."""

    path: str
    folder: str
    """Where the .npy files go; exists."""
    uri: str
    """For messages; without credentials."""
    truth: str
    inputs: list[exchange.TensorInfo]


class Result(msgspec.Struct, frozen=True):
    """What came of it."""

    rows: int = 0
    kind: str = ""
    """Format of the file: `parquet`, `npz`, `csv` or `csv.gz`."""
    trouble: str = ""
    """Empty: the files are there."""


def columns_folder(data: Path) -> Path:
    """Return where the columns of a test set are, in the pod's data folder."""
    return data / "testset" / "columns"


def input_file(place: int) -> str:
    """Return the file name of an input, by its place among the model's inputs."""
    return f"input-{place}.npy"

"""From a test set's file to one .npy file per model input, and one with the true answers.

Runs as a process of its own (`python -m leadline_runtime.testset.columns`), so that neither supervisor nor worker ever
holds pyarrow's memory and a file that crashes its reader crashes nothing that serves. Takes an `orders.Order` as JSON on
standard input, answers a `Result` as JSON on standard output. Next step: `testset.runner` reads the files.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from leadline_runtime import errors
from leadline_runtime.testset import fitting, npz, orders, parquet, sources, text
from leadline_runtime.testset.orders import Order, Result
from leadline_runtime.testset.sources import UnusableError

_NICE: Final = 19
"""Requests are answered on the same cores."""
_KINDS: Final = {"parquet": "Parquet file", "npz": ".npz archive", "csv": "CSV file", "csv.gz": "gzipped CSV file"}


def read(order: Order) -> Result:
    """Write the columns' files."""
    kind = ""
    try:
        kind = sources.kind_of(Path(order.path))
        with_source = _open(Path(order.path), kind)
        try:
            return Result(rows=_write(order, with_source), kind=kind)
        finally:
            with_source.close()
    except UnusableError as error:
        return Result(trouble=f"test set {order.uri}: {error}")
    except Exception as error:  # noqa: BLE001  # libraries raise all kinds of things at damaged bytes
        shown = _KINDS.get(kind, "file")
        return Result(
            trouble=f"test set {order.uri}: not a readable {shown}: {errors.shorten(str(error), 300) or type(error).__name__}"
        )


def _open(path: Path, kind: str) -> sources.Source:
    if kind == "parquet":
        return parquet.Parquet(path)
    if kind == "npz":
        return npz.Npz(path)
    return text.Text(path, is_packed=kind == "csv.gz")


def _write(order: Order, source: sources.Source) -> int:
    plan = fitting.Plan(source, order.inputs, order.truth)
    rows = plan.prepare()
    folder = Path(order.folder)
    np.save(folder / orders.TRUTH_FILE, plan.truths(), allow_pickle=False)
    for place, tensor in enumerate(order.inputs):
        np.save(folder / orders.input_file(place), plan.values(tensor), allow_pickle=False)
    return rows


def main() -> None:
    """Answer the order on standard input."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):
        # Where memory runs out, the kernel is to end this process and not one that serves.
        Path("/proc/self/oom_score_adj").write_text("1000")
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    sys.stdout.buffer.write(msgspec.json.encode(read(order)))


if __name__ == "__main__":
    main()

"""Whatever bytes are named as a test set: they are read or refused in words, never with a traceback."""

import gzip
import io
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leadline_runtime.testset import columns, orders
from leadline_wire.exchange import TensorInfo

INPUTS = [TensorInfo("x", "FP32", [-1, 2]), TensorInfo("n", "INT64", [-1]), TensorInfo("t", "BYTES", [-1, 1])]


def npz(save):
    buffer = io.BytesIO()
    save(buffer, x=np.eye(2), n=np.arange(2), t=np.array(["a", "b"]), y=np.arange(2))
    return buffer.getvalue()


CSV = b'x[0],x[1],n,t,y\n0.5,1,7,a,0\n,nan,8,"b,\n",1\n'
FILES = st.sampled_from([CSV, gzip.compress(CSV, mtime=0), npz(np.savez), npz(np.savez_compressed)])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(FILES))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data) - 1))
        match draw(st.sampled_from(["change", "insert", "cut"])):
            case "change":
                data[place] = draw(st.integers(0, 255))
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del data[place : place + draw(st.integers(1, 16))]
        if not data:
            break
    return bytes(data)


def read(data: bytes) -> orders.Result:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "file").write_bytes(data)
        return columns.read(orders.Order(f"{name}/file", name, "s3://tests/t", "y", INPUTS))


@settings(max_examples=300)
@given(st.one_of(damaged(), st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"PK\x03\x04")
@example(b"x,n,t,y\n" + b"[" * 5_000 + b",1,a,1\n")
def test_any_bytes_are_read_or_refused_in_words(data):
    result = read(data)
    assert bool(result.rows) != bool(result.trouble)
    assert result.trouble == "" or result.trouble.startswith("test set s3://tests/t: ")


def test_the_undamaged_files_are_read():
    for data in (CSV, gzip.compress(CSV), npz(np.savez), npz(np.savez_compressed)):
        assert read(data).rows == 2

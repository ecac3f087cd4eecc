"""What `leadline package` writes as a test set, the runtime reads: the same numbers, the same true answers."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from leadline_cli import testsets
from leadline_runtime.testset import columns, orders
from leadline_wire.exchange import TensorInfo

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def examples(draw: st.DrawFn) -> testsets.Examples:
    rows, width = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    numbers = draw(hnp.arrays(np.float32, (rows, width), elements=FINITE))
    classes = draw(st.sampled_from([st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8"))]))
    truths = np.asarray(draw(st.lists(classes, min_size=rows, max_size=rows)))
    input_name, truth_name = draw(st.lists(NAMES, min_size=2, max_size=2, unique=True))
    return testsets.Examples(input_name, numbers, truth_name, truths)


@given(examples())
def test_what_is_packaged_is_read(written):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        testsets.write(folder / "t", written)
        tensor = TensorInfo(written.input_name, "FP32", [-1, written.rows.shape[1]])
        result = columns.read(orders.Order(str(folder / "t"), name, "t", written.truth_name, [tensor]))
        assert result.trouble == ""
        assert np.array_equal(np.load(folder / orders.input_file(0)), written.rows)
        assert np.load(folder / orders.TRUTH_FILE).tolist() == written.truths.tolist()

"""The Python of docs/grpc.md runs as it stands, and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

from tests.wiring.runtime.pods import Pod

PAGE = Path(__file__).parents[3] / "docs" / "grpc.md"


def test_the_example_runs_and_prints_what_it_says(served: Pod):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace("digits.ml:80", f"127.0.0.1:{served.public}"), {})  # our own page
    printed = re.search(r"print\(.*\)  # (.*)", code)
    assert printed is not None
    assert said.getvalue().strip() == printed[1]

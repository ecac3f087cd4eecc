"""The Python of docs/protocol.md runs as it stands, and prints what it says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from tests.wiring.runtime.test_kserve_client import kserve  # noqa: F401  # a fixture

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
CODES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("code", CODES, ids=["tritonclient", "kserve"])
def test_the_example_runs_and_prints_what_it_says(served, request, code):
    address = f"127.0.0.1:{served.public}"
    code = code.replace("digits.ml:80", address).replace("digits.ml", address)
    if "kserve" in code:
        # The package itself would start web frameworks; see `test_kserve_client`.
        parts = request.getfixturevalue("kserve")
        names = {"InferenceRESTClient": parts.client, "InferInput": parts.input, "InferRequest": parts.request}
        code = re.sub(r"from kserve import .*", "", code)
    else:
        parts, names = None, {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {**names, "RESTConfig": parts and parts.config})  # our own page
    assert said.getvalue().strip() == re.search(r"print\(.*\)  # (.*)", code)[1]

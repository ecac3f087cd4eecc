"""The Python of docs/outcomes.md runs as it stands, and says what it says that it prints."""

import contextlib
import io
import re
from pathlib import Path

from leadline_wire.exchange import OutcomeSettings

from tests.wiring.runtime.pods import eventually, infer

PAGE = Path(__file__).parents[3] / "docs" / "outcomes.md"


def test_the_example_runs_and_prints_what_it_says(start, digits, ledgers):
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    pod.exchange(outcomes=OutcomeSettings(ledger=ledgers.edge.url))
    eventually("receipts", lambda: infer(pod.public, digits.rows[0]).headers["leadline-receipt"])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace("http://digits.ml", f"http://127.0.0.1:{pod.public}"), {})  # our own page
    assert said.getvalue().strip() == re.search(r"print\(told\)  # (.*)", code)[1]
    assert len(ledgers.edge.outcomes) == 2

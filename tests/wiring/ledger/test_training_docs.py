"""The training script of docs/retraining.md runs as it stands, on a real ledger and a real S3 server; its product is read."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.reconcile import training_runs
from leadline_operator.specs.metadata import Owner
from leadline_operator.specs.training import environment
from leadline_wire import ledger

from tests.unit.ledger.ledgers import identifier, outcome
from tests.wiring.ledger.parts import MODEL, RUNTIME
from tests.wiring.runtime.servers import S3

PAGE = Path(__file__).parents[3] / "docs" / "retraining.md"
ROWS = 300
SPEC = ModelDeploymentSpec.model_validate({"model": {"uri": "s3://models/fraud/1.onnx"}})


def test_the_script_trains_on_the_train_side_and_brings_a_model_that_can_be_served(process, tmp_path):
    running = process().start()
    at_ms = time.time_ns() // 1_000_000 - 60_000
    told = [outcome(number, at_ms=at_ms, truth=number % 2) for number in range(ROWS)]
    assert running.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=told))[0] == 200
    (tmp_path / "token").write_text(RUNTIME)
    (tmp_path / "store").mkdir()
    with S3(tmp_path / "store") as store:
        features = [[float(number % 2), 1.0] for number in range(ROWS)]
        inputs = pd.DataFrame(
            {"prediction_id": [identifier(number, at_ms) for number in range(ROWS)], "features": features}
        )
        (store.bucket / "fraud").mkdir()
        inputs.to_parquet(store.bucket / "fraud" / "inputs.parquet")
        facts = {"because": "Schedule 0 3 * * 1", "trigger": "schedule/x", "attempt": "1"}
        serving = {"revision": "fraud-1", "uri": "s3://models/fraud/1.onnx", "digest": ""}
        url = f"http://127.0.0.1:{running.port}"
        given = environment(Owner("shop", "fraud", "uid"), "0a1b2c3d4", facts, ledger_url=url, serving=serving)
        script = next(
            code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "fit(" in code
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={
                **os.environ,
                **given,
                **store.credentials(),
                "LEADLINE_LEDGER_TOKEN_FILE": str(tmp_path / "token"),
                "PRODUCT": str(tmp_path / "product"),
            },
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        content = (store.bucket / "fraud" / "0a1b2c3d4" / "model.onnx").read_bytes()
    product = training_runs.read_product((tmp_path / "product").read_text(), SPEC)
    assert isinstance(product, training_runs.Product), product
    assert product.uri == "s3://models/fraud/0a1b2c3d4/model.onnx"
    known = re.match(r"(\d+) outcomes; Schedule", product.notes)
    assert known
    assert 0.7 * ROWS < int(known[1]) < 0.9 * ROWS, "the test side was left out"
    session = onnxruntime.InferenceSession(io.BytesIO(content).getvalue())
    answers = session.run(None, {"X": np.array([[0.0, 1.0], [1.0, 1.0]], dtype=np.float32)})[0]
    assert list(answers) == [0, 1]

"""`leadline tune` as a user runs it: real runs, real servers, a table and a proposal."""

import subprocess
import sys

import yaml

from tests.unit.runtime import models


def test_a_model_is_measured_and_settings_are_proposed(tmp_path):
    model = models.classifier(tmp_path / "model.onnx")
    done = subprocess.run(
        [sys.executable, "-m", "leadline_cli.main", "tune", str(model), "--seconds", "3", "--cpus", "1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    proposal = yaml.safe_load("\n".join(lines[lines.index("spec:") :]))["spec"]["runtime"]
    assert proposal["resources"] == {"limits": {"cpu": "1"}}
    assert 1 <= proposal["batching"]["maxRows"] <= 256
    (marked,) = [line.split() for line in lines if line.endswith("<- proposed")]
    assert marked[:2] == ["1", "1"]
    assert float(marked[5].replace(",", "")) > 0, "requests per second"
    assert "measuring a server with 1 worker" in done.stderr

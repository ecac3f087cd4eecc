"""Helm 4 waits for a ModelDeployment in somebody's chart: until it serves, or until it is known that it will not."""

import json
import os
import subprocess
from pathlib import Path

from tests.cluster import limits


def helm_waits(place, folder: Path, manifest) -> subprocess.CompletedProcess[str]:
    """Install or upgrade a chart of one ModelDeployment, and wait."""
    chart = folder / "chart"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: ours\nversion: 1.0.0\n")
    (chart / "templates" / "model.yaml").write_text(json.dumps(manifest))
    command = [
        os.environ["LEADLINE_HELM"],
        *("upgrade", "--install", "ours", str(chart), "--namespace", place.namespace),
        *("--kubeconfig", place.cluster.kubeconfig, "--wait", "--timeout", f"{limits.ROLLOUT:.0f}s"),
    ]
    return subprocess.run(command, text=True, capture_output=True, timeout=2 * limits.ROLLOUT, check=False)


def test_helm_waits_until_the_revision_serves_and_ends_with_the_reason_where_it_will_not(place, tmp_path, a_row):
    done = helm_waits(place, tmp_path, place.model_deployment())
    assert done.returncode == 0, done.stderr
    assert place.predict(a_row)[0] == 200
    wrong = {"uri": "s3://models/successor.onnx", "digest": "sha256:" + "0" * 64}
    done = helm_waits(place, tmp_path, place.model_deployment(model=wrong))
    assert done.returncode != 0
    assert "DigestMismatch" in done.stderr, done.stderr
    assert place.predict(a_row)[0] == 200

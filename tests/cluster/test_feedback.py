"""Feedback on a real cluster that comes other than by itself: labelled rows, from known sources, and a test set out of it.

Who may is the API server's to say: its TokenReview and SubjectAccessReview are asked. What follows: tests/unit/reconcile.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster import limits
from tests.cluster.feeding import feed
from tests.cluster.support import Place, condition, is_up_to_date, wait
from tests.cluster.test_outcomes import OUTCOMES, ledger_says, replay, serving, until_rolled_back

BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "leadline-labeller"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "leadline-labeller"},
    "subjects": [{"kind": "ServiceAccount", "name": "leadline-labeller"}],
}


def labels_add(place: Place, file: Path) -> subprocess.CompletedProcess[str]:
    """Bring labelled rows as a user would, and wait for what comes of them."""
    kubectl = place.cluster.kubectl_path
    environment = {**os.environ, "KUBECONFIG": place.cluster.kubeconfig, "KUBECTL": kubectl}
    program = str(Path(sys.executable).with_name("leadline"))
    command = [program, "labels", "add", "digits", "-n", place.namespace, str(file), "--truth", "digit", "--wait", "90"]
    return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=180, check=False)


def rows_file(digits: Any, file: Path, rows: range) -> Path:
    lines = ({"image": digits.rows[row], "digit": digits.truths[row]} for row in rows)
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def test_labelled_rows_send_a_worse_revision_back_and_rbac_says_who_may_bring_them(place, digits, tmp_path):
    good = serving(place, "good")
    place.cluster.kubectl("create", "serviceaccount", "leadline-labeller", "-n", place.namespace)
    first = rows_file(digits, tmp_path / "first.ndjson", range(20))
    refused = labels_add(place, first)
    assert refused.returncode != 0
    assert "modeldeployments/labels" in refused.stdout + refused.stderr
    binding = json.loads(json.dumps(BINDING))
    binding["subjects"][0]["namespace"] = place.namespace
    place.cluster.apply(binding, place.namespace)
    alone = wait(
        lambda: labels_add(place, first),
        lambda done: done.returncode == 0,
        within=limits.MESSAGE,
        explain=lambda: refused.stderr,
    )
    assert "0 wait to be answered" in alone.stdout
    worse = serving(place, "worse")
    told = labels_add(place, rows_file(digits, tmp_path / "second.ndjson", range(10, 700)))
    assert "680 rows accepted, 10 were there already" in told.stdout, told.stdout + told.stderr
    status = until_rolled_back(place, good)
    assert [(each["revision"], each["reason"]) for each in status["rejected"]] == [(worse, "Degraded")]
    assert replay(place).returncode == 0


def report(place: Place, receipt: str, truth: int, token: str = "") -> int:
    """Report an outcome; return the status."""
    with place.cluster.forwarded("svc/digits", place.namespace, 80) as port:
        body = json.dumps({"receipt": receipt, "truth": truth}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/digits/outcomes", body)
        if token:
            request.add_header("authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def test_only_who_proves_who_it_is_may_report_where_sources_are_required(place, digits):
    serving(place, "good", outcomes={"maturity": "0s", "sources": {"required": True, "quorum": 2}})
    place.cluster.kubectl("create", "serviceaccount", "crm", "-n", place.namespace)

    def token(audience: str) -> str:
        made = place.cluster.kubectl("create", "token", "crm", "-n", place.namespace, "--audience", audience)
        return str(made.stdout.strip())

    receipts = feed(place, digits, range(3), reports=False, keeps=True).receipts
    assert report(place, receipts[0], 1) == 401
    assert report(place, receipts[0], 1, token("leadline-ledger")) == 401
    assert report(place, receipts[0], digits.truths[0], token("leadline-outcomes")) == 200
    entries = ledger_says(place, f"/v1/namespaces/{place.namespace}/models/digits/log?after=0", dict)["entries"]
    assert [each["source"] for each in entries if each["type"] == "outcome"] == [f"{place.namespace}/crm"]


def test_worse_revision_is_refused_by_a_test_set_out_of_what_came_true(place, digits):
    spec = {
        "rollout": {"strategy": "BlueGreen"},
        "quality": {**OUTCOMES["quality"], "testSet": {"from": "outcomes", "interval": "2s"}},
        "outcomes": {"maturity": "0s", "capture": {"percent": 100, "every": "1s"}},
    }
    good = serving(place, "good", **spec)
    for _ in range(3):  # a fifth of them is the test side: enough to tell ten points for certain
        fed = feed(place, digits, range(len(digits.rows)))
        assert (fed.failed, {status for status, _ in fed.fates}) == ([], {200})
    path = f"/v1/namespaces/{place.namespace}/models/digits/captures"
    wait(
        lambda: ledger_says(place, path, dict),
        lambda told: told["rows"] >= 3 * len(digits.rows),
        within=limits.MESSAGE,
        explain=place.explain,
    )
    place.apply(place.model_deployment(model="worse", **spec))
    place.until_condition("Stalled", "True", "TestDegraded", within=limits.ROLLOUT)
    assert place.status()["servingRevision"] == good
    place.apply(place.model_deployment(model="successor", **spec))
    status = place.until(is_up_to_date, within=limits.ROLLOUT)
    assert status["servingRevision"] != good
    assert condition(status, "Stalled")[0] == "False"

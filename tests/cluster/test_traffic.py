"""Steady traffic, kept connections and new ones, through switches and a rollback: nothing fails, nobody answers late."""

import json
from typing import Any

import pytest
from leadline_api import names

from tests.cluster import limits
from tests.cluster.conftest import ROOT
from tests.cluster.support import STORE_NAMESPACE, Place, is_up_to_date, wait
from tests.cluster.test_main_job import QUALITY


class Traffic:
    """The example's client in a pod, asking one model."""

    def __init__(self, place: Place, digits: Any) -> None:
        self._place = place
        rows = {"input": "image", "rows": digits.rows[:200], "truths": digits.truths[:200]}
        script = (ROOT / "examples" / "demo" / "client.py").read_text()
        place.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "traffic"},
                "data": {"client.py": script, "rows.json": json.dumps(rows)},
            }
        )
        client = place.cluster.get("pod/client", STORE_NAMESPACE)["spec"]
        container = {
            key: value
            for key, value in client["containers"][0].items()
            if key in ("name", "image", "imagePullPolicy", "securityContext")
        }
        url = f"http://digits.{place.namespace}.svc/v2/models/digits/infer"
        container["command"] = ["python3", "/traffic/client.py", url, "/traffic/rows.json"]
        container["volumeMounts"] = [{"name": "traffic", "mountPath": "/traffic"}]
        spec = {
            "restartPolicy": "Never",
            "securityContext": client["securityContext"],
            "containers": [container],
            "volumes": [{"name": "traffic", "configMap": {"name": "traffic"}}],
        }
        place.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "traffic"}, "spec": spec})
        wait(self.lines, lambda lines: len(lines) > 1, within=limits.POD_START, explain=place.explain)

    def lines(self) -> list[dict[str, Any]]:
        text = self._place.cluster.kubectl("logs", "pod/traffic", "-n", self._place.namespace, check=False).stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def seen(self, revision: str) -> bool:
        return any(revision in mode["revisions"] for mode in self.lines()[-1]["modes"].values())

    def last_answer(self, revision: str) -> float:
        return max(
            mode["revisions"][revision]["last"]
            for mode in self.lines()[-1]["modes"].values()
            if revision in mode["revisions"]
        )

    def two_more_lines(self) -> dict[str, Any]:
        seen = len(self.lines())
        return wait(
            self.lines, lambda lines: len(lines) > seen + 2, within=limits.MESSAGE, explain=self._place.explain
        )[-1]


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_no_request_fails_and_no_demoted_model_answers(place, digits, strategy):
    wanted = {"quality": QUALITY, "rollout": {"strategy": strategy}, "runtime": {"replicas": 2}}
    place.apply(place.model_deployment(**wanted))
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    traffic = Traffic(place, digits)
    place.apply(place.model_deployment(model="worse", **wanted))
    reason = "RolledBack" if strategy == "RollingUpdate" else "TestDegraded"
    place.until_condition("Stalled", "True", reason, within=limits.ROLLOUT)
    worse = place.status()["desiredRevision"]
    place.until(lambda each: each["servingRevision"] == good, within=limits.ROLLOUT)
    place.apply(place.model_deployment(model="successor", **wanted))
    successor = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    account = traffic.two_more_lines()
    for mode in account["modes"].values():
        assert mode["failed"] == 0, mode["errors"]
        assert mode["sent"] > 50
        assert successor in mode["revisions"]
    assert account["at"] - traffic.last_answer(good) > 1.0, "the demoted model still answers"
    assert traffic.seen(worse) == (strategy == "RollingUpdate")
    if strategy == "RollingUpdate":
        revision = place.cluster.get(f"controllerrevision/{worse}", place.namespace)
        decided = json.loads(revision["metadata"]["annotations"][names.RECORD_ANNOTATION])["rejections"][-1]["at"]
        assert traffic.last_answer(worse) - decided < 2.0

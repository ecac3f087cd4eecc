"""The main job on a real cluster: deploy, predict, refuse a worse model, roll back, keep an honest successor.

Seen through the API server and the model's URL only. Traffic during switches: test_traffic; trouble: test_trouble.
"""

from typing import Any

import pytest
from leadline_api import names

from tests.cluster import limits
from tests.cluster.support import Place, condition, is_up_to_date

ACCURACY = {"name": "accuracy", "metric": "accuracy", "margin": "0.02", "floor": "0.80"}
QUALITY: dict[str, Any] = {
    "metrics": [ACCURACY],
    "testSet": {"uri": "s3://models/testset.parquet", "truth": "digit", "interval": "2s"},
}


def versions_seen(place: Place, row: list[float], times: int = 3) -> set[str]:
    seen = set()
    for _ in range(times):
        status, answer = place.predict(row)
        assert status == 200, answer
        seen.add(answer["model_version"])
    return seen


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_model_is_served_tested_and_scaled(place, a_row, digits, strategy):
    place.apply(place.model_deployment(quality=QUALITY, rollout={"strategy": strategy}))
    status = place.until(is_up_to_date, within=limits.ROLLOUT)
    code, answer = place.predict(a_row)
    assert code == 200, answer
    assert answer["model_version"] == status["servingRevision"] == status["desiredRevision"]
    assert digits.truths[0] in answer["outputs"][0]["data"]
    found = place.until(lambda each: condition(each, "QualityOK")[0] == "True", within=limits.VERDICT)
    assert float(found["quality"][0]["estimate"]) > 0.97
    assert found["summary"]["quality"].startswith("accuracy 0.9")
    place.cluster.kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=2")
    place.until(
        lambda each: each["replicas"] == 2 and len(place.pods(each["servingRevision"])) == 2,
        within=limits.ROLLOUT,
    )
    line = place.cluster.kubectl("get", "mdep", "-n", place.namespace, "--no-headers").stdout.split()
    assert line[:4] == ["digits", found["servingRevision"], "True", "accuracy"]


def test_worse_model_is_rejected_before_it_gets_traffic_under_blue_green(place, a_row):
    place.apply(place.model_deployment(quality=QUALITY))
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    place.apply(place.model_deployment(model="worse", quality=QUALITY))
    message = place.until_condition("Stalled", "True", "TestDegraded", within=limits.ROLLOUT)
    assert "leadline.dev/action=retry" in message
    status = place.status()
    assert status["servingRevision"] == good
    assert condition(status, "Ready")[0] == "True"
    assert condition(status, "UpToDate")[0] == "False"
    assert [each["reason"] for each in status["rejected"]] == ["TestDegraded"]
    assert versions_seen(place, a_row) == {good}
    assert place.pods(status["desiredRevision"]) == [] or all(
        each["metadata"].get("deletionTimestamp") for each in place.pods(status["desiredRevision"])
    )
    place.apply(place.model_deployment(model="successor", quality=QUALITY))
    after = place.until(is_up_to_date, within=limits.ROLLOUT)
    assert versions_seen(place, a_row) == {after["desiredRevision"]}
    assert after["lastGoodRevision"] == good
    place.apply(place.model_deployment(model="worse", quality=QUALITY))
    place.until_condition("Stalled", "True", "TestDegraded", within=limits.MESSAGE)


def test_worse_model_that_serves_is_rolled_back_under_rolling_update(place, a_row):
    rollout = {"strategy": "RollingUpdate"}
    place.apply(place.model_deployment(quality=QUALITY, rollout=rollout))
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    place.apply(place.model_deployment(model="worse", quality=QUALITY, rollout=rollout))
    place.until_condition("Stalled", "True", "RolledBack", within=limits.ROLLOUT)
    status = place.status()
    assert status["servingRevision"] == good
    assert status["rejected"][0]["reason"] == "Degraded"
    assert versions_seen(place, a_row) == {good}
    events = place.cluster.get("events", place.namespace, "--field-selector", "reason=RolledBack")["items"]
    assert len(events) == 1
    place.apply(place.model_deployment(model="good", quality=QUALITY, rollout=rollout))
    place.until(is_up_to_date, within=limits.ROLLOUT)


def test_bytes_that_change_behind_the_uri_move_no_running_pod(place, store, digits, a_row):
    store.put({"moving.onnx": digits.files["good.onnx"]})
    place.apply(place.model_deployment(model="moving", quality=QUALITY))
    serving = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    before = {each["metadata"]["uid"] for each in place.pods(serving)}
    store.put({"moving.onnx": digits.files["worse.onnx"]})
    place.cluster.kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=2")
    status = place.until(lambda each: "DigestMismatch" in condition(each, "Ready")[2], within=limits.ROLLOUT)
    assert "has the model from the ledger" in condition(status, "Ready")[2]
    assert condition(status, "Ready")[0] == "True"
    assert status.get("rejected", []) == []
    assert versions_seen(place, a_row) == {serving}
    assert before <= {each["metadata"]["uid"] for each in place.pods(serving)}


def test_commands_roll_back_and_try_again(place):
    place.apply(place.model_deployment())
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    place.apply(place.model_deployment(model="successor"))
    successor = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    command(place, "rollback")
    place.until(lambda each: each["servingRevision"] == good, within=limits.ROLLOUT)
    place.until_condition("Stalled", "True", "RolledBack", within=limits.MESSAGE)
    command(place, "retry")
    place.until(lambda each: each["servingRevision"] == successor and is_up_to_date(each), within=limits.ROLLOUT)


def test_paused_rollout_waits_ready_for_the_users_word(place, a_row):
    place.apply(place.model_deployment())
    good = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    place.apply(place.model_deployment(model="successor", rollout={"paused": True}))
    place.until_condition("Reconciling", "True", "Paused", within=limits.ROLLOUT)
    assert versions_seen(place, a_row) == {good}
    command(place, "promote")
    successor = place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"]
    assert versions_seen(place, a_row) == {successor}
    assert place.cluster.get("mdep/digits", place.namespace)["spec"]["rollout"]["paused"] is True


def command(place: Place, verb: str) -> None:
    stamp = place.cluster.kubectl(
        "exec", "-n", "store", "client", "--", "date", "-u", "+%Y-%m-%dT%H:%M:%S.%NZ"
    ).stdout.strip()
    stamp = stamp[:26] + "Z"
    place.cluster.kubectl(
        "annotate", "--overwrite", "mdep/digits", "-n", place.namespace, f"{names.ACTION_ANNOTATION}={verb}@{stamp}"
    )

"""Rules of the design that hold whatever happens, each by its number, on a real cluster.

Others of them: test_rules (children, status, kills, steady state), test_outcomes (memory, ledger), test_trouble (blocked is not
rejected), test_traffic (nothing is dropped).
"""

import os
from typing import Any

import pytest

from tests.cluster import limits
from tests.cluster.conftest import ROOT, SYSTEM, helm, helm_install, operator_pod
from tests.cluster.support import Place, condition, is_up_to_date, wait
from tests.cluster.test_main_job import ACCURACY, QUALITY, versions_seen
from tests.cluster.test_trouble import SOON

LEFT = "deployments,services,controllerrevisions,poddisruptionbudgets,pods"


def with_margin(margin: str, floor: str) -> dict[str, Any]:
    return {**QUALITY, "metrics": [{**ACCURACY, "margin": margin, "floor": floor}]}


def promotions(place: Place) -> int:
    return len(place.cluster.get("events", place.namespace, "--field-selector", "reason=Promoted")["items"])


def serving(place: Place, model: str, **spec: Any) -> str:
    place.apply(place.model_deployment(model=model, **spec))
    return str(place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"])


def test_rule_2_going_back_to_a_revision_that_served_needs_no_new_test(place, a_row):
    first = serving(place, "good", quality=QUALITY)
    second = serving(place, "successor", quality=QUALITY)
    assert serving(place, "good", quality=QUALITY) == first
    assert versions_seen(place, a_row) == {first}
    assert promotions(place) == 3
    assert place.status()["lastGoodRevision"] == second


def test_rule_2_a_rejected_spec_stays_rejected_until_it_is_judged_by_something_else(place, a_row):
    good = serving(place, "good", quality=QUALITY)
    place.apply(place.model_deployment(model="worse", quality=QUALITY))
    place.until_condition("Stalled", "True", "TestDegraded", within=limits.ROLLOUT)
    (rejected,) = place.status()["rejected"]
    place.apply(place.model_deployment(model="good", quality=QUALITY))
    place.until(is_up_to_date, within=limits.ROLLOUT)
    place.apply(place.model_deployment(model="worse", quality=QUALITY))
    place.until_condition("Stalled", "True", "TestDegraded", within=limits.MESSAGE)
    assert place.status()["rejected"] == [rejected], "remembered, not judged again"
    assert versions_seen(place, a_row) == {good}
    tolerant = serving(place, "worse", quality=with_margin("0.3", "0.5"))
    assert tolerant == rejected["revision"]
    assert versions_seen(place, a_row) == {tolerant}


def test_rule_2_an_image_that_does_not_pull_is_trouble_and_no_rejection(place, a_row):
    good = serving(place, "good", rollout=SOON)
    place.apply(place.model_deployment(runtime={"image": "localhost/none:1"}, rollout=SOON))
    message = place.until_condition("Stalled", "True", "ImagePullFailed", within=limits.ROLLOUT)
    assert "localhost/none:1" in message
    status = place.status()
    assert (status["servingRevision"], status.get("rejected", [])) == (good, [])
    assert versions_seen(place, a_row) == {good}
    assert serving(place, "good", rollout=SOON) == good


def test_rule_3_an_operator_of_another_release_and_back_restarts_no_pod(place, installed):
    good = serving(place, "good", quality=QUALITY)
    before = {each["metadata"]["uid"] for each in place.pods(good)}
    try:
        helm(
            installed,
            *(
                "upgrade",
                "leadline",
                str(ROOT / "charts" / "leadline"),
                "--reuse-values",
                "--wait",
                "--timeout",
                "180s",
            ),
            *("--set", f"runtime.image={os.environ['LEADLINE_RUNTIME_IMAGE']}-next"),
        )
        operator_pod(installed)
        place.apply(place.model_deployment(quality=with_margin("0.03", "0.80")))
        place.until(
            lambda each: is_up_to_date(each) and condition(each, "QualityOK")[0] == "True", within=limits.ROLLOUT
        )
        assert {each["metadata"]["uid"] for each in place.pods(good)} == before
    finally:
        helm_install(installed)
    operator_pod(installed)
    place.apply(place.model_deployment(quality=QUALITY))
    status = place.until(is_up_to_date, within=limits.ROLLOUT)
    assert status["servingRevision"] == good
    assert {each["metadata"]["uid"] for each in place.pods(good)} == before


def test_rule_4_replicas_that_change_in_the_middle_of_a_rollout_are_those_that_serve_after_it(place, store, digits):
    good = serving(place, "good")
    place.apply(place.model_deployment(model="slow-to-come"))
    place.until_condition("Reconciling", "True", "Fetching", within=limits.ROLLOUT)
    place.cluster.kubectl("scale", "mdep/digits", "-n", place.namespace, "--replicas=2")
    place.until(lambda each: len(place.pods(good)) == 2, within=limits.ROLLOUT)
    store.put({"slow-to-come.onnx": digits.files["successor.onnx"]})
    status = place.until(lambda each: is_up_to_date(each) and each["servingRevision"] != good, within=limits.ROLLOUT)
    place.until(lambda each: len(place.pods(status["servingRevision"])) == 2, within=limits.ROLLOUT)


@pytest.mark.parametrize("what", ["mdep/digits", "namespace"])
def test_rule_4_deleted_in_the_middle_of_a_rollout_nothing_is_left(place, what):
    serving(place, "good")
    place.apply(place.model_deployment(model="never-there"))
    place.until_condition("Reconciling", "True", "Fetching", within=limits.ROLLOUT)
    kubectl = place.cluster.kubectl
    if what == "namespace":
        kubectl("delete", "namespace", place.namespace, "--wait=false")
        wait(
            lambda: place.cluster.get(f"namespace/{place.namespace}", "default"),
            lambda found: found is None,
            within=limits.ROLLOUT,
            explain=place.explain,
        )
        return
    kubectl("delete", what, "-n", place.namespace, "--wait=false")
    wait(
        lambda: place.cluster.get(LEFT, place.namespace)["items"],
        lambda found: found == [],
        within=limits.ROLLOUT,
        explain=place.explain,
    )


def test_rule_6_a_bad_serving_revision_does_not_block_a_good_one_and_two_bad_ones_do_not_take_turns(
    place, store, digits, a_row
):
    store.put({"as-bad.onnx": digits.files["worse.onnx"]})
    bad = serving(place, "worse")
    strict = with_margin("0.02", "0.95")
    place.apply(place.model_deployment(model="worse", quality=strict))
    place.until(lambda each: condition(each, "QualityOK")[:2] == ("False", "BelowFloor"), within=limits.VERDICT)
    place.apply(place.model_deployment(model="as-bad", quality=strict))
    place.until_condition("Stalled", "True", "BelowFloor", within=limits.ROLLOUT)
    assert (versions_seen(place, a_row), promotions(place)) == ({bad}, 1)
    good = serving(place, "good", quality=strict)
    assert versions_seen(place, a_row) == {good}
    assert promotions(place) == 2


def test_rule_6_a_way_back_without_pods_gets_them_before_the_traffic(place, a_row):
    spec: dict[str, Any] = {
        "quality": QUALITY,
        "rollout": {"strategy": "RollingUpdate", "lastGood": {"replicas": 0}},
    }
    good = serving(place, "good", **spec)
    place.apply(place.model_deployment(model="worse", **spec))
    answered = set()

    def asked(status: dict[str, Any]) -> bool:
        code, answer = place.predict(a_row)
        assert code == 200, answer
        answered.add(answer["model_version"])
        return condition(status, "Stalled")[1] == "RolledBack" and status["servingRevision"] == good

    status = place.until(asked, within=limits.VERDICT + limits.ROLLOUT)
    assert answered == {good, status["desiredRevision"]}
    assert versions_seen(place, a_row) == {good}


def test_rule_10_a_leader_that_is_late_changes_nothing(place, a_row):
    """Two operators at once for a while, as when a node that was cut off comes back."""
    kubectl = place.cluster.kubectl
    good = serving(place, "good", quality=QUALITY)
    before = {each["metadata"]["uid"] for each in place.pods(good)}
    kubectl("scale", "deploy/leadline", "-n", SYSTEM, "--replicas=2")
    try:
        kubectl("rollout", "status", "deploy/leadline", "-n", SYSTEM, "--timeout=120s")
        successor = serving(place, "successor", quality=QUALITY)
        place.apply(place.model_deployment(model="worse", quality=QUALITY))
        place.until_condition("Stalled", "True", "TestDegraded", within=limits.ROLLOUT)
        assert versions_seen(place, a_row) == {successor}
    finally:
        kubectl("scale", "deploy/leadline", "-n", SYSTEM, "--replicas=1")
    operator_pod(place.cluster)
    assert serving(place, "good", quality=QUALITY) == good
    assert {each["metadata"]["uid"] for each in place.pods(good)} <= before
    assert promotions(place) == 3

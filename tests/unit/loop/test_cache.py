"""The cache: what is known is never older than what was known, and belongs to the right ModelDeployment."""

from leadline_api import names
from leadline_operator.loop.cache import Cache, Key, is_owned

KEY = Key("ml", "digits")


def an_object(version, *, kind="Service", name="digits", label="digits"):
    labels = {names.DEPLOYMENT_LABEL: label} if label else {}
    return {
        "kind": kind,
        "metadata": {"namespace": "ml", "name": name, "resourceVersion": str(version), "labels": labels},
    }


def test_change_queues_its_model_deployment():
    cache = Cache()
    assert cache.observe("Service", an_object(1)) == KEY
    assert cache.observe(names.KIND, an_object(1, kind=names.KIND)) == KEY


def test_object_without_our_label_belongs_to_nobody():
    assert Cache().observe("Service", an_object(1, label=None)) is None


def test_older_version_and_same_version_change_nothing():
    cache = Cache()
    cache.observe("Service", an_object(12))
    assert cache.observe("Service", an_object(9)) is None
    assert cache.observe("Service", an_object(12)) is None
    assert cache.get("Service", KEY)["metadata"]["resourceVersion"] == "12"


def test_deletion_of_an_older_object_does_not_remove_a_newer_one():
    cache = Cache()
    cache.observe("Service", an_object(12))
    assert cache.observe("Service", an_object(9), deleted=True) is None
    assert cache.get("Service", KEY) is not None


def test_list_finds_what_a_watch_had_missed():
    cache = Cache()
    cache.observe("Service", an_object(1, name="gone"))
    cache.observe("Service", an_object(2, name="stays"))
    cache.observe("Service", an_object(9, name="newer"))
    missed = cache.replace_all("Service", [an_object(2, name="stays"), an_object(3, name="new", label="other")], "5")
    assert missed == {KEY, Key("ml", "other")}
    assert {each["metadata"]["name"] for each in cache.children(KEY, "Service")} == {"stays", "newer"}


def test_empty_list_empties_the_cache():
    cache = Cache()
    cache.observe("Service", an_object(1))
    assert cache.replace_all("Service", [], "5") == {KEY}
    assert list(cache.children(KEY, "Service")) == []


def test_only_the_controlling_owner_owns():
    live = an_object(1)
    assert not is_owned(live, "u")
    live["metadata"]["ownerReferences"] = [{"uid": "u"}]
    assert not is_owned(live, "u")
    live["metadata"]["ownerReferences"] = [{"uid": "u", "controller": True}]
    assert is_owned(live, "u")
    assert not is_owned(live, "other")


def test_object_that_is_relabelled_by_hand_leaves_nothing_behind():
    cache = Cache()
    cache.observe("Pod", an_object(1, kind="Pod", name="pod"))
    assert cache.observe("Pod", an_object(2, kind="Pod", name="pod", label="other")) == Key("ml", "other")
    cache.observe("Pod", an_object(3, kind="Pod", name="pod", label="other"), deleted=True)
    assert list(cache.children(KEY, "Pod")) == []
    assert list(cache.children(Key("ml", "other"), "Pod")) == []


def test_object_that_loses_our_label_is_gone_at_once():
    cache = Cache()
    cache.observe("Pod", an_object(1, kind="Pod", name="pod"))
    assert cache.observe("Pod", an_object(2, kind="Pod", name="pod", label=None)) == KEY
    assert list(cache.children(KEY, "Pod")) == []
    assert cache.get("Pod", Key("ml", "pod")) is None


def an_autoscaler(version, *, cpu, wanted):
    status = {"desiredReplicas": wanted, "currentMetrics": [{"resource": {"current": {"averageUtilization": cpu}}}]}
    return {**an_object(version, kind="HorizontalPodAutoscaler"), "status": status}


def test_measurements_of_an_autoscaler_queue_nothing_and_what_it_wants_does():
    cache = Cache()
    kind = "HorizontalPodAutoscaler"
    assert cache.observe(kind, an_autoscaler(1, cpu=40, wanted=2)) == KEY
    assert cache.observe(kind, an_autoscaler(2, cpu=45, wanted=2)) is None
    assert cache.get(kind, KEY)["metadata"]["resourceVersion"] == "2"
    assert cache.observe(kind, an_autoscaler(3, cpu=90, wanted=4)) == KEY

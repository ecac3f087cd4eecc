"""What the demo reads out of a ModelDeployment's JSON: each wait of the acts ends when one of these holds."""

import json

import pytest

from examples.demo import reading
from examples.demo.commands import DemoError


def deployment(*, generation=2, serving="digits-a", desired="digits-a", **conditions):
    stamped = [{"type": kind, "status": s, "reason": r, "message": ""} for kind, (s, r) in conditions.items()]
    status = {"observedGeneration": generation, "servingRevision": serving, "desiredRevision": desired}
    return {"metadata": {"name": "digits"}, "status": {**status, "conditions": stamped}}


REFUSED = {
    "Ready": ("True", "Serving"),
    "Reconciling": ("False", "Done"),
    "Stalled": ("True", "TestDegraded"),
}


def test_a_deployment_without_status_is_at_no_generation_and_serves_nothing():
    new = {"metadata": {"name": "digits"}}
    assert not reading.is_seen(new, 1)
    assert not reading.serves(new, "digits-a")
    assert reading.desired(new) == ""


def test_a_status_about_an_older_spec_is_not_seen():
    assert not reading.is_seen(deployment(generation=1), 2)
    assert reading.is_seen(deployment(generation=2), 2)


def test_a_revision_serves_when_it_is_ready_and_nothing_is_under_way():
    ready = {"Ready": ("True", "Serving"), "Reconciling": ("False", "Done")}
    assert reading.serves(deployment(**ready), "digits-a")
    assert not reading.serves(deployment(**ready), "digits-b")
    assert not reading.serves(deployment(**{**ready, "Reconciling": ("True", "Switching")}), "digits-a")
    assert not reading.serves(deployment(**{**ready, "Ready": ("False", "NoReadyPods")}), "digits-a")


def test_a_refusal_counts_when_all_is_at_rest():
    assert reading.is_refused(deployment(**REFUSED), 2)
    assert not reading.is_refused(deployment(**{**REFUSED, "Reconciling": ("True", "RollingBack")}), 2)
    assert not reading.is_refused(deployment(**{**REFUSED, "Stalled": ("False", "NotStalled")}), 2)


def test_a_refusal_of_an_older_spec_does_not_count():
    assert not reading.is_refused(deployment(generation=1, **REFUSED), 2)


def test_a_refusal_for_another_reason_does_not_count_where_reasons_are_named():
    assert reading.is_refused(deployment(**REFUSED), 2, "TestDegraded")
    assert not reading.is_refused(deployment(**REFUSED), 2, "RolledBack")


def test_the_deciding_report_is_the_newest_finding_in_the_record():
    record = json.dumps({"rejections": [{"at": 1.5}, {"at": 2.25}]})
    revision = {"metadata": {"name": "digits-b", "annotations": {"leadline.dev/record": record}}}
    assert reading.decided_at(revision) == 2.25


@pytest.mark.parametrize("annotations", [None, {}, {"leadline.dev/record": "{}"}])
def test_a_revision_without_finding_is_said_so(annotations):
    with pytest.raises(DemoError, match="digits-b: expected a finding"):
        reading.decided_at({"metadata": {"name": "digits-b", "annotations": annotations}})

"""What autoscaling in a spec becomes: a HorizontalPodAutoscaler in which every default is written out."""

from leadline_api.autoscaling import Autoscaling
from leadline_operator.specs import autoscalers
from leadline_operator.specs.metadata import Owner

OWNER = Owner(name="digits", namespace="ml", uid="uid-1")


def made(*metrics):
    asked = Autoscaling.model_validate({"maxReplicas": 4, "metrics": metrics})
    return autoscalers.autoscaler(OWNER, "digits-1", autoscaling=asked)


def test_metrics_are_those_of_the_spec_in_its_order():
    share = {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 70}}
    amount = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": 2}}
    queue = {"metric": {"name": "leadline_queue_rows"}, "target": {"averageValue": "16"}}
    asked = [
        {"type": "Pods", "pods": queue},
        {"type": "Resource", "resource": share},
        {"type": "Resource", "resource": amount},
    ]
    assert made(*asked)["spec"]["metrics"] == [
        {"type": "Pods", "pods": {**queue, "target": {"type": "AverageValue", "averageValue": "16"}}},
        {"type": "Resource", "resource": share},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "2"}}},
    ]


def test_one_pod_is_the_fewest_where_nothing_is_said_and_the_name_is_the_model_deployments():
    found = made()
    assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == (1, 4)
    assert found["metadata"]["name"] == "digits"
    assert autoscalers.scaled_revision(found) == "digits-1"


def test_target_that_is_no_deployment_is_no_revision():
    found = made()
    found["spec"]["scaleTargetRef"] = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "digits-1"}
    assert autoscalers.scaled_revision(found) == ""

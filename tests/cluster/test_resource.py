"""The API server takes every spec that the models take, and fills in what they fill in.

What it refuses: test_invalid_specs. Everything here is a dry run.
"""

import json

from hypothesis import HealthCheck, Phase, given, settings
from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec

from tests.property import strategies


def created(kubectl, spec):
    body = json.dumps(
        {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "digits"}, "spec": spec}
    )
    answer = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=body, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@settings(
    max_examples=25,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # each try is a call of kubectl
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(spec=strategies.specs())
def test_api_server_takes_and_completes_whatever_the_models_take(kubectl, spec):
    model = ModelDeploymentSpec.model_validate(spec)
    assert created(kubectl, spec)["spec"] == model.model_dump(by_alias=True, exclude_none=True)


def test_fresh_object_says_that_no_operator_has_seen_it(kubectl):
    found = created(kubectl, {"model": {"uri": "s3://models/digits/model.onnx"}})
    assert found["status"] == {"observedGeneration": -1}

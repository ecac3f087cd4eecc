"""A spec that is read, written and read again is the same, whatever the user left out."""

import json

from hypothesis import given, settings
from leadline_api import quantities
from leadline_api.spec import ModelDeploymentSpec

from tests.property import strategies


@settings(max_examples=150, deadline=None)
@given(raw=strategies.specs())
def test_spec_survives_json_whatever_is_in_it(raw):
    spec = ModelDeploymentSpec.model_validate(raw)
    written = spec.model_dump_json(by_alias=True, exclude_none=True)
    assert ModelDeploymentSpec.model_validate_json(written) == spec


@settings(max_examples=150, deadline=None)
@given(raw=strategies.specs())
def test_spec_keeps_every_value_as_the_user_wrote_it(raw):
    written = ModelDeploymentSpec.model_validate(raw).model_dump(by_alias=True, exclude_none=True)
    assert_within(json.loads(json.dumps(raw)), written)


@settings(max_examples=150, deadline=None)
@given(raw=strategies.specs())
def test_every_quantity_of_a_spec_is_a_number_for_the_operator(raw):
    spec = ModelDeploymentSpec.model_validate(raw)
    assert quantities.seconds(spec.rollout.progress_deadline) >= 1
    assert 0 <= quantities.pods(spec.rollout.last_good.replicas, of=spec.runtime.replicas) <= 1_000
    for metric in spec.quality.metrics:
        assert 0 <= metric.tolerated <= 1


def assert_within(part, whole):
    for key, value in part.items():
        if isinstance(value, dict):
            assert_within(value, whole[key])
        elif isinstance(value, list):
            for small, large in zip(value, whole[key], strict=True):
                assert_within({key: small}, {key: large})
        else:
            assert whole[key] == value

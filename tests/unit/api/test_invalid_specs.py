"""The page of invalid specs and the models agree on the words, so that a slip shows without a cluster."""

import re

import pytest
import yaml
from leadline_api import crd
from leadline_api.spec import ModelDeploymentSpec
from pydantic import ValidationError

from tests import invalid_specs

OURS = [case for case in invalid_specs.cases() if "some validation rules" not in case.message]


@pytest.mark.parametrize("case", [case for case in OURS if "must be" in case.message or "needs" in case.message])
def test_models_refuse_in_the_words_of_the_page(case):
    words = re.split(r"Invalid value: (?:\"[^\"]*\": )?", case.message)[1]
    if "metadata.name" in case.message:
        rule = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"][0]
        assert words.startswith(rule["message"])
        return
    with pytest.raises(ValidationError, match=re.escape(words)):
        ModelDeploymentSpec.model_validate(yaml.safe_load(case.manifest)["spec"])


def test_page_has_the_mistakes_that_people_make():
    assert len(invalid_specs.cases()) >= 20
    assert len([case for case in OURS if "must be" in case.message]) >= 8

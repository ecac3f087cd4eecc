"""The OpenAPI document: valid by OpenAPI's own schema, and true of what the server takes and answers."""

import json
import re

import jsonschema
import pytest
from leadline_runtime.oip import openapi
from onnx import helper
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor, told
from tests.unit.runtime.test_binary import ALL, raw
from tests.unit.runtime.test_inference import BAD, ELEMENTS


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model with a tensor of each datatype."""
    tensors = {name: (element, ("N", 3)) for name, (element, _, _) in ELEMENTS.items() if name != "BF16"}
    path = models.save(
        tmp_path_factory.mktemp("model") / "all.onnx",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in tensors],
        {f"in_{name}": kind for name, kind in tensors.items()},
        {f"out_{name}": kind for name, kind in tensors.items()},
    )
    return Served(path)


def document(served):
    return json.loads(served.ask(b"", openapi.PATH, method="GET").body)


def checker(served, schema):
    whole = document(served)
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": whole["components"]}
    )


def everything(rows=1, **more):
    tensors = [
        tensor(values * rows, [rows, 3], f"in_{name}", name)
        for name, (_, values, _) in ELEMENTS.items()
        if name != "BF16"
    ]
    return asking(*tensors, **more)


@pytest.mark.parametrize("has_outcomes", [True, False])
def test_the_document_is_valid(served, has_outcomes):
    whole = openapi.document(served.model.signature, "m", "m-1", has_outcomes=has_outcomes)
    OpenAPIV31SpecValidator(json.loads(json.dumps(whole))).validate()
    assert ("/v2/models/m/outcomes" in whole["paths"]) is has_outcomes
    assert ("/v2/models/m/outcomes/wanted" in whole["paths"]) is has_outcomes


@pytest.mark.parametrize("shape", [(), ("N",), (2, 2), ("N", "H", 3)])
def test_it_is_valid_for_all_kinds_of_shapes(tmp_path, shape):
    served = Served(models.identity(tmp_path / "m.onnx", shape=shape))
    OpenAPIV31SpecValidator(document(served)).validate()


def test_every_path_of_the_document_is_there_and_answers_as_it_says(served):
    whole = document(served)
    for path, methods in whole["paths"].items():
        (method,) = methods
        body = json.dumps(everything()).encode() if path.endswith("/infer") else b""
        answer = served.ask(body, path, method=method.upper())
        assert answer.status == 200, path
        schema = methods[method]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(json.loads(answer.body), {**schema, "components": whole["components"]})


@pytest.mark.parametrize(
    "more", [{}, {"id": "a"}, {"outputs": [{"name": "out_BYTES"}]}, {"parameters": {"tags": {"a": "b"}}}]
)
@pytest.mark.parametrize("rows", [1, 2])
def test_what_the_server_takes_and_answers_is_as_the_document_says(served, rows, more):
    body = everything(rows, **more)
    checker(served, "InferenceRequest").validate(body)
    answer = served.ask(body)
    assert answer.status == 200
    checker(served, "InferenceResponse").validate(json.loads(answer.body))


def test_binary_requests_and_answers_are_as_the_document_says(tmp_path):
    served = Served(models.classifier(tmp_path / "m.onnx")).sign()
    body = asking(raw(12, [1, 3]), parameters=ALL)
    checker(served, "InferenceRequest").validate(body)
    header, _ = told(served.ask_binary(body, bytes(12)))
    assert header["parameters"]["receipt"]
    checker(served, "InferenceResponse").validate(header)


SEEN_BY_SCHEMA = [
    "a list", "no inputs", "empty inputs", "input is no object", "wrong name", "same twice", "wrong datatype",
    "wrong shape", "wrong rank", "no shape", "boolean shape", "negative shape", "fractional shape", "data is text",
    "text element", "boolean element", "id is a number", "parameters are a list", "unknown output", "outputs are text",
]  # fmt: skip


@pytest.mark.parametrize("case", SEEN_BY_SCHEMA)
def test_what_the_server_refuses_the_document_forbids(tmp_path, case):
    served = Served(models.identity(tmp_path / "m.onnx"))
    body, _ = BAD[case]
    assert not checker(served, "InferenceRequest").is_valid(body)
    answer = served.ask(body)
    assert answer.status == 400
    checker(served, "Error").validate(json.loads(answer.body))


def test_until_a_model_is_served_there_is_no_document(served):
    waiting = Served(None, model=served.model, attached=False)
    answer = waiting.ask(b"", openapi.PATH, method="GET")
    assert answer.status == 503
    assert re.search("the model is being fetched", json.loads(answer.body)["error"])

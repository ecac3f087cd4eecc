"""The generated CRD is structural, bounded and documented, and the generator fails where a file is out of date.

Whether the API server takes it, and what it answers to invalid specs: tests/cluster. Its text: tests/golden.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from leadline_api import crd
from leadline_api.spec import ModelDeploymentSpec

VERSION = crd.definition()["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from walk(schema[key], f"{path}[]")


SCHEMAS = [(path, schema) for path, schema in walk(ROOT) if path.startswith((".spec", ".status"))]


def test_every_field_is_bounded():
    unbounded = [
        path
        for path, schema in SCHEMAS
        if (schema.get("type") == "string" and not {"maxLength", "enum"} & schema.keys())
        or (schema.get("type") == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
        or ("x-kubernetes-int-or-string" in schema and "maxLength" not in schema)
    ]
    assert unbounded == []


def test_every_field_is_described():
    assert [path for path, schema in SCHEMAS if not schema.get("description") and not path.endswith("[]")] == []


def test_schema_is_structural():
    forbidden = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "title", "const"}
    assert [path for path, schema in SCHEMAS if forbidden & schema.keys()] == []
    assert [
        path for path, schema in SCHEMAS if ("type" in schema) == bool(schema.get("x-kubernetes-int-or-string"))
    ] == []


def test_no_field_shows_a_bare_pattern():
    assert [path for path, schema in SCHEMAS if "pattern" in schema] == []


def test_every_rule_has_a_message_that_fits():
    rules = [rule for _, schema in walk(ROOT) for rule in schema.get("x-kubernetes-validations", [])]
    assert rules
    for rule in rules:
        assert 0 < len(rule["message"]) <= 2048
        assert "\n" not in rule["message"] + rule.get("messageExpression", "")


def test_defaults_fill_in_what_the_models_fill_in():
    spec = ROOT["properties"]["spec"]
    filled = defaulted(spec, {"model": {"uri": "s3://models/m.onnx"}})
    model = ModelDeploymentSpec.model_validate({"model": {"uri": "s3://models/m.onnx"}})
    assert filled == model.model_dump(by_alias=True, exclude_none=True)


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """As the API server does it: from the outside to the inside."""
    if "properties" not in schema:
        return value
    value = dict(value)
    for name, child in schema["properties"].items():
        if name not in value and "default" in child:
            value[name] = child["default"]
        if name in value:
            value[name] = defaulted(child, value[name])
    return value


def test_status_is_minus_one_before_any_operator_has_seen_the_object():
    status = ROOT["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert [path for path, schema in SCHEMAS if path.startswith(".status.") and "default" in schema] == []


def test_scale_paths_exist_in_the_schema():
    scale = VERSION["subresources"]["scale"]
    paths = {path for path, _ in SCHEMAS}
    assert set(scale.values()) <= paths


def test_columns_come_in_the_documented_order():
    columns = [(column["name"], column.get("priority", 0)) for column in VERSION["additionalPrinterColumns"]]
    assert [name for name, priority in columns if priority == 0] == [
        "Serving",
        "Ready",
        "Quality",
        "Outcomes",
        "Verdict",
        "Age",
    ]
    assert [name for name, priority in columns if priority == 1] == ["Desired", "Message"]


def test_check_fails_and_names_the_remedy_when_a_file_is_out_of_date(tmp_path, capsys):
    path = tmp_path / "crd.yaml"
    assert crd.main(["--write", str(path)]) == 0
    assert crd.main(["--check", str(path)]) == 0
    path.write_text(path.read_text() + "# edited\n")
    assert crd.main(["--check", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}: differs from operator/leadline_api; run `make generate`\n"


def test_check_fails_when_a_file_is_missing(tmp_path):
    assert crd.main(["--check", str(tmp_path / "none.yaml")]) == 1


def test_generator_prints_when_no_file_is_named(capsys):
    assert crd.main([]) == 0
    assert capsys.readouterr().out == crd.text()


@pytest.mark.parametrize("schema", [{"anyOf": [{"type": "string"}, {"type": "boolean"}]}, {"maxProperties": 3}])
def test_generator_refuses_what_has_no_structural_form(schema):
    with pytest.raises(TypeError):
        crd.structural(schema, defaults=True)

"""The OpenAPI 3.1 document of one served model: its own tensors, with their names, datatypes and shapes.

A client generator or a browser of APIs learns from it what this very pod takes and answers; docs/protocol.md tells the
same in words. Made once when the model is attached. Must not know how requests are read.
"""

from __future__ import annotations

from typing import Any, Final

from leadline_wire import ledger, receipts

from leadline_runtime import VERSION
from leadline_runtime.oip import datatypes, signature

PATH: Final = "/v2/openapi.json"
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_ELEMENTS: Final[dict[datatypes.Kind, dict[str, Any]]] = {
    datatypes.Kind.FLOAT: {"type": ["number", "null"]},
    datatypes.Kind.INTEGER: {"type": "integer"},
    datatypes.Kind.BOOLEAN: {"type": "boolean"},
    datatypes.Kind.TEXT: {"type": "string"},
}
_ANSWERED: Final[dict[datatypes.Kind, dict[str, Any]]] = {**_ELEMENTS, datatypes.Kind.FLOAT: {"type": "number"}}
"""An answer in JSON never holds what is not finite; a request may say null for a missing number."""
_PARAMETERS: Final[dict[str, Any]] = {"type": "object", "description": "Names are free; those unknown are passed over."}


def document(model: signature.Signature, name: str, revision: str, *, has_outcomes: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        model: What it takes and gives.
        name: In paths.
        revision: The only version.
        has_outcomes: Outcomes may be reported here.
    """
    base = f"/v2/models/{name}"
    paths: dict[str, Any] = {
        "/v2": {"get": _get("serverMetadata", "What this server is", "ServerMetadata")},
        "/v2/health/live": {"get": _get("serverLive", "Whether the process answers", "Live")},
        "/v2/health/ready": {"get": _get("serverReady", "Whether the model is served", "Ready", may_wait=True)},
        "/v2/repository/index": {"post": _index()},
    }
    for prefix, suffix in ((base, ""), (f"{base}/versions/{revision}", "Version")):
        paths[prefix] = {"get": _get(f"modelMetadata{suffix}", "The model's tensors", "ModelMetadata", may_wait=True)}
        paths[f"{prefix}/ready"] = {
            "get": _get(f"modelReady{suffix}", "Whether the model is served", "ModelReady", may_wait=True)
        }
        paths[f"{prefix}/config"] = {
            "get": _get(
                f"modelConfig{suffix}", "The model as Triton's clients describe it", "ModelConfig", may_wait=True
            )
        }
        paths[f"{prefix}/infer"] = {"post": _infer(f"modelInfer{suffix}")}
    if has_outcomes:
        paths[f"{base}/outcomes"] = {"post": _outcomes()}
        paths[f"{base}/outcomes/wanted"] = {"get": _wanted()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{name}, revision {revision}",
            "version": VERSION,
            "description": "Open Inference Protocol v2 over REST, with the binary tensor data extension.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas(model, name, revision)},
    }


def _schemas(model: signature.Signature, name: str, revision: str) -> dict[str, Any]:
    inputs = [
        _tensor(tensor, _ELEMENTS, {"binary_data_size": {"type": "integer", "minimum": 0}}) for tensor in model.inputs
    ]
    outputs = [_tensor(tensor, _ANSWERED, {"binary_data_size": {"type": "integer"}}) for tensor in model.outputs]
    names = [tensor.name for tensor in model.outputs]
    described = {
        "type": "array",
        "items": _object(
            {
                "name": {"type": "string"},
                "datatype": _datatype(),
                "shape": {"type": "array", "items": {"type": "integer"}},
            }
        ),
    }
    return {
        "InferenceRequest": _object(
            {
                "id": {"type": ["string", "null"]},
                "parameters": {
                    **_PARAMETERS,
                    "properties": {"binary_data_output": {"type": "boolean", "default": False}},
                },
                "inputs": _each_once(inputs),
                "outputs": {
                    "type": "array",
                    "description": "Empty or left out: all.",
                    "items": _object(
                        {
                            "name": {"enum": names},
                            "parameters": {**_PARAMETERS, "properties": {"binary_data": {"type": "boolean"}}},
                        },
                        required=("name",),
                    ),
                },
            },
            required=("inputs",),
        ),
        "InferenceResponse": _object(
            {
                "model_name": {"const": name},
                "model_version": {"const": revision},
                "id": {"type": "string"},
                "parameters": _object({"receipt": {"type": "string"}}, required=()),
                "outputs": {"type": "array", "items": {"anyOf": outputs}, "minItems": 1, "maxItems": len(outputs)},
            },
            required=("model_name", "model_version", "outputs"),
        ),
        "ServerMetadata": _object(
            {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "extensions": {"type": "array", "items": {"type": "string"}},
            }
        ),
        "Live": _object({"live": {"type": "boolean"}}),
        "Ready": _object({"ready": {"type": "boolean"}}),
        "ModelReady": _object({"name": {"const": name}, "ready": {"type": "boolean"}}),
        "ModelMetadata": _object(
            {
                "name": {"const": name},
                "versions": {"type": "array", "items": {"type": "string"}},
                "platform": {"type": "string"},
                "inputs": described,
                "outputs": described,
            }
        ),
        "ModelConfig": {"type": "object", "required": ["name", "platform", "backend", "input", "output"]},
        "RepositoryIndex": {
            "type": "array",
            "items": _object(
                {
                    "name": {"type": "string"},
                    "version": {"type": "string"},
                    "state": {"enum": ["READY", "UNAVAILABLE"]},
                    "reason": {"type": "string"},
                }
            ),
        },
        "Error": _object({"error": {"type": "string"}}),
    }


def _tensor(
    tensor: signature.Tensor, elements: dict[datatypes.Kind, dict[str, Any]], parameters: dict[str, Any]
) -> dict[str, Any]:
    lengths = [{"type": "integer", "minimum": 0} if length == -1 else {"const": length} for length in tensor.shape]
    shape: dict[str, Any] = {"type": "array", "minItems": len(lengths), "maxItems": len(lengths)}
    if lengths:
        shape["prefixItems"] = lengths
    element = elements[tensor.datatype.kind]
    return _object(
        {
            "name": {"const": tensor.name},
            "datatype": {"const": tensor.datatype.name},
            "shape": shape,
            "parameters": {**_PARAMETERS, "properties": parameters},
            "data": {
                "type": "array",
                "description": "Row-major, flat or nested; left out where the tensor is binary.",
                "items": {"anyOf": [element, {"type": "array"}]} if elements is _ELEMENTS else element,
            },
        },
        required=("name", "datatype", "shape"),
    )


def _each_once(tensors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a list that holds each of these once, in any order."""
    return {
        "type": "array",
        "items": {"anyOf": tensors},
        "minItems": len(tensors),
        "maxItems": len(tensors),
        "allOf": [
            {"contains": {"type": "object", "properties": {"name": tensor["properties"]["name"]}}} for tensor in tensors
        ],
    }


def _datatype() -> dict[str, Any]:
    return {"enum": [*datatypes.BY_NAME]}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties if required is None else required),
    }


def _reference(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _content(schema: str) -> dict[str, Any]:
    return {_JSON: {"schema": _reference(schema)}}


def _get(identifier: str, summary: str, schema: str, *, may_wait: bool = False) -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": summary, "content": _content(schema)}}
    if may_wait:
        answers["503"] = _failure("Not yet; says what is being waited for")
    return {"operationId": identifier, "summary": summary, "responses": answers}


def _index() -> dict[str, Any]:
    return {
        "operationId": "repositoryIndex",
        "summary": "The one model that this pod serves",
        "requestBody": {
            "required": False,
            "content": {_JSON: {"schema": _object({"ready": {"type": "boolean"}}, required=())}},
        },
        "responses": {"200": {"description": "The models", "content": _content("RepositoryIndex")}},
    }


def _infer(identifier: str) -> dict[str, Any]:
    length = "Bytes of the body that are JSON; raw tensors follow"
    receipt = {"description": "Receipt of an answer of one row", "schema": {"type": "string"}}
    integer = {"type": "integer", "minimum": 0}
    return {
        "operationId": identifier,
        "summary": "A prediction",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "description": length,
                "schema": integer,
            }
        ],
        "requestBody": {
            "required": True,
            "content": {**_content("InferenceRequest"), _BINARY: {"schema": {"type": "string", "format": "binary"}}},
        },
        "responses": {
            "200": {
                "description": "The outputs",
                "headers": {
                    receipts.HEADER: receipt,
                    "Inference-Header-Content-Length": {"description": length, "schema": integer},
                },
                "content": {
                    **_content("InferenceResponse"),
                    _BINARY: {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "400": _failure("Says what was expected"),
            "413": _failure("The body is too large"),
            "415": _failure("The body's coding is not known"),
            "429": _failure("Too many rows wait; says when to come back"),
            "500": _failure("The model failed, or answered what JSON cannot carry"),
            "503": _failure("Not ready"),
        },
    }


def _outcomes() -> dict[str, Any]:
    return {
        "operationId": "reportOutcomes",
        "summary": "True answers of predictions, by receipt or by the client's id; see docs/outcomes.md",
        "requestBody": {"required": True, "content": {_JSON: {"schema": {"type": "object"}}}},
        "responses": {
            "200": {"description": "Kept", "content": {_JSON: {"schema": {"type": "object"}}}},
            "default": _failure("Says what was expected"),
        },
    }


def _wanted() -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": ledger.WANTED_MAX, "default": 50}
    return {
        "operationId": "wantedOutcomes",
        "summary": "Predictions whose true answers would tell two revisions apart; see docs/outcomes.md",
        "parameters": [{"name": "limit", "in": "query", "schema": schema}],
        "responses": {
            "200": {"description": "Some of them, drawn at random", "content": {_JSON: {"schema": {"type": "object"}}}},
            "404": _failure("Nothing is compared, or outcomes are not taken"),
            "default": _failure("Says what was expected"),
        },
    }


def _failure(description: str) -> dict[str, Any]:
    return {"description": description, "content": _content("Error")}

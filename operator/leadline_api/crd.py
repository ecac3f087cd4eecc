"""Generate the CustomResourceDefinition from the models of spec and status.

`python -m leadline_api.crd` prints it; `--write FILE ...` puts it into files, `--check FILE ...` fails where one is out of
date. What pydantic says in JSON Schema is said again in the structural form that Kubernetes takes: no references, no
alternatives, no titles; docstrings as descriptions, `leadline_api.rules` as CEL.

Must not say anything about a field of spec or status that its model does not say.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from leadline_api import names
from leadline_api.rules import VALIDATIONS
from leadline_api.spec import ModelDeploymentSpec
from leadline_api.status import ModelDeploymentStatus

Schema = dict[str, Any]

_HEADER = "# Generated from operator/leadline_api by `make generate`; changes made here are lost.\n"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_KEPT = (
    "description",
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    _INT_OR_STRING,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
"""Keywords that mean the same in both forms."""
_NAME_RULE = {
    "rule": f"size(self.metadata.name) <= {names.NAME_MAX} && "
    "self.metadata.name.matches(r'^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "message": f"must be a DNS label of at most {names.NAME_MAX} characters (a letter, then a-z, 0-9 and -), "
    "because it names a Service",
    "fieldPath": ".metadata.name",
    "messageExpression": f"'must be a DNS label of at most {names.NAME_MAX} characters (a letter, then a-z, "
    "0-9 and -), because it names a Service; got ' + self.metadata.name",
}


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a Kubernetes object."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.PLURAL}.{names.GROUP}",
            "labels": {"app.kubernetes.io/name": "leadline", "app.kubernetes.io/part-of": "leadline"},
        },
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.KIND.lower(),
                "shortNames": [names.SHORT_NAME],
                "categories": ["leadline"],
            },
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _root()},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.runtime.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        _column("Serving", ".status.servingRevision", "The revision that gets the traffic"),
                        _column(
                            "Ready",
                            '.status.conditions[?(@.type=="Ready")].status',
                            "Whether the model's URL answers with the serving revision",
                        ),
                        _column("Quality", ".status.summary.quality", "The newest measurement of the serving revision"),
                        _column(
                            "Outcomes", ".status.summary.outcomes", "Outcomes of the serving revision that were judged"
                        ),
                        _column(
                            "Verdict", ".status.summary.verdict", "What is known of the serving revision's quality"
                        ),
                        _column("Age", ".metadata.creationTimestamp", "Time since creation", kind="date"),
                        _column("Desired", ".status.desiredRevision", "The revision that the spec asks for", wide=True),
                        _column("Message", ".status.summary.message", "What matters most at the moment", wide=True),
                    ],
                }
            ],
        },
    }


def text() -> str:
    """Return the CustomResourceDefinition as the YAML that is checked in."""
    return _HEADER + yaml.safe_dump(definition(), sort_keys=False, width=120, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, write or check the CustomResourceDefinition.

    Returns:
        Exit status: 1 where a checked file is out of date.
    """
    parser = argparse.ArgumentParser(prog="python -m leadline_api.crd", description="Generate Leadline's CRD.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", nargs="+", type=Path, metavar="FILE", default=[], help="write it into these files")
    action.add_argument("--check", nargs="+", type=Path, metavar="FILE", default=[], help="compare these files with it")
    options = parser.parse_args(arguments)
    generated = text()
    for path in options.write:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generated, encoding="utf-8")
    stale = [path for path in options.check if not path.is_file() or path.read_text(encoding="utf-8") != generated]
    for path in stale:
        print(f"{path}: differs from operator/leadline_api; run `make generate`", file=sys.stderr)  # noqa: T201 - a command
    if not options.write and not options.check:
        sys.stdout.write(generated)
    return 1 if stale else 0


def _root() -> Schema:
    status = structural(ModelDeploymentStatus.model_json_schema(by_alias=True), defaults=False)
    return {
        "description": "A machine-learning model that is deployed, watched for as long as it serves, and taken back to "
        "the last good revision when it gets worse.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"Version of this schema: {names.API_VERSION}.", "type": "string"},
            "kind": {"description": names.KIND, "type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": structural(ModelDeploymentSpec.model_json_schema(by_alias=True), defaults=True),
            # A wait for a condition never succeeds on an object that no operator has seen.
            "status": {**status, "default": {"observedGeneration": -1}},
        },
        VALIDATIONS: [_NAME_RULE],
    }


def structural(schema: Mapping[str, Any], *, defaults: bool) -> Schema:
    """Return a schema of pydantic's in the structural form.

    Args:
        schema: JSON Schema of a model, definitions included.
        defaults: Whether the API server fills in defaults; a status is written whole and needs none.
    """
    return _structural(schema, schema.get("$defs", {}), defaults=defaults)


def _structural(schema: Mapping[str, Any], known: Mapping[str, Any], *, defaults: bool) -> Schema:
    merged = _resolved(schema, known)
    out = {key: merged[key] for key in _KEPT if key in merged}
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if "const" in merged:
        out["enum"] = [merged["const"]]
    if _INT_OR_STRING in out:
        out.pop("type", None)
    if not defaults or out.get("default", ...) is None:
        out.pop("default", None)
    if "properties" in merged:
        out["properties"] = {
            name: _structural(value, known, defaults=defaults) for name, value in merged["properties"].items()
        }
        if out.get("default"):
            # Each field says its own default once; the API server fills them in from the outside to the inside.
            out["default"] = {}
    if "items" in merged:
        out["items"] = _structural(merged["items"], known, defaults=defaults)
        out.setdefault("x-kubernetes-list-type", "atomic")
    if isinstance(merged.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _structural(merged["additionalProperties"], known, defaults=defaults)
    if VALIDATIONS in merged:
        out[VALIDATIONS] = merged[VALIDATIONS]
    return out


def _resolved(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Schema:
    """Put referenced and the only possible schema in place; what stands beside a reference wins over what it names."""
    merged = dict(schema)
    if "$ref" in merged:
        target = known[merged.pop("$ref").removeprefix("#/$defs/")]
        merged = {**_resolved(target, known), **merged}
    # None means that the field is left out.
    choices = [choice for choice in merged.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        merged = {**_resolved(choices[0], known), **merged}
    elif choices and _INT_OR_STRING not in merged:
        raise TypeError(f"no structural schema has alternatives: {choices}")
    if isinstance(merged.get("maxProperties"), int) and "additionalProperties" not in merged:
        raise TypeError(f"a map without a schema for its values: {merged}")
    return merged


def _column(name: str, path: str, description: str, *, kind: str = "string", wide: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "description": description,
        "jsonPath": path,
        **({"priority": 1} if wide else {}),
    }


if __name__ == "__main__":
    sys.exit(main())

"""The ModelDeployment that goes with a packaged model, checked by the same rules as at `kubectl apply`."""

import re
from dataclasses import dataclass
from typing import Any

import yaml
from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec, problems
from pydantic import ValidationError

from leadline_cli import errors, trained


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chooses."""

    name: str
    store: str
    """URI of the folder where the files will be uploaded."""
    margin: str = "0.02"
    floor: str | None = None
    credentials: str | None = None
    """Secret with the store's credentials."""
    test_set_uri: str | None = None
    """Where the test set will be; None: beside the model."""

    def check(self, task: trained.Task = "classification") -> None:
        """Refuse options that the API server would refuse, before any work is done.

        Raises:
            Refused: One is wrong.
        """
        nothing = "sha256:" + "0" * 64
        manifest(self, model_digest=nothing, test_set_digest=nothing, truth="truth", task=task)


def manifest(
    options: Options, *, model_digest: str, test_set_digest: str, truth: str, task: trained.Task
) -> dict[str, Any]:
    """Return the ModelDeployment; a regression is judged by the outcomes that come back, a classification by its test set.

    Raises:
        Refused: A name or value would be refused by the API server.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", options.name) or len(options.name) > names.NAME_MAX:
        raise errors.Refused(
            f"--name: must be a DNS label of at most {names.NAME_MAX} characters (a letter, then a-z, 0-9 and -); "
            f"got {options.name}"
        )
    store = options.store.rstrip("/")
    model: dict[str, Any] = {"uri": f"{store}/model.onnx", "digest": model_digest}
    if options.credentials:
        model["credentials"] = {"secretName": options.credentials}
    metric = {"name": "accuracy", "metric": "accuracy", "margin": options.margin}
    if options.floor:
        metric["floor"] = options.floor
    spec: dict[str, Any] = {"model": model}
    if task == "classification":
        spec["quality"] = {
            "metrics": [metric],
            "testSet": {
                "uri": options.test_set_uri or f"{store}/testset.parquet",
                "digest": test_set_digest,
                "truth": truth,
            },
        }
    elif options.floor:
        raise errors.Refused("--floor: is the lowest accuracy, and this model predicts numbers; leave it out")
    else:
        spec["quality"] = {"metrics": [{"name": "error", "metric": "mae", "relativeMargin": "10%"}]}
        spec["outcomes"] = {"maturity": "24h"}
    try:
        ModelDeploymentSpec.model_validate(spec)
    except ValidationError as error:
        raise errors.Refused(problems(error)) from error
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": options.name},
        "spec": spec,
    }


def text(found: dict[str, Any]) -> str:
    """Return a manifest as YAML, with what there is to do before it is applied."""
    spec = found["spec"]
    uploads, more = f"model.onnx to {spec['model']['uri']}", ""
    if "testSet" in spec["quality"]:
        uploads += f" and testset.parquet to {spec['quality']['testSet']['uri']}"
    else:
        more = "# True values that come back judge it: set maturity to how long they usually take. docs/outcomes.md\n"
    document = yaml.safe_dump(found, sort_keys=False, width=120)
    return f"# Upload {uploads}, then kubectl apply this.\n{more}{document}"

"""What docs/models.md shows can be applied, and names every scheme and every key that the runtime reads."""

import re
from pathlib import Path

import yaml
from leadline_api import reasons
from leadline_api.spec import ModelDeploymentSpec

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models.md").read_text()


def test_every_spec_of_the_page_is_one():
    found = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    specs = [block["spec"] for block in found if "spec" in block]
    assert len(specs) >= 4
    for spec in specs:
        ModelDeploymentSpec.model_validate(spec)


def test_every_uri_of_the_page_is_one():
    table = PAGE.partition("| URI |")[2].partition("**Which file")[0]
    examples = [
        uri
        for row in table.splitlines()[2:]
        if row
        for uri in re.findall(r"`([a-z0-9]+:/[^`]+)`", row[: row.find(" | ")])
    ]
    assert len(examples) >= 9
    for uri in examples:
        ModelDeploymentSpec.model_validate({"model": {"uri": uri.replace("CLAIM", "claim")}})


def test_every_key_that_the_runtime_reads_is_on_the_page():
    folder = ROOT / "runtime" / "leadline_runtime" / "fetch"
    code = "\n".join(path.read_text() for path in folder.glob("*.py"))
    read = set(re.findall(r"\"((?:HTTP|AWS|GOOGLE|AZURE|OCI|HF|MLFLOW)_[A-Z_0-9]+)\"", code))
    assert len(read) >= 15
    # Second names that the clouds' own tools have for the same thing.
    assert {name for name in read if name not in PAGE} == {"AWS_ENDPOINT_URL_S3", "AZURE_ENDPOINT"}


def test_every_reason_of_the_page_is_known():
    named = set(re.findall(r"`((?:Model|Signature|NoRoom|Digest|Execution)[A-Z][A-Za-z]+)`", PAGE))
    assert named
    assert named <= {reason.value for reason in reasons.Reason}

"""The chart renders what is checked in, and lets the operator do what it asks for at start, and nothing more.

Whether a cluster takes it: tests/cluster. `LEADLINE_GOLDEN=write` rewrites the files after a change that is meant.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from leadline_ledger import settings
from leadline_ledger.serving import labels
from leadline_operator.kube import access

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "leadline"
GOLDEN = Path(__file__).parent / "chart"
CASES = {
    "default": (),
    "existing-secret": (
        "--set=rootKey.existingSecret=sealed-key",
        "--set=imagePullSecrets={registry}",
        "--set=operator.nodeSelector.disk=ssd",
        '--set-json=operator.tolerations=[{"key": "system", "operator": "Exists"}]',
        "--set=ledger.persistence.enabled=false",
        "--set=ledger.database.secretName=ledger-database",
    ),
    "several-ledgers": (
        "--set=ledger.persistence.enabled=false",
        "--set=ledger.replicas=2",
        "--set=ledger.database.secretName=ledger-database",
        "--set=ledger.blobs.uri=s3://models/leadline",
        "--set=ledger.blobs.secretName=ledger-bucket",
    ),
}


@pytest.fixture(scope="module")
def helm():
    """From $LEADLINE_HELM, the PATH, or the cache that `make cluster-up` fills."""
    cache = Path(os.environ.get("LEADLINE_CACHE") or Path.home() / ".cache" / "leadline")
    built = sorted(cache.glob("bin/helm-*/helm"), key=lambda path: path.stat().st_mtime)
    command = os.environ.get("LEADLINE_HELM") or shutil.which("helm") or (str(built[-1]) if built else None)
    if command is None:
        pytest.skip("helm is neither in LEADLINE_HELM, nor on the PATH, nor built by `make cluster-up`")

    def run(*arguments):
        return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="module")
def rendered(helm):
    def render(*options):
        answer = helm("template", "leadline", str(CHART), "--namespace=leadline-system", *options)
        assert answer.returncode == 0, answer.stderr
        return [document for document in yaml.safe_load_all(answer.stdout) if document]

    return render


@pytest.mark.parametrize("case", CASES)
def test_chart_renders_what_is_checked_in(rendered, case):
    documents = sorted(rendered(*CASES[case]), key=lambda found: (found["kind"], found["metadata"]["name"]))
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("LEADLINE_GOLDEN") == "write":
        path.write_text(yaml.safe_dump_all(documents, width=120), encoding="utf-8")
    assert documents == list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def granted():
    """What the chart's roles for the operator allow: where, what, which one, verb. Their rules hold no template."""
    text = (CHART / "templates" / "rbac.yaml").read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(re.sub(r"\{\{.*?\}\}", "x", text)))
    return {
        ("own namespace" if role["kind"] == "Role" else "everywhere", f"{resource}.{group}", name, verb)
        for role in documents
        for rule in role.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def test_chart_grants_exactly_what_the_operator_asks_for_at_start(granted):
    needed = {
        (
            "own namespace" if each.own_namespace else "everywhere",
            f"{each.resource.plural}{'/' + each.subresource if each.subresource else ''}.{each.resource.group}",
            each.name,
            verb,
        )
        for each in access.NEEDED
        for verb in each.verbs
    }
    to_ask = {("everywhere", "selfsubjectaccessreviews.authorization.k8s.io", "", "create")}
    assert granted - to_ask == needed


def test_operator_may_only_create_secrets(granted):
    assert {verb for _, resource, _, verb in granted if resource == "secrets."} == {"create"}


def test_ledger_may_only_ask_whose_a_token_is_and_what_its_owner_may(rendered):
    roles = [each for each in rendered() if each["metadata"]["name"] == "leadline-ledger" and each.get("rules")]
    asks = [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]
    assert [rule for role in roles for rule in role["rules"]] == asks


def test_labeller_may_what_the_ledger_asks_about_and_nothing_else(rendered):
    (role,) = [each for each in rendered() if each["metadata"]["name"] == "leadline-labeller"]
    assert role["rules"] == [
        {"apiGroups": ["leadline.dev"], "resources": [labels.RESOURCE], "verbs": ["create", "get"]}
    ]


def test_ledger_takes_the_operator_for_who_it_is(rendered):
    documents = rendered()
    (ledger,) = [found for found in documents if found["kind"] == "StatefulSet"]
    (operator,) = [found for found in documents if found["kind"] == "Deployment"]
    account = operator["spec"]["template"]["spec"]["serviceAccountName"]
    namespace = operator["metadata"]["namespace"]
    (container,) = ledger["spec"]["template"]["spec"]["containers"]
    environment = {found["name"]: found["value"] for found in container["env"]}
    assert environment["LEADLINE_LEDGER_OPERATOR"] == f"system:serviceaccount:{namespace}:{account}"
    assert settings.read({**environment, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}).port == 8080


def test_ledger_has_a_volume_of_the_size_and_class_that_is_asked_for(rendered):
    options = ("--set=ledger.persistence.size=50Gi", "--set=ledger.persistence.storageClass=fast")
    (ledger,) = [found for found in rendered(*options) if found["kind"] == "StatefulSet"]
    (claim,) = ledger["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"
    assert claim["spec"]["storageClassName"] == "fast"


def test_nothing_is_granted_by_wildcard(rendered):
    roles = [found for found in rendered() if found["kind"] in {"ClusterRole", "Role"}]
    assert [rule for role in roles for rule in role["rules"] if "*" in str(rule)] == []


def test_root_key_job_is_left_out_when_a_secret_is_given(rendered):
    assert [found for found in rendered(*CASES["existing-secret"]) if found["kind"] == "Job"] == []


def test_two_renderings_are_equal(rendered):
    assert rendered() == rendered()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--set=operator.image=", "operator/image"),
        ("--set=operator.imag=x", "imag"),
        ("--set=runtim.image=x", "runtim"),
        ("--set=ledger.persistence.size=much", "ledger/persistence/size"),
        ("--set=ledger.blobs.uri=models", "ledger/blobs/uri"),
        ("--set=ledger.replicas=2", "set ledger.database.secretName and ledger.blobs.uri"),
    ],
)
def test_wrong_value_is_refused_with_its_name(helm, option, message):
    answer = helm("template", "leadline", str(CHART), option)
    assert answer.returncode != 0
    assert message in answer.stderr
